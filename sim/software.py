"""Programs that run a model on GPUs, by how they launch work: `sim/software/*.yaml`."""

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from golden.spec.errors import ConfigError
from golden.spec.names import nearest
from golden.spec.records import Record, load_fields, make, names

FOLDER = Path(__file__).parent / "software"


class Software(Record):
    """How a program runs a model; its fitted constants are in `sim/gpu_constants.py`.

    Attributes:
        title: what people call it. about: why the fields are what they are.
        launch: "eager": the host launches every kernel; "graph": all kernels of a pass at once.
        matches: how its name begins in tables of published measurements.
        small_kernels: kernels of a layer beside the products and attention.
        small_passes: times that these read or write what fused ones read or write once.
        score_passes: times that attention writes or reads the matrix of scores; 0 where it is never
            in memory.
        head_bits: bits of the head's weights where it is not quantised as the layers are.
        sums: "single" or "half": the numbers in which FP16 products are added up.
        unpacks_above: tokens above which packed weights are unpacked to memory before a product; 0
            where they never are.
        vectors: the most that a product takes at a time, reading all weights for each lot; None for
            as many as there are.
        split: "tensor": every device has a part of every matrix; "layers": some of the layers.
        chunk: tokens of a prompt that go through at a time; None for all.
        window: tokens of a prompt that devices work on in a pipeline, where layers are split.
        attends_on_host: whether attention in decode steps is done where the cache is, by the host.
        reserve: share of the memory that the program does not use.
        most_sequences: the largest batch that it forms by itself.
    """

    name: str
    title: str
    about: str
    launch: Literal["eager", "graph"]
    matches: tuple[str, ...] = ()
    small_kernels: NonNegativeInt = 4
    small_passes: PositiveFloat = 1
    score_passes: NonNegativeInt = 0
    head_bits: PositiveFloat | None = None
    sums: Literal["single", "half"] = "single"
    unpacks_above: NonNegativeInt = 0
    vectors: PositiveInt | None = None
    split: Literal["tensor", "layers"] = "tensor"
    chunk: PositiveInt | None = None
    window: PositiveInt | None = None
    attends_on_host: bool = False
    reserve: NonNegativeFloat = 0.1
    most_sequences: PositiveInt = 256


def software_names() -> list[str]:
    """Return the names of the programs that have a file."""
    return names(FOLDER)


def load_software(name: str) -> Software:
    """Return the program called `name`.

    Raises:
        ConfigError: there is no such program, or its file is wrong.
    """
    if name not in software_names():
        raise ConfigError(
            f"there is no software {name!r}{nearest(name, software_names())}; "
            f"known are {', '.join(software_names())}"
        )
    return make(Software, name, load_fields(FOLDER, "software", name))


@cache
def _by_prefix() -> list[tuple[str, Software]]:
    """Return how published names begin and what they mean, the longest first."""
    all_of_them = [load_software(name) for name in software_names()]
    pairs = [(prefix, one) for one in all_of_them for prefix in one.matches]
    return sorted(pairs, key=lambda pair: -len(pair[0]))


def published_software(name: str) -> Software | None:
    """Return the program that a table calls `name`, or None where it is none of ours."""
    for prefix, software in _by_prefix():
        if name.startswith(prefix):
            return software
    return None
