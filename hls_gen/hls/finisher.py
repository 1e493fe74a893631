"""The finisher of the drive's attention as an HLS kernel, with the streams of the RTL block."""

from collections.abc import Sequence

import numpy as np

from golden.spec.drive_engine import DriveEngineConfig
from golden.spec.special_function_unit import SpecialFunctionUnitConfig
from hls_gen.hls import special_functions
from hls_gen.hls.kernel import Argument, Kernel, Port, Stream, header, read
from hls_gen.hls.vectors import Vectors
from storage_engine.engine_layouts import FRACTION_BITS
from storage_engine.finisher_cases import LIMITS, SPREADS, Case
from storage_engine.verify_finisher import Play

HEADER = "finisher_config.hpp"

SOURCES = (*special_functions.SOURCES, "finisher.hpp", "finisher_top.hpp", "finisher.cpp")

CONTENTS = (*SPREADS, *LIMITS)
"""Of jobs."""


def kernel(config: DriveEngineConfig) -> Kernel:
    """Return the kernel of a finisher."""
    attention = config.attention
    ports: list[Port] = [
        Argument("jobs"),
        Stream("i_job", "job_payload_t"),
        Stream("i_value_sum", "value_sum_payload_t"),
        Stream("i_mass", "mass_payload_t"),
        Stream("i_partial", "partial_payload_t", config.flash_channels),
        Stream("o", "half_payload_t", output=True),
    ]
    constants = {
        "LANES": config.lanes,
        "QUERIES": config.queries,
        "ROWS": config.rows,
        "FLASH_CHANNELS": config.flash_channels,
        "ELEMENT_BITS": attention.element_bits,
        "OUTPUT_FRACTION": attention.output_fraction_bits,
        "FRACTION_BITS": FRACTION_BITS,
        "TOKENS_BITS": attention.max_context.bit_length(),
        "VALUE_SUM_BITS": attention.element_bits + config.context_bits,
        "MASS_BITS": attention.mass_bits,
        "MIXED_BITS": attention.mixed_bits,
    }
    headers = {
        special_functions.HEADER: special_functions.functions_header(SpecialFunctionUnitConfig()),
        HEADER: header(HEADER, config, constants),
    }
    return Kernel("finisher", ports, headers, read(SOURCES), config.lanes)


def vectors(case: Case) -> Vectors:
    """Return a case of the RTL's bench for the kernel; it has no pauses, and nothing resets it."""
    play = Play(case)
    inputs = play.streams(np.random.default_rng(0)).inputs
    data = {name.replace("i_partial_", "i_partial__"): own for name, own in inputs.items()}
    return Vectors(case.name, {"jobs": len(case.jobs)}, {**data, "o": play.expected})


def crosses(_: DriveEngineConfig) -> int:
    """Return how many contents a job may have."""
    return len(CONTENTS)


def enough(_: DriveEngineConfig) -> int:
    """Return how many cases hit every content several times, with and without compensation."""
    return 8 * len(CONTENTS)


def coverage(cases: Sequence[Case]) -> float:
    """Return the share of the contents that the cases' jobs have; their names tell them."""
    hit = {content for case in cases for content in case.name.split(": ")[1].split(", ")}
    return len(hit & set(CONTENTS)) / len(CONTENTS)
