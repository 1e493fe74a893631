"""The sparse chain as an HLS kernel, with the streams of the RTL block."""

import numpy as np
import torch

from golden.passes import make_passes
from golden.spec.sparse_chain import SparseChainConfig
from hls_gen.hls.kernel import Argument, Kernel, Port, Stream, header, read
from hls_gen.hls.vectors import Vectors
from hw import payloads
from hw.layouts import pass_layout, row_sum_layout, second_bits
from hw.verify_chain import Case, expected_sums

HEADER = "chain_config.hpp"

SOURCES = ("integers.hpp", "sparse_chain.hpp")
"""What a kernel with chains in it needs of `cpp/`."""


def kernel(config: SparseChainConfig) -> Kernel:
    """Return the kernel of a chain."""
    ports: list[Port] = [
        Argument("columns"),
        Argument("passes"),
        Argument("beats"),
        Stream("i_activation", "activation_payload_t"),
        Stream("i_pass", "pass_payload_t"),
        Stream("i_weight", "weight_payload_t"),
        Stream("o", "row_sum_payload_t", config.groups, output=True),
    ]
    sources = (*SOURCES, "sparse_chain_top.hpp", "sparse_chain.cpp")
    headers = {HEADER: chain_header(config)}
    return Kernel("sparse_chain", ports, headers, read(sources), config.lanes)


def chain_header(config: SparseChainConfig) -> str:
    """Return the constants of a chain."""
    header_of_pass, row = pass_layout(config).members, row_sum_layout(config).members
    return header(
        HEADER,
        config,
        {
            "M": config.m,
            "CHAIN_LENGTH": config.chain_length,
            "GROUP_LENGTH": config.group_length,
            "GROUPS": config.groups,
            "CODES": len(config.beats_of_pass),
            "LANES": config.products_per_dsp,
            "STRIPS": config.strips,
            "ACTIVATION_BITS": config.activation_bits,
            "WEIGHT_BITS": config.weight_bits,
            "INDEX_BITS": config.index_bits,
            "SECOND_BITS": second_bits(config),
            "SUM_BITS": config.sum_bits,
            "CODE_BITS": header_of_pass["code"].width,
            "SEGMENT_BITS": header_of_pass["segment"].width,
            "STRIP_BITS": header_of_pass["strip"].width,
            "ROW_BITS": row["row"].width,
        },
    )


def vectors(case: Case) -> Vectors:
    """Return a case of the RTL's bench for the kernel; it has no pauses, and nothing resets it."""
    config = case.config
    passes = make_passes(case.matrix, config, two_rows=case.two_rows)
    sums = expected_sums(case, passes)
    tiles = len(passes.strips)
    padded = torch.nn.functional.pad(case.activations, (0, -case.matrix.inputs % config.m))
    return Vectors(
        case.name,
        {
            "columns": tiles * passes.columns,
            "passes": len(passes.n),
            "beats": int(passes.n.sum()),
        },
        {
            "i_activation": np.tile(payloads.of_activations(padded, config), (tiles, 1)),
            "i_pass": payloads.of_passes(passes),
            "i_weight": payloads.of_weights(passes),
            **{
                f"o__{group}": payloads.of_row_sums(passes, sums, group)
                for group in range(config.groups)
            },
        },
    )
