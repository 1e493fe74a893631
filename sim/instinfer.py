"""What InstInfer's paper states of its system and the others, beside the simulator.

`python -m sim.instinfer` prints the table of `docs/systems/instinfer.md`. Source: arXiv 2409.04992
(HPCA 2025), section VI; no bar of its figures is read, only numbers that stand in its text.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from golden import model_shapes
from golden.model_shapes import ModelShape
from sim.catalogue import load_system
from sim.cost import Cost
from sim.csd import PAGES
from sim.offload import CACHE
from sim.simulate import costs
from sim.system import System
from sim.treat import parse, treat
from sim.workload import Workload

TWO_GPUS = (("devices", 2),)
TWO_GPUS_WITH_DRIVES = (
    ("compute", (("system", "gpu-rtx-a6000"), ("software", "flexgen"), ("devices", 2))),
)


@dataclass(frozen=True)
class Run:
    """A static batch whose output is as long as its prompts.

    Attributes:
        settings: of the system, by field; those of a part of it as pairs again.
        technique: applied to it, as a user writes it.
    """

    system: str
    batch: int
    model: str = "opt-13b"
    tokens: int = 1024
    settings: tuple[tuple[str, Any], ...] = ()
    technique: str = ""

    @property
    def workload(self) -> Workload:
        """What is read and written."""
        return Workload(batch=self.batch, prefill=self.tokens, decode=self.tokens)

    def load(self) -> tuple[System, ModelShape]:
        """Return the system and the model."""
        model = model_shapes.load(self.model)
        system = load_system(self.system, _settings(self.settings))
        return (treat(system, model, [parse(self.technique)]) if self.technique else system), model


@dataclass(frozen=True)
class Claim:
    """A number of the paper.

    Attributes:
        what: in words. value: as stated.
        run, over: whose end-to-end tokens/s are compared; with `over` None, it is the share of the
            decode steps in which the cache is read, in percent.
    """

    what: str
    value: float
    run: Run
    over: Run | None = None

    @property
    def simulated(self) -> float:
        """What the simulator says."""
        if self.over is None:
            return 100 * cache_share(self.run)
        return rate(self.run) / rate(self.over)

    @property
    def error(self) -> float:
        """Simulated over stated, less 1."""
        return self.simulated / self.value - 1


DENSE, SPARF, FLEXGEN = "instinfer-1csd-dense", "instinfer-1csd", "flexgen-ssd"
ZERO = Run("zero-host", 16)


def _opt30(system: str, batch: int, settings: tuple[tuple[str, Any], ...]) -> Run:
    return Run(system, batch, "opt-30b", 1024, settings)


def _llama(system: str, batch: int) -> Run:
    return Run(system, batch, "llama-2-13b", 2048)


THIRTY = _opt30(FLEXGEN, 8, TWO_GPUS)

CLAIMS = (
    Claim("dense over FlexGen, batch 64", 6.85, Run(DENSE, 64), Run(FLEXGEN, 64)),
    Claim("SparF over dense, batch 256", 2.08, Run(SPARF, 256), Run(DENSE, 256)),
    Claim("SparF over FlexGen at its best, 32", 11.1, Run(SPARF, 256), Run(FLEXGEN, 32)),
    Claim(
        "2 drives dense, 256, over FlexGen, 32",
        10.5,
        Run("instinfer-2csd-dense", 256),
        Run(FLEXGEN, 32),
    ),
    Claim(
        "2 drives SparF, 256, over FlexGen with SparQ, 32",
        3.11,
        Run("instinfer-2csd", 256),
        Run(FLEXGEN, 32, technique="sparf"),
    ),
    Claim(
        "OPT-30B: dense, 128, over FlexGen, 8",
        4.09,
        _opt30(DENSE, 128, TWO_GPUS_WITH_DRIVES),
        THIRTY,
    ),
    Claim(
        "OPT-30B: SparF, 128, over FlexGen, 8",
        9.39,
        _opt30(SPARF, 128, TWO_GPUS_WITH_DRIVES),
        THIRTY,
    ),
    Claim(
        "Llama-2-13B: dense, 128, over FlexGen, 16", 5.68, _llama(DENSE, 128), _llama(FLEXGEN, 16)
    ),
    Claim(
        "Llama-2-13B: SparF, 128, over FlexGen, 16", 12.48, _llama(SPARF, 128), _llama(FLEXGEN, 16)
    ),
    Claim("20 drives over 1, dense, 256", 8.99, Run("instinfer-20csd-dense", 256), Run(DENSE, 256)),
    Claim("20 drives over 1, SparF, 256", 7.29, Run("instinfer-20csd", 256), Run(SPARF, 256)),
    Claim("cache's share, FlexGen, 64, %", 98.9, Run(FLEXGEN, 64)),
    Claim("cache's share, dense, 64, %", 80.7, Run(DENSE, 64)),
    Claim("cache's share, 2 drives dense, 64, %", 76.4, Run("instinfer-2csd-dense", 64)),
    Claim("cache's share, FlexGen with SparQ, 64, %", 92.4, Run(FLEXGEN, 64, technique="sparf")),
    Claim("cache's share, SparF, 64, %", 82.3, Run(SPARF, 64)),
    Claim("cache's share, 2 drives SparF, 64, %", 74.0, Run("instinfer-2csd", 64)),
    Claim("SparF over Recomp, 256", 1.713, Run(SPARF, 256), Run("recompute", 256)),
    Claim(
        "Llama-2-13B: Recomp, 128, over FlexGen, 16",
        9.26,
        _llama("recompute", 128),
        _llama(FLEXGEN, 16),
    ),
    Claim("dense at its best, 256, over DeepSpeed at its best, 16", 1.046, Run(DENSE, 256), ZERO),
)


@cache
def _costs(run: Run) -> tuple[Cost, Cost]:
    prefill, steps = costs(*run.load(), run.workload)
    assert prefill is not None
    return prefill, steps


def rate(run: Run) -> float:
    """Return the end-to-end tokens/s of a run, prompts read first."""
    prefill, steps = _costs(run)
    return run.batch * run.tokens / (prefill.seconds + steps.seconds)


def cache_share(run: Run) -> float:
    """Return the share of the decode steps in which the cache is read."""
    _, steps = _costs(run)
    return (steps.parts.get(PAGES, 0.0) + steps.parts.get(CACHE, 0.0)) / steps.seconds


def _settings(pairs: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    return {key: _settings(one) if isinstance(one, tuple) else one for key, one in pairs}


def table() -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield "| what | paper | simulated | error |"
    yield "|---|---:|---:|---:|"
    for claim in CLAIMS:
        shown = claim.simulated
        yield f"| {claim.what} | {claim.value:g} | {shown:.4g} | {shown / claim.value - 1:+.1%} |"


def main() -> None:
    """Print the table."""
    print("\n".join(table()))


if __name__ == "__main__":
    main()
