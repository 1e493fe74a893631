"""The blocks that have HLS C++, each with its kernel and the cases of its bench."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import hw.engine_cases
import hw.sfu_cases
import hw.verify_chain
from golden.spec.errors import ConfigError
from golden.spec.matrix_engine import MatrixEngineConfig
from golden.spec.sparse_chain import SparseChainConfig
from golden.spec.special_function_unit import SpecialFunctionUnitConfig
from hls_gen.hls import (
    decode_attention,
    decoder_layer,
    matrix_engine,
    sparse_chain,
    special_functions,
)
from hls_gen.hls.kernel import Kernel
from hls_gen.hls.vectors import Vectors


@dataclass(frozen=True)
class HlsBlock:
    """A block with an HLS kernel.

    Attributes:
        config: class of its configuration. summary: one line.
        kernel: of a configuration. vectors: of a case, what the kernel's bench reads.
        crosses: of a configuration, how many combinations there are of what a case may have.
        cases: of a configuration, how many random cases hit every cross.
        random_cases: of a configuration, so many cases, from a seed.
        coverage: of cases: the part of the crosses that they hit, 0 to 1.
    """

    config: type[Any]
    summary: str
    kernel: Callable[[Any], Kernel]
    vectors: Callable[[Any], Vectors]
    crosses: Callable[[Any], int]
    cases: Callable[[Any], int]
    random_cases: Callable[[Any, int, int], list[Any]]
    coverage: Callable[[Sequence[Any]], float]


def find(name: str) -> HlsBlock:
    """Return the block called `name`.

    Raises:
        ConfigError: there is none with HLS C++.
    """
    if name not in HLS_BLOCKS:
        raise ConfigError(
            f"there is no HLS C++ of a block {name!r}; there is of {', '.join(HLS_BLOCKS)}"
        )
    return HLS_BLOCKS[name]


def _of_rtl(
    config: type[Any],
    summary: str,
    kernel: Callable[[Any], Kernel],
    vectors: Callable[[Any], Vectors],
    bench: Any,
    pauses: Sequence[str],
) -> HlsBlock:
    """Return a block that runs the cases of an RTL bench, a module.

    A C simulation has no cycles, so nothing pauses: the crosses are those without pauses.

    Args:
        pauses: the fields of a case that say which streams pause.
    """
    share = 2 ** len(pauses)
    unpaused = dict.fromkeys(pauses, False)

    def coverage(cases: Sequence[Any]) -> float:
        return float(bench.coverage([replace(case, **unpaused) for case in cases]) * share)

    def crosses(config: Any) -> int:
        return len(bench.crosses(config)) // share

    def enough(config: Any) -> int:
        return len(bench.crosses(config))

    return HlsBlock(config, summary, kernel, vectors, crosses, enough, bench.random_cases, coverage)


HLS_BLOCKS = {
    "sparse-chain": _of_rtl(
        SparseChainConfig,
        "sums of N:M sparse and dense INT8 products",
        sparse_chain.kernel,
        sparse_chain.vectors,
        hw.verify_chain,
        ["idle"],
    ),
    "matrix-engine": _of_rtl(
        MatrixEngineConfig,
        "sparse chains with buffers, accumulators, group scales and requantisation",
        matrix_engine.kernel,
        matrix_engine.vectors,
        hw.engine_cases,
        ["idle", "stall"],
    ),
    "special-function-unit": _of_rtl(
        SpecialFunctionUnitConfig,
        "norms, softmax, activations, rotations and quantisation of vectors in streams",
        special_functions.kernel,
        special_functions.vectors,
        hw.sfu_cases,
        ["idle", "stall"],
    ),
    "decode-attention": HlsBlock(
        decode_attention.DecodeAttentionConfig,
        "attention of one token over a cache of INT8 keys and values",
        decode_attention.kernel,
        decode_attention.vectors,
        decode_attention.crosses,
        decode_attention.crosses,
        decode_attention.random_cases,
        decode_attention.coverage,
    ),
    "decoder-layer": HlsBlock(
        decoder_layer.DecoderLayerConfig,
        "a whole decoder layer of one token, composed of the kernels of the others",
        decoder_layer.kernel,
        decoder_layer.vectors,
        decoder_layer.crosses,
        decoder_layer.crosses,
        decoder_layer.random_cases,
        decoder_layer.coverage,
    ),
}
