"""The matrix engine's timing contract: the cycles of a job in which no stream waits.

It follows four things through the job, each of which is at most one step per cycle: inputs into the
activation buffers, activations into the chains, beats of weights, and rows out of the accumulators.
"""

from collections.abc import Sequence

import numpy as np

from golden.matrix_engine import Mode, Sweep, output_rows
from golden.passes import Passes
from golden.spec.matrix_engine import MatrixEngineConfig
from hw.accumulator_bank import AccumulatorBank
from hw.activation_buffer import JOB_CYCLES, OFFSET_CYCLES, READ_AHEAD, READ_CYCLES
from hw.group_scale import STAGES
from hw.sparse_chain import SparseChain

COLLECT_CYCLES = 1
"""Cycles from a row offered by its bank to the same row offered to the group scale."""


def columns_of(passes: Passes) -> tuple[list[int], list[bool]]:
    """Return the columns of all tiles: where the passes of each begin, and which end a group."""
    number = passes.column_number
    bounds = np.searchsorted(number, np.arange(number[-1] + 2))
    group = passes.tile[bounds[:-1]] * passes.groups + passes.group[bounds[:-1]]
    return bounds.tolist(), np.append(np.diff(group) != 0, True).tolist()


class _Chain:
    """What one chain has done so far; times are the first cycle that is free again.

    Attributes:
        loaded: its columns. done, done_before: the beats of the present column and of the one
            before. scaled: the rows of finished groups.
    """

    def __init__(self, config: MatrixEngineConfig, passes: Passes, mode: Mode) -> None:
        self.config = config
        self._rows = output_rows(passes, config, mode).shape[1]  # or pairs of rows, of a strip
        self.loaded = self.done = self.done_before = self.scaled = 0
        self._bounds, self._ends_group = columns_of(passes)
        self._n, self._last = passes.n.tolist(), passes.last.tolist()
        # When the present group's sum of activations is known, and whose rows wait for it.
        self._offset: int | None = None
        self._waiting: list[int] = []
        self._drained: list[int] = []

    def column(self, number: int, written: int) -> None:
        """Load and work off a column; `written` is when its inputs are in the buffer."""
        self.loaded = max(self.loaded, self.done_before) + self.config.m
        self.loaded = max(self.loaded, written + READ_CYCLES)
        ends_group = self._ends_group[number]
        if ends_group:
            self._offset = self.loaded - 1 + OFFSET_CYCLES
            self._scale_rows()
        self.done_before, now = self.done, max(self.done, self.loaded)
        for at in range(self._bounds[number], self._bounds[number + 1]):
            if self._last[at]:
                now = self._finish(now, self._n[at])
            now += self._n[at]
        self.done = now
        if ends_group:
            self._offset = None

    def _finish(self, now: int, beats: int) -> int:
        """Send off the rows of a pass that finishes a group; return when it may begin."""
        config = self.config
        # No more strips finish in one group than there is room for, so these are known.
        ahead = len(self._drained) + len(self._waiting) - config.strips
        if ahead >= 0:
            now = max(now, self._drained[ahead])
        last_row = now + beats - 1 + SparseChain.latency(config.chain) + AccumulatorBank.cycles()
        self._waiting.append(last_row - (self._rows - 1) + COLLECT_CYCLES)
        self._scale_rows()
        return now

    def _scale_rows(self) -> None:
        """Take the rows that wait, one strip after the other, if their group's offset is known."""
        if self._offset is None:
            return
        for first_row in self._waiting:
            self.scaled = max(self.scaled, first_row, self._offset) + self._rows
            # The last row left its bank a cycle before it was scaled.
            self._drained.append(self.scaled - COLLECT_CYCLES)
        self._waiting.clear()


def engine_cycles(
    config: MatrixEngineConfig,
    chains: Sequence[Passes],
    sweeps: Sequence[Sweep],
    batches: int = 1,
    mode: Mode = Mode.MATRIX_MATRIX,
) -> int:
    """Return the cycles from the first sweep offered to the last output given, both counted.

    Args:
        chains: the passes of each chain that differs from the others. They share the activations.
        sweeps: jobs of the activation buffers for one batch of tokens.
        batches: times that all is done, with other tokens.
        mode: how the chains share the work.
    """
    units = [_Chain(config, passes, mode) for passes in chains]
    taken = written = 0
    released = [0, 0]
    for _ in range(batches):
        number = 0
        for sweep in sweeps:
            taken = max(taken, released[-2])
            written = max(written, taken + JOB_CYCLES)
            taken += 1
            for given in range(sweep.times * sweep.columns):
                # The later sweeps find all inputs in the buffer.
                inputs = min(given + 1, sweep.columns) * config.m
                for unit in units:
                    unit.column(number, written + inputs)
                number += 1
            written += sweep.columns * config.m
            released.append(max(unit.loaded for unit in units) - READ_AHEAD)
    return max(unit.scaled for unit in units) + STAGES
