"""HLS C++ of the blocks that have RTL: bit-exact in C simulation, and wrong where it is broken."""

from dataclasses import replace

import pytest
import torch

from golden.spec.arg_top_k import ArgTopKConfig
from golden.spec.drive_engine import DriveEngineConfig
from golden.spec.errors import ToolError
from golden.spec.matrix_engine import MatrixEngineConfig
from golden.spec.sparse_chain import SparseChainConfig
from golden.spec.special_function_unit import (
    Job,
    Operation,
    Second,
    SpecialFunctionUnitConfig,
)
from hls_gen.hls import special_functions
from hls_gen.hls.blocks import find
from hls_gen.hls.simulation import simulate
from hw.verify_special_functions import Case

CHAINS = [
    SparseChainConfig(),
    SparseChainConfig(m=8, chain_length=4, strips=4),
    SparseChainConfig(m=4, products_per_dsp=1, activation_bits=3, weight_bits=5),
    SparseChainConfig(m=32, chain_length=8, group_length=8),
]
ENGINES = [
    MatrixEngineConfig(),
    MatrixEngineConfig(
        chains=3, m=8, products_per_dsp=1, strips=4, activation_depth=64, word_bits=64
    ),
    MatrixEngineConfig(chains=1, m=32, chain_length=8, group_length=8, zero_fraction_bits=2),
    MatrixEngineConfig(strips=2, activation_depth=64, scale_shift=17, output_bits=27),
]
UNITS = [
    SpecialFunctionUnitConfig(),
    SpecialFunctionUnitConfig(lanes=2, table_bits=5),
]
TOPS = [
    ArgTopKConfig(),
    ArgTopKConfig(max_scores=256, max_k=16, score_bits=40, lanes=2),
    ArgTopKConfig(max_scores=64, max_k=2, score_bits=3, lanes=8),
    ArgTopKConfig(max_scores=1024, max_k=64, score_bits=48, lanes=4),
]
SLICES = [
    DriveEngineConfig(),
    DriveEngineConfig(
        head_size=16, queries=3, page_bytes=1024, channels_per_page=8, context_bits=10
    ),
    DriveEngineConfig(head_size=32, lanes=8, queries=2, kv_bits=8, page_bytes=1024),
    DriveEngineConfig(head_size=64, lanes=1, kv_bits=8),
]
FINISHERS = [
    DriveEngineConfig(),
    DriveEngineConfig(head_size=16, queries=2, page_bytes=1024, flash_channels=3),
    DriveEngineConfig(head_size=32, lanes=8, kv_bits=8, page_bytes=1024, flash_channels=1),
]
BROKEN = {
    "sparse-chain": [
        ("sparse_chain.hpp", "int(pass.segment) * CHAIN_LENGTH + i", "i"),
        ("sparse_chain.hpp", "if (pass.two_rows == 1)", "if (false)"),
        ("sparse_chain.hpp", "(group % (1 << code)) * GROUP_LENGTH", "0"),
    ],
    "matrix-engine": [
        ("matrix_engine.hpp", "if (sum.first == 0)", "if (true)"),
        ("matrix_engine.hpp", "zeros[lane] * offset.lane[lane]", "0"),
    ],
    "special-function-unit": [
        ("integers.hpp", "if (shift > 0 && rest", "if (false && rest"),
        ("special_functions.hpp", "quotient += 1", "quotient += 0"),
    ],
    "arg-top-k": [
        ("arg_top_k.hpp", "one.index < other.index", "one.index > other.index"),
        ("arg_top_k.hpp", "if (beat * LANES + lane >= count)", "if (false)"),
        ("arg_top_k.hpp", "left == 0 ? 1 : 0", "0"),
    ],
    "attention-slice": [
        ("attention_slice.hpp", "if (up <= rise)", "if (up < rise)"),
        ("attention_slice.hpp", "weight.starts = !bins.filled[slot]", "weight.starts = false"),
        ("attention_slice.hpp", "if (bin > bins.top - BINS)", "if (bin >= bins.top - BINS)"),
        ("attention_slice.hpp", "score = 0;", ""),
        ("attention_slice.hpp", "(octave & (BIN_OCTAVES - 1))", "(octave & 3)"),
    ],
    "finisher": [
        ("finisher.hpp", "below[channel] = top - below[channel]", "below[channel] = 0"),
        ("finisher.hpp", "if (bits > MOST_HALF) bits = MOST_HALF", "(void)MOST_HALF"),
        ("finisher.hpp", "if (alpha > ONE) alpha = ONE", "if (alpha > ONE / 2) alpha = ONE / 2"),
        (
            "finisher.hpp",
            "exponent - 10 < LEAST_HALF ? LEAST_HALF : exponent - 10",
            "exponent - 10",
        ),
    ],
}
SMALL = {
    "sparse-chain": CHAINS[1],
    "matrix-engine": ENGINES[2],
    "special-function-unit": UNITS[1],
    "arg-top-k": TOPS[1],
    "attention-slice": SLICES[1],
    "finisher": FINISHERS[1],
}


def run(name, config, kernel=None, cases=None):
    block = find(name)
    chosen = block.random_cases(config, cases or block.cases(config), 0)
    assert cases or block.coverage(chosen) == 1
    return simulate(kernel or block.kernel(config), [block.vectors(case) for case in chosen])


@pytest.mark.parametrize(
    ("name", "config", "cases"),
    [
        *(("sparse-chain", config, None) for config in CHAINS[1:3]),
        *(("matrix-engine", config, 80) for config in ENGINES[1:3]),
        *(("special-function-unit", config, 100) for config in UNITS[1:]),
        *(("arg-top-k", config, None) for config in TOPS[1:2]),
        *(("attention-slice", config, 60) for config in SLICES[1:2]),
        *(("finisher", config, 16) for config in FINISHERS[1:2]),
    ],
    ids=str,
)
def test_a_kernel_gives_what_golden_does(name, config, cases):
    results = run(name, config, cases=cases)
    assert [result for result in results if not result.passed] == []


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "configs"),
    [
        ("sparse-chain", CHAINS),
        ("matrix-engine", ENGINES),
        ("special-function-unit", UNITS),
        ("arg-top-k", TOPS),
        ("attention-slice", SLICES),
        ("finisher", FINISHERS),
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_a_kernel_gives_what_golden_does_in_many_cases(name, configs, seed):
    block = find(name)
    for config in configs:
        chosen = block.random_cases(config, block.cases(config), seed)
        results = simulate(block.kernel(config), [block.vectors(case) for case in chosen])
        assert all(result.passed for result in results)


@pytest.mark.parametrize(
    ("name", "file", "right", "wrong"),
    [
        pytest.param(name, *change, marks=pytest.mark.full if number else ())
        for name, changes in BROKEN.items()
        for number, change in enumerate(changes)
    ],
)
def test_a_broken_kernel_is_seen(name, file, right, wrong):
    kernel = find(name).kernel(SMALL[name])
    text = kernel.sources[file]
    assert text.count(right) == 1
    broken = replace(kernel, sources={**kernel.sources, file: text.replace(right, wrong)})
    assert not all(result.passed for result in run(name, SMALL[name], broken, 100))


def test_a_root_just_below_a_half_is_rounded_down():
    """A radicand of r * (r + 1), for r = 2**15: random ones never meet it."""
    jobs = (
        Job(Operation.LOAD, first=65538, target=1),
        Job(Operation.LOAD, first=0, target=2),
        Job(Operation.INVERSE_ROOT, scale=1, other=2, target=3),
        Job(Operation.LINEAR, source=Second.SCALAR, other=3, second=1),
    )
    config = SMALL["special-function-unit"]
    case = special_functions.vectors(Case("tie", config, jobs, (torch.zeros(1).long(),)))
    assert case.data["o"][0, :4].tolist() == [0, 0, 1, 0]  # 2**31 / 2**15
    (result,) = simulate(special_functions.kernel(config), [case])
    assert result.passed


def test_a_kernel_that_reads_too_much_breaks_off():
    kernel = find("sparse-chain").kernel(SMALL["sparse-chain"])
    text = kernel.sources["sparse_chain.hpp"].replace("number < count;", "number <= count;")
    broken = replace(kernel, sources={**kernel.sources, "sparse_chain.hpp": text})
    with pytest.raises(ToolError, match=r"a stream is read that nothing is written to any more$"):
        run("sparse-chain", SMALL["sparse-chain"], broken, 3)


def test_a_kernel_that_is_no_cpp_is_refused():
    kernel = find("sparse-chain").kernel(SMALL["sparse-chain"])
    broken = replace(kernel, sources={**kernel.sources, "sparse_chain.cpp": "this is no C++"})
    with pytest.raises(
        ToolError, match=r"^the C.. compiler refuses the kernel sparse_chain: .*rror"
    ):
        run("sparse-chain", SMALL["sparse-chain"], broken, 1)
