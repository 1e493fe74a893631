"""Verifies the sparse chain on its own: every row's sum against golden, every cycle explained.

The chain's matrix is multiplied with one token in each lane, or with one token where two weight
rows share an activation (`two_rows`). All cases of a call run in one start of the simulator.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from golden.passes import Passes, make_passes
from golden.sparse_chain import pass_sums
from golden.sparse_matrix import SparseMatrix
from golden.spec.errors import ConfigError
from golden.spec.sparse_chain import SparseChainConfig
from hw import cosim, payloads, player
from hw.emit import Design, emit
from hw.random_matrices import pattern_of, patterns, random_matrix, random_operands
from hw.sparse_chain import SparseChain

INPUTS = ("i_activation", "i_pass", "i_weight")

_Config = TypeVar("_Config")


@dataclass(frozen=True)
class Case:
    """One job of a chain.

    Attributes:
        name: what a person calls it.
        config: of the chain.
        matrix: the weights. activations: integers [tokens, inputs], a token for each lane; one with
            `two_rows`, and any number up to `products_per_dsp` else.
        two_rows: two weight rows share an activation; else two activations share a weight.
        idle: the sources pause at random.
        reset_after: cycles after which a first try is broken off by a reset; 0 for no such try.
        mutant: the fault that is active, in a design of `hw.mutation`; 0 for none.
    """

    name: str
    config: SparseChainConfig
    matrix: SparseMatrix
    activations: torch.Tensor
    two_rows: bool = False
    idle: bool = False
    reset_after: int = 0
    mutant: int = 0


@dataclass(frozen=True)
class CaseResult:
    """What happened in one case of a chain or an engine, from the log of its handshakes.

    Attributes:
        products: products with a kept weight and a token; lanes: products that can be done per
            cycle.
        cycles: from the first input offered to the last output given.
        contract_cycles: what the timing contract says, without a stall.
        stall_cycles: what the counted stalls of sources and sinks add to the contract.
        unexplained: of a chain, cycles in which it did not take what it should have; of an engine
            whose streams pause, handshakes in other cycles than follow from the stalls.
        compared, mismatches: outputs compared with golden, and how many differ.
    """

    name: str
    products: int
    lanes: int
    cycles: int
    contract_cycles: int
    stall_cycles: int
    unexplained: int
    compared: int
    mismatches: int
    first_mismatch: str = ""

    @property
    def utilisation(self) -> float:
        """Useful products / (lanes x cycles)."""
        return self.products / (self.lanes * self.cycles)

    @property
    def passed(self) -> bool:
        """True when every output is golden's and every cycle is the contract's or a stall's."""
        expected = self.contract_cycles + self.stall_cycles
        return self.mismatches == 0 and self.unexplained == 0 and self.cycles == expected


def run_cases(
    cases: Sequence[Case],
    *,
    design: Design | None = None,
    target: str = "generic",
    seed: int = 0,
    waves: Path | None = None,
    progress: cosim.Progress = lambda _: None,
) -> list[CaseResult]:
    """Run the cases, all of one configuration, on the chain in Verilator.

    Args:
        design: the Verilog to run; the chain of the cases' configuration by default, for `target`.
        seed: of the random pauses.
        waves: where to write a waveform (FST).

    Raises:
        ConfigError: there is no case, or two cases differ in their configuration.
        ToolError: a tool is missing or broke off.
    """
    config = one_configuration(case.config for case in cases)
    design = design or emit(SparseChain, config, target=target)
    jobs = [make_passes(case.matrix, config, two_rows=case.two_rows) for case in cases]
    random = np.random.default_rng(seed)
    played = [_play(case, passes, random) for case, passes in zip(cases, jobs, strict=True)]
    traces = player.play(design, played, waves=waves, progress=progress)
    return [_judge(*about) for about in zip(cases, jobs, traces, strict=True)]


def one_configuration(configs: Iterable[_Config]) -> _Config:
    """Return the configuration that all cases have.

    Raises:
        ConfigError: there is no case, or two cases differ in their configuration.
    """
    found = set(configs)
    if len(found) != 1:
        raise ConfigError(f"the cases have {len(found)} configurations; one is needed")
    return found.pop()


def random_cases(config: SparseChainConfig, count: int, seed: int) -> list[Case]:
    """Return `count` random cases; as many as `crosses` has hit every cross.

    A quarter of them begins with a try that a reset breaks off.
    """
    random = np.random.default_rng(seed)
    chosen = random.permutation(np.array(crosses(config), dtype=object))
    cases = []
    for number in range(count):
        tokens, idle, *pattern = chosen[number % len(chosen)]
        bits = config.weight_bits - (config.weight_bits == 7)  # no weight is stored in 7 bits
        matrix = random_matrix(config, random, (pattern[0], pattern[1]), bits)
        two_rows = tokens == 0
        activations = random_operands(random, (tokens or 1, matrix.inputs), config.activation_bits)
        reset_after = int(random.integers(1, 100)) if random.random() < 0.25 else 0
        name = f"random {number}"
        cases.append(Case(name, config, matrix, activations, two_rows, idle, reset_after))
    return cases


def crosses(config: SparseChainConfig) -> list[tuple[int, bool, str, int]]:
    """Return all that a case may be: tokens (0: two rows), idle sources, pattern of blocks, N."""
    modes = [(tokens, p) for tokens in (1, config.products_per_dsp) for p in patterns(config)]
    if config.products_per_dsp == 2:
        modes.append((0, ("uniform", config.m)))
    return [(tokens, idle, *p) for idle in (False, True) for tokens, p in dict.fromkeys(modes)]


def coverage(cases: Sequence[Case]) -> float:
    """Return the share of all crosses that the cases hit, 0 to 1."""
    hit = {
        (0 if case.two_rows else len(case.activations), case.idle, *pattern_of(case.matrix))
        for case in cases
    }
    return len(hit) / len(crosses(cases[0].config))


def _play(case: Case, passes: Passes, random: np.random.Generator) -> player.Case:
    config = case.config
    tiles, _ = passes.strips.shape[:2]
    padded = torch.nn.functional.pad(case.activations, (0, -case.matrix.inputs % config.m))
    once = payloads.of_activations(padded, config)
    inputs = {
        "i_activation": np.tile(once, (tiles, 1)),
        "i_pass": payloads.of_passes(passes),
        "i_weight": payloads.of_weights(passes),
    }
    rows = config.group_length * len(passes.n)
    return player.Case(
        inputs,
        {f"o__{group}": rows for group in range(config.groups)},
        player.random_pauses(
            random, {name: len(inputs[name]) for name in INPUTS} if case.idle else {}
        ),
        {"mutant": case.mutant} if case.mutant else {},
        case.reset_after,
    )


def _judge(case: Case, passes: Passes, trace: player.Trace) -> CaseResult:
    config = case.config
    sums = expected_sums(case, passes)
    compared = mismatches = 0
    first_mismatch = ""
    for group in range(config.groups):
        expected = payloads.of_row_sums(passes, sums, group)
        wrong = player.count_mismatches(trace.outputs[f"o__{group}"], expected)
        compared += len(expected)
        mismatches += wrong
        if wrong and not first_mismatch:
            first_mismatch = f"node {group}: {wrong} of {len(expected)} rows differ"
    beats = np.bincount(passes.column_number, weights=passes.n).astype(int).tolist()
    last = max(trace.transfers(f"o__{g}")[-1:].max(initial=0) for g in range(config.groups))
    start = int(np.argmax(trace.valid["i_activation"]))
    stalls, unexplained = _stalls(config, passes, trace)
    contract = SparseChain.cycles(config, beats)
    stalled = SparseChain.cycles(config, beats, **stalls) - contract
    taken = len(trace.transfers("i_weight"))
    return CaseResult(
        case.name,
        int(_useful(case, passes)[:taken].sum()),
        config.lanes,
        int(last) + 1 - start,
        contract,
        stalled,
        unexplained,
        compared * config.products_per_dsp,
        mismatches,
        first_mismatch,
    )


def expected_sums(case: Case, passes: Passes) -> np.ndarray:
    """Return golden's sums of a case, as `golden.sparse_chain.pass_sums` gives them."""
    tokens = 1 if case.two_rows else case.config.products_per_dsp
    given = torch.zeros(tokens, case.matrix.inputs, dtype=torch.int64)
    given[: len(case.activations)] = case.activations
    return pass_sums(passes, given)


def _useful(case: Case, passes: Passes) -> np.ndarray:
    """Return how many products of each beat belong to a kept weight and a token, int64 [beats]."""
    kept = kept_weights(passes, case.matrix)
    return kept * (1 if case.two_rows else len(case.activations))


def kept_weights(passes: Passes, matrix: SparseMatrix) -> np.ndarray:
    """Return how many kept weights the multipliers work on in each beat, int64 [beats]."""
    length, mask = passes.config.chain_length, matrix.mask.numpy()
    strips = passes.strips[passes.tile, passes.strip]
    start = passes.column * passes.config.m + passes.segment * length
    kept = np.zeros(len(passes.values), np.int64)
    for some in np.array_split(np.arange(len(passes.n)), len(passes.n) // 4096 + 1):
        n = passes.n[some]
        which = np.repeat(some, n)
        first = np.cumsum(n) - n
        beat = (np.arange(len(which)) - np.repeat(first, n))[:, None]
        at = passes.first_beat[some[0]] + np.arange(len(which))
        span = passes.n[which][:, None]
        row_in_strip = (np.arange(length) // span) * span + beat
        index = np.where(passes.dense[which][:, None], np.arange(length), passes.second[at])
        column = start[which][:, None] + index
        for lane in range(strips.shape[1]):
            row = strips[which, lane][:, None] * length + row_in_strip
            inside = (row < matrix.rows) & (column < matrix.inputs)
            row, safe = np.minimum(row, matrix.rows - 1), np.minimum(column, matrix.inputs - 1)
            kept[at] += (inside & mask[row, safe]).sum(axis=1)
    return kept


def _stalls(
    config: SparseChainConfig, passes: Passes, trace: player.Trace
) -> tuple[dict[str, list[int]], int]:
    """Return the stalls of each column, and the cycles that were lost without a reason.

    A column's activations may enter when those of the column before are in and the column two
    before is done; its beats, when its activations are in and the column before is done.
    """
    loads, weights = trace.transfers("i_activation"), trace.transfers("i_weight")
    ends = np.cumsum(np.bincount(passes.column_number, weights=passes.n).astype(int))
    if len(loads) != config.m * len(ends) or len(weights) != ends[-1]:
        return {}, 1  # the chain has stopped, or takes too much
    loads = loads.reshape(-1, config.m)
    offered = trace.valid["i_pass"] & trace.valid["i_weight"]
    start = int(np.argmax(trace.valid["i_activation"]))
    loaded = done = done_before = start
    stalls: dict[str, list[int]] = {"activation_stalls": [], "weight_stalls": []}
    unexplained = 0
    for load, first, end in zip(loads, [0, *ends[:-1]], ends, strict=True):
        begin, loaded = max(loaded, done_before), int(load[-1]) + 1
        stalls["activation_stalls"].append(loaded - begin - config.m)
        withheld = int((~trace.valid["i_activation"][begin:loaded]).sum())
        unexplained += abs(stalls["activation_stalls"][-1] - withheld)
        begin = max(done, loaded)
        done_before, done = done, int(weights[end - 1]) + 1
        stalls["weight_stalls"].append(done - begin - int(end - first))
        unexplained += abs(stalls["weight_stalls"][-1] - int((~offered[begin:done]).sum()))
    return stalls, unexplained
