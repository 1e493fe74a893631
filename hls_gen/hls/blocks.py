"""The blocks that have HLS C++, each with its kernel and the cases of its bench."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import hw.engine_cases
import hw.sfu_cases
import hw.verify_chain
import storage_engine.arg_top_k_cases
import storage_engine.finisher_cases
import storage_engine.slice_cases
from golden.spec.arg_top_k import ArgTopKConfig
from golden.spec.drive_engine import DriveEngineConfig
from golden.spec.errors import ConfigError
from golden.spec.matrix_engine import MatrixEngineConfig
from golden.spec.sparse_chain import SparseChainConfig
from golden.spec.special_function_unit import SpecialFunctionUnitConfig
from hls_gen.hls import (
    arg_top_k,
    attention_slice,
    decode_attention,
    decoder_layer,
    finisher,
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


def _of_crosses(
    config: type[Any],
    summary: str,
    kernel: Callable[[Any], Kernel],
    vectors: Callable[[Any], Vectors],
    every: Callable[[Any], Sequence[tuple[Any, ...]]],
    random_cases: Callable[[Any, int, int], list[Any]],
) -> HlsBlock:
    """Return a block that runs the cases of an RTL bench that notes the crosses they hit.

    Args:
        every: of a configuration, all crosses; the last two fields of each say what pauses.
    """

    def crosses(config: Any) -> int:
        return len({cross[:-2] for cross in every(config)})

    def coverage(cases: Sequence[Any]) -> float:
        hit = {cross[:-2] for case in cases for cross in case.hit}
        return len(hit) / crosses(cases[0].config)

    def enough(config: Any) -> int:
        return len(every(config))

    return HlsBlock(config, summary, kernel, vectors, crosses, enough, random_cases, coverage)


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
    "arg-top-k": _of_crosses(
        ArgTopKConfig,
        "the indices of the k largest of many scores, at line rate whatever the scores",
        arg_top_k.kernel,
        arg_top_k.vectors,
        storage_engine.arg_top_k_cases.crosses,
        storage_engine.arg_top_k_cases.random_cases,
    ),
    "attention-slice": _of_crosses(
        DriveEngineConfig,
        "a flash channel's part of attention: scores, powers of 2 and sums of values",
        attention_slice.kernel,
        attention_slice.vectors,
        lambda _: storage_engine.slice_cases.crosses(),
        storage_engine.slice_cases.random_cases,
    ),
    "finisher": HlsBlock(
        DriveEngineConfig,
        "outputs in FP16 from the sums of all flash channels, with SparF's compensation",
        finisher.kernel,
        finisher.vectors,
        finisher.crosses,
        finisher.enough,
        storage_engine.finisher_cases.random_cases,
        finisher.coverage,
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
