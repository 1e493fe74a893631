"""The bench of the activation buffer: every input, sum and handshake, in every cycle."""

from collections.abc import Mapping, Sequence, Set
from typing import Any

import cocotb
import numpy as np

from hw.activation_buffer import HALVES, OFFSETS
from hw.benches.harness import Report, run_job
from hw.benches.lockstep import Ports, run_lockstep

Read = tuple[int, bool, bool]
"""One input given: its number in all jobs, whether its group and whether its job end with it."""


class BufferModel:
    """When the buffer takes jobs and inputs, and when it gives inputs and sums."""

    def __init__(self, m: int, jobs: Sequence[tuple[int, int, int]]) -> None:
        """Begin with an empty buffer; `jobs` are columns, sweeps and columns in a group of each."""
        self._inputs = [columns * m for columns, _, _ in jobs]
        self._reads: list[Read] = []
        for number, (columns, sweeps, group) in enumerate(jobs):
            base = sum(self._inputs[:number])
            for sweep in range(sweeps):
                for k in range(columns * m):
                    last = k == columns * m - 1
                    ends = last or (k + 1) % (group * m) == 0
                    self._reads.append((base + k, ends, last and sweep == sweeps - 1))
        self._accepted = self._freed = self._written = self._begun = 0
        self._pipeline: list[Read | None] = [None, None]
        self._promised = self._sums = 0
        self._sum_complete = False

    def step(self, willing: Set[str]) -> Set[str]:
        """See `hw.benches.lockstep.Model`."""
        given = self._pipeline[-1]
        moves = {
            "i_job": self._accepted - self._freed < HALVES,
            "i": self._written < sum(self._inputs[: self._accepted]),
            "o": given is not None,
            "o_offset": self._sums > 0,
        }
        driven = {name for name, move in moves.items() if move}
        moved = driven & willing

        read = self._read() if given is None or "o" in moved else None
        if given is None or "o" in moved:
            self._pipeline = [read, self._pipeline[0]]
        self._begun += read is not None
        self._freed += bool(read and read[2])
        self._promised += bool(read and read[1]) - ("o_offset" in moved)
        self._sums += self._sum_complete - ("o_offset" in moved)
        self._sum_complete = bool("o" in moved and given and given[1])
        self._accepted += "i_job" in moved
        self._written += "i" in moved
        return driven

    def _read(self) -> Read | None:
        """Return the next input, if it has been written and its group's sum has a place."""
        if self._begun == len(self._reads):
            return None
        number, ends_group, _ = self._reads[self._begun]
        free = not ends_group or self._promised < OFFSETS
        return self._reads[self._begun] if number < self._written and free else None


@cocotb.test()
async def activation_buffer(dut: Any) -> None:
    """Run every case of the job; fail when one differs from the model or from the contract."""
    await run_job(dut, _run_case)


async def _run_case(
    dut: Any, case: Mapping[str, Any], arrays: Mapping[str, np.ndarray], report: Report
) -> dict[str, Any]:
    inputs = {"i_job": arrays["jobs"], "i": arrays["inputs"]}
    outputs = {"o": arrays["outputs"], "o_offset": arrays["offsets"]}
    ports = Ports(dut, case, inputs, outputs)

    def model() -> BufferModel:
        return BufferModel(case["m"], case["sweeps"])

    return await run_lockstep(dut, case, ports, model, report, start="i_job", end="o")
