"""The event simulation of a core beside its RTL in Verilator, which ran the same programs."""

from fractions import Fraction

import numpy as np
import pytest
from tiny_models import tiny_model

from golden.language_model import load, smollm2_file
from golden.spec.core import CoreConfig
from golden.spec.instruction import instruction
from golden.spec.isa import SystemOperation, Unit
from hls_gen.compiler import compile_model
from hls_gen.layer_program import layer_ends
from hls_gen.model_run import ModelRunner
from hw.core_cases import CONFIG
from hw.core_ports import port_names
from hw.memory_model import MemoryTiming
from nandu.made_models import made_model
from nandu.run_rtl import keep_layers
from sim.core_events import simulate_program

CLOSE = 0.02
"""How far the simulation's cycles may lie off those of Verilator."""

MEMORIES = [MemoryTiming(30, words_per_cycle=Fraction(1, 2)), MemoryTiming(5), MemoryTiming()]


def simulated(runner, timing):
    """The event simulation of a runner's last program, and the cycles of its last layer."""
    run, compiled = runner.runs[-1], runner.compiled
    bases = compiled.bases(run.position, run.tokens)
    program = run.program
    found = simulate_program(
        runner.config, program.instructions, bases, memories=compiled.images, timing=timing
    )
    ends = [counters[-1] for counters in layer_ends(compiled.plan, program)][-2:]
    first, last = (found.end[program.counters.index(end)] for end in ends)
    return found, last - first


@pytest.mark.parametrize("memory", MEMORIES, ids=["far and slow", "near", "ideal"])
def test_a_tiny_model_takes_the_cycles_of_its_rtl(memory):
    model = tiny_model(layers=2)
    timing = dict.fromkeys(port_names(CONFIG), memory)
    runner = ModelRunner(model, compile_model(model, CONFIG, 24), timing=timing)
    runner.read([3, 7])
    found, layer = simulated(runner, timing)
    assert found.cycles == pytest.approx(runner.runs[-1].cycles, rel=CLOSE)
    assert layer == pytest.approx(runner.runs[-1].layer_cycles[-1], rel=CLOSE)


@pytest.mark.full
@pytest.mark.parametrize("rate", [Fraction(1), Fraction(1, 2), Fraction(1, 4)])
def test_a_layer_of_smollm2_takes_the_cycles_of_its_rtl(rate):
    config = CoreConfig(chains=32)
    model = load(smollm2_file())
    keep_layers(model, 2)
    tokens = model.tokens("The capital of France is Paris and the capital")[0].tolist()
    made = made_model(model, smollm2_file())
    timing = dict.fromkeys(port_names(config), MemoryTiming(30, words_per_cycle=rate))
    runner = ModelRunner(
        made.transformer, made.compiled(config, max_positions=64, chunk=1), timing=timing
    )
    runner.read(tokens, head=False)
    found, layer = simulated(runner, timing)
    measured = runner.runs[-1]
    print(f"{rate} words per cycle: program {measured.cycles:,}, simulated {found.cycles:,.0f}")
    print(f"  layer {measured.layer_cycles[-1]:,}, simulated {layer:,.0f}")
    assert found.cycles == pytest.approx(measured.cycles, rel=CLOSE)
    assert layer == pytest.approx(measured.layer_cycles[-1], rel=CLOSE)


def program(*instructions):
    return [*instructions, instruction(Unit.SYS, op=SystemOperation.END, wait=1)]


def run(instructions, timing=None):
    memories = {f"channel_{k}": np.zeros(1 << 16, np.uint8) for k in range(CONFIG.chains)}
    ports = dict.fromkeys(port_names(CONFIG), timing or MemoryTiming())
    return simulate_program(CONFIG, instructions, memories=memories, timing=ports)


def a_load(length, **fields):
    return instruction(Unit.LD, length=length, count_1=1, count_2=1, count_3=1, **fields)


def test_a_load_takes_latency_and_bandwidth():
    release = 1 << Unit.LD.others.index(Unit.SYS)
    load = a_load(64, release=release)
    times = {}
    for latency, rate in ((10, 1), (110, 1), (10, Fraction(1, 4))):
        found = run(program(load), MemoryTiming(latency, words_per_cycle=Fraction(rate)))
        times[latency, rate] = found.end[0] - found.start[0]
    assert times[110, 1] == times[10, 1] + 100
    assert times[10, Fraction(1, 4)] == times[10, 1] + 3 * 64
    assert 64 + 10 <= times[10, 1] <= 64 + 10 + 10


def test_what_waits_for_a_token_starts_behind_its_end():
    release = 1 << Unit.LD.others.index(Unit.SYS)
    found = run(program(a_load(16, release=release)))
    assert found.start[1] == found.end[0] + 1
    assert found.cycles == found.end[1]
    assert found.busy[Unit.LD] == found.end[0] - found.start[0]
