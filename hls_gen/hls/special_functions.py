"""The special function unit as an HLS kernel, with the streams and jobs of the RTL block."""

import numpy as np

from golden.spec.special_function_unit import SpecialFunctionUnitConfig
from golden.special_functions.tables import Tables
from hls_gen.hls.kernel import Argument, Kernel, Port, Stream, header, read
from hls_gen.hls.vectors import Vectors
from hw.verify_special_functions import Case, Play

HEADER = "functions_config.hpp"

SOURCES = ("integers.hpp", "special_functions.hpp")
"""What a kernel with special functions needs of `cpp/`."""


def kernel(config: SpecialFunctionUnitConfig) -> Kernel:
    """Return the kernel of a unit."""
    ports: list[Port] = [
        Argument("jobs"),
        Stream("i_job", "job_payload_t"),
        Stream("i_a", "wide_payload_t"),
        Stream("i_b", "wide_payload_t"),
        Stream("o", "wide_payload_t", output=True),
        Stream("o_byte", "byte_payload_t", output=True),
    ]
    sources = (*SOURCES, "special_function_unit_top.hpp", "special_function_unit.cpp")
    headers = {HEADER: functions_header(config)}
    return Kernel("special_function_unit", ports, headers, read(sources), config.lanes)


def functions_header(config: SpecialFunctionUnitConfig) -> str:
    """Return the constants and tables of the special functions."""
    points = Tables(config.table_bits).points
    return header(
        HEADER,
        config,
        {
            "ELEMENTS": config.lanes,
            "TABLE_BITS": config.table_bits,
            "TABLE_SEGMENTS": 1 << config.table_bits,
            **{f"{name.upper()}_TABLE": values.tolist() for name, values in points.items()},
        },
    )


def vectors(case: Case) -> Vectors:
    """Return a case of the RTL's bench for the kernel; it has no pauses, and nothing resets it."""
    play = Play(case)
    inputs = play.streams(np.random.default_rng(0)).inputs
    return Vectors(case.name, {"jobs": len(case.jobs)}, {**inputs, **play.expected})
