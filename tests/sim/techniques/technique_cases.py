"""What the tests of techniques share."""

from golden.model_shapes import load
from sim.catalogue import load_system
from sim.system import System
from sim.treat import parse, treat
from sim.workload import Pass

LLAMA = load("llama-2-7b")
A100 = load_system("gpu-a100-sxm-80gb")
STEP = Pass(2, 1, 4096)
PROMPT = Pass(1, 4096, 4096, prompt=True)


def treated(name: str, *techniques: str, model=LLAMA, **settings) -> System:
    """Return a system with techniques."""
    return treat(load_system(name, settings), model, [parse(one) for one in techniques])


def gpu(*techniques: str, model=LLAMA) -> System:
    """Return an A100 with techniques."""
    return treated("gpu-a100-sxm-80gb", *techniques, model=model)


def weight_bytes(system: System, job: Pass, model=LLAMA) -> float:
    """Return the bytes of the layers' weights that a pass reads."""
    work = system.work(model, job)
    bits = sum(one.stored_bits(system.weight_bits) for one in work.layer if not one.cached)
    return work.layers * bits / 8


def cache_bits(system: System, job: Pass, model=LLAMA) -> float:
    """Return the bits of the cache that a pass reads in one layer."""
    work = system.work(model, job)
    return sum(one.stored_bits(system.cache_bits) for one in work.layer if one.cached)


def attention_products(system: System, job: Pass, model=LLAMA) -> float:
    """Return the multiply-accumulates of attention in one layer."""
    return sum(one.needed for one in system.work(model, job).layer if one.cached)
