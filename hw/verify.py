"""Runs the sparse chain's bench: jobs against golden and contract, and random verification.

A `Case` is one job of the chain; all cases of a call run in one start of the simulator.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from golden.bit_packing import pack_fields
from golden.numbers import signed_range
from golden.sparse_chain import sparse_chain
from golden.sparse_matrix import SparseMatrix, pack
from golden.sparsity import keep_mask, uniform_keep
from golden.spec.errors import ConfigError
from golden.spec.sparse_chain import SparseChainConfig
from hw import cosim
from hw.emit import Design, emit
from hw.jobs import pauses, run_job
from hw.sparse_chain import SparseChain

BENCH = "hw.benches.sparse_chain"


@dataclass(frozen=True)
class Case:
    """One job: a matrix and the activations to multiply it with.

    Attributes:
        name: what a person calls it.
        matrix: the packed weights.
        activations: integers [tokens, inputs].
        idle: the sources pause at random; stall: the sink does.
        reset_after: cycles after which a first try is broken off by a reset; 0 for no such try.
        mutant: the fault that is active, in a design of `hw.mutation`; 0 for none.
    """

    name: str
    matrix: SparseMatrix
    activations: torch.Tensor
    idle: bool = False
    stall: bool = False
    reset_after: int = 0
    mutant: int = 0


@dataclass(frozen=True)
class CaseResult:
    """What the bench's monitor counted in one case, beside the contract.

    Attributes:
        products: products with a kept weight; lanes: products the chain can do per cycle.
        cycles: from the first beat taken to the last sums given; stall_cycles: of them, waiting.
        contract_cycles: `SparseChain.cycles`, for no stalls.
        compared, mismatches: sums compared with golden, and how many differ; first_mismatch: one.
    """

    name: str
    products: int
    lanes: int
    cycles: int
    stall_cycles: int
    contract_cycles: int
    compared: int
    mismatches: int
    first_mismatch: str = ""

    @property
    def utilisation(self) -> float:
        """Useful products / (lanes x cycles)."""
        return self.products / (self.lanes * self.cycles)

    @property
    def passed(self) -> bool:
        """True when every sum is golden's and the cycles are the contract's plus the stalls."""
        return self.mismatches == 0 and self.cycles == self.contract_cycles + self.stall_cycles


def run_cases(
    cases: Sequence[Case],
    *,
    design: Design | None = None,
    seed: int = 0,
    waves: Path | None = None,
    progress: cosim.Progress = lambda _: None,
) -> list[CaseResult]:
    """Run the cases, all of one configuration, on the chain in Verilator.

    Args:
        design: the Verilog to run; the chain of the cases' configuration by default.
        seed: of the random pauses.
        waves: where to write a waveform (FST).

    Raises:
        ConfigError: there is no case, or two cases differ in their configuration.
        ToolError: a tool is missing or broke off.
    """
    configs = {case.matrix.config for case in cases}
    if len(configs) != 1:
        raise ConfigError(f"the cases have {len(configs)} configurations; one is needed")
    (config,) = configs
    described = [_describe(case) for case in cases]
    passed, counts = run_job(
        design or emit(SparseChain, config),
        BENCH,
        described,
        [_beats(case) for case in cases],
        seed=seed,
        waves=waves,
        progress=progress,
    )
    results = [
        CaseResult(case.name, lanes=config.m, contract_cycles=about["contract_cycles"], **counted)
        for case, about, counted in zip(cases, described, counts, strict=True)
    ]
    assert passed == all(result.passed for result in results), "bench and host disagree"
    return results


def random_cases(config: SparseChainConfig, count: int, seed: int) -> list[Case]:
    """Return `count` random cases; any 4 successive ones have all 4 combinations of pauses."""
    random = np.random.default_rng(seed)
    return [
        random_case(config, random, f"random {number}", **choice)
        for number, choice in enumerate(pauses(count))
    ]


def random_case(
    config: SparseChainConfig, random: np.random.Generator, name: str, *, idle: bool, stall: bool
) -> Case:
    """Return a job of random shape, blocks and operands; extremes and resets are likely."""
    m = config.m
    strips, groups, blocks = (int(random.integers(1, top)) for top in (4, 4, 5))
    inputs = groups * blocks * m
    keep = torch.from_numpy(random.choice(config.keeps, size=(strips, groups * blocks)))
    mask = keep_mask(torch.from_numpy(random.random((strips * m, inputs))), keep, config)
    weight = _operands(random, (strips * m, inputs), config.weight_bits)
    activations = _operands(random, (int(random.integers(1, 4)), inputs), config.activation_bits)
    matrix = pack(weight, mask, keep, blocks * m, config)
    reset_after = int(random.integers(1, 60)) if random.random() < 0.25 else 0
    return Case(name, matrix, activations, idle, stall, reset_after)


def uniform_case(
    config: SparseChainConfig, keep: int, blocks: int, group_size: int, seed: int
) -> Case:
    """Return a job of one strip and one token whose `blocks` blocks all have N = `keep`."""
    random = np.random.default_rng(seed)
    shape = (config.m, blocks * config.m)
    keeps = uniform_keep(*shape, keep, config)
    mask = keep_mask(torch.from_numpy(random.random(shape)), keeps, config)
    weight = _operands(random, shape, config.weight_bits)
    activations = _operands(random, (1, shape[1]), config.activation_bits)
    matrix = pack(weight, mask, keeps, group_size, config)
    return Case(f"all {keep}:{config.m}", matrix, activations)


def coverage(cases: Sequence[Case]) -> float:
    """Return the share of all (N, idle, stall) crosses that the cases hit, 0 to 1."""
    keeps = cases[0].matrix.config.keeps
    hit = {(n, case.idle, case.stall) for case in cases for n in case.matrix.keep.unique().tolist()}
    return len(hit) / (len(keeps) * 4)


def _operands(random: np.random.Generator, shape: tuple[int, int], bits: int) -> torch.Tensor:
    """Return uniform integers; one tensor in four holds nothing but the two extremes."""
    low, high = signed_range(bits)
    if random.random() < 0.25:
        return torch.from_numpy(random.choice([low, high], size=shape))
    return torch.from_numpy(random.integers(low, high, size=shape, endpoint=True))


def _stream_keep(case: Case) -> np.ndarray:
    """Return N of every block in the order of the stream: the matrix once per token."""
    return np.tile(case.matrix.keep.numpy().flatten(), len(case.activations))


def _describe(case: Case) -> dict[str, Any]:
    config = case.matrix.config
    return {
        "name": case.name,
        "tokens": len(case.activations),
        "accumulator_bits": config.accumulator_bits,
        "idle": case.idle,
        "stall": case.stall,
        "reset_after": case.reset_after,
        "mutant": case.mutant,
        "contract_cycles": SparseChain.cycles(config, _stream_keep(case)),
    }


def _beats(case: Case) -> dict[str, np.ndarray]:
    return {
        "weights": _weight_beats(case.matrix),
        "blocks": _block_beats(case),
        "expected": _expected_beats(case),
    }


def _weight_beats(matrix: SparseMatrix) -> np.ndarray:
    config = matrix.config
    return pack_fields(
        (matrix.values.numpy(), config.weight_bits), (matrix.indices.numpy(), config.index_bits)
    )


def _block_beats(case: Case) -> np.ndarray:
    """Return one beat per block, token by token: activations, code of N, and the group's end."""
    matrix, config = case.matrix, case.matrix.config
    tokens, (strips, blocks) = len(case.activations), matrix.keep.shape
    activations = case.activations.numpy().reshape(tokens, 1, blocks, config.m)
    activations = np.broadcast_to(activations, (tokens, strips, blocks, config.m))
    per_group = matrix.group_size // config.m
    last = np.arange(blocks) % per_group == per_group - 1
    code = np.log2(matrix.keep.numpy()).astype(np.int64) - 1
    return pack_fields(
        (activations.reshape(-1, config.m), config.activation_bits),
        (np.tile(code.reshape(-1, 1), (tokens, 1)), config.keep_code_bits),
        (np.tile(last.reshape(-1, 1), (tokens * strips, 1)), 1),
    )


def _expected_beats(case: Case) -> np.ndarray:
    """Return golden's sums as the chain gives them: int64 [tokens * strips * groups, m]."""
    matrix = case.matrix
    sums = sparse_chain(matrix, case.activations)
    strips = sums.reshape(len(sums), -1, matrix.config.m, matrix.groups)
    return strips.transpose(2, 3).reshape(-1, matrix.config.m).numpy()
