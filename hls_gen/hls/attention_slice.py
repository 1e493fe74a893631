"""A flash channel's attention slice as an HLS kernel, with the streams of the RTL block."""

import numpy as np
from amaranth.hdl import Shape
from amaranth.lib.data import StructLayout

from golden.spec.drive_engine import DriveEngineConfig
from golden.spec.special_function_unit import SpecialFunctionUnitConfig
from hls_gen.hls import special_functions
from hls_gen.hls.kernel import Argument, Kernel, Port, Stream, header, read
from hls_gen.hls.vectors import Vectors
from storage_engine.attention_slice import AttentionSlice
from storage_engine.engine_layouts import (
    PAGE_COUNT_BITS,
    element_layout,
    query_layout,
    slice_command_layout,
    span_bits,
    span_tokens,
)
from storage_engine.slice_cases import Case
from storage_engine.verify_attention_slice import Play

HEADER = "slice_config.hpp"

SOURCES = (*special_functions.SOURCES, "attention_slice.hpp")
"""What a kernel with a slice in it needs of `cpp/`."""


def kernel(config: DriveEngineConfig) -> Kernel:
    """Return the kernel of a slice.

    Raises:
        ConfigError: the RTL block refuses the configuration, too.
    """
    AttentionSlice(config)
    ports: list[Port] = [
        Argument("commands"),
        Argument("scale_value", config.queries),
        Argument("scale_exponent", config.queries, kind="int"),
        Stream("i_command", "command_payload_t"),
        Stream("i_query", "query_payload_t"),
        Stream("i", "element_payload_t"),
        Stream("o_approximate", "approximate_payload_t", output=True),
        Stream("o_partial", "partial_payload_t", output=True),
    ]
    sources = (*SOURCES, "attention_slice_top.hpp", "attention_slice.cpp")
    headers = {
        special_functions.HEADER: special_functions.functions_header(SpecialFunctionUnitConfig()),
        HEADER: slice_header(config),
    }
    return Kernel("attention_slice", ports, headers, read(sources), config.lanes)


def slice_header(config: DriveEngineConfig) -> str:
    """Return the constants of a slice."""
    attention = config.attention
    beat, query = element_layout(config), query_layout(config)
    return header(
        HEADER,
        config,
        {
            "LANES": config.lanes,
            "QUERIES": config.queries,
            "ROWS": config.rows,
            "GROUP_TOKENS": config.layout.group_tokens,
            "SPAN_TOKENS": span_tokens(config),
            "QUERY_BITS": attention.query_bits,
            "ELEMENT_BITS": attention.element_bits,
            "SCORE_BITS": attention.score_bits,
            "PROBABILITY_BITS": attention.probability_bits,
            "POWER_BITS": attention.power_bits,
            "MASS_BITS": attention.mass_bits,
            "MIXED_BITS": attention.mixed_bits,
            "PAGE_COUNT_BITS": PAGE_COUNT_BITS,
            "SPAN_BITS": span_bits(config),
            "SPAN_SIZE_BITS": _width(slice_command_layout(config), "tokens"),
            "QUERY_ROW_BITS": _width(query, "row"),
            "ROW_BITS": _width(beat, "row"),
            "TOKEN_BITS": _width(beat, "token"),
            "CHANNEL_BITS": _width(beat, "channel"),
            "FIRST_BITS": _width(beat, "first_token"),
        },
    )


def vectors(case: Case) -> Vectors:
    """Return a case of the RTL's bench for the kernel; it has no pauses, and nothing resets it."""
    play = Play(case, np.random.default_rng(0))
    arguments: dict[str, int | list[int]] = {
        "commands": len(play.inputs["i_command"]),
        "scale_value": case.scale.value.tolist(),
        "scale_exponent": case.scale.exponent.tolist(),
    }
    return Vectors(case.name, arguments, {**play.inputs, **play.expected})


def _width(layout: StructLayout, name: str) -> int:
    return Shape.cast(layout.members[name]).width
