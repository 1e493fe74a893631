"""The bench of the stream fork: every beat and handshake, in every cycle."""

from collections.abc import Mapping, Set
from typing import Any

import cocotb
import numpy as np

from hw.benches.harness import Report, run_job
from hw.benches.lockstep import Ports, run_lockstep


class ForkModel:
    """When each input is taken and each output given."""

    def __init__(self, count: int, broadcast: bool) -> None:
        self._count = count
        self._broadcast = broadcast
        self._served: set[int] = set()  # outputs that have taken the beat that is offered

    def step(self, willing: Set[str]) -> Set[str]:
        """See `hw.benches.lockstep.Model`."""
        outputs = set(range(self._count))
        wanted = {k for k in outputs if f"o__{k}" in willing}
        offered = {k for k in outputs if f"i__{k}" in willing}
        if not self._broadcast:
            return {f"i__{k}" for k in wanted} | {f"o__{k}" for k in offered}
        driven = {f"o__{k}" for k in outputs - self._served} if 0 in offered else set()
        complete = self._served | wanted == outputs
        if 0 in offered:
            self._served = set() if complete else self._served | wanted
        return driven | ({"i__0"} if complete else set())


@cocotb.test()
async def stream_fork(dut: Any) -> None:
    """Run every case of the job; fail when one differs from the model or from the contract."""
    await run_job(dut, _run_case)


async def _run_case(
    dut: Any, case: Mapping[str, Any], arrays: Mapping[str, np.ndarray], report: Report
) -> dict[str, Any]:
    """Pass the same beats in one mode after the other, without a reset between."""
    count, modes = case["count"], case["modes"]
    total = dict.fromkeys(("cycles", "stall_cycles", "compared", "mismatches"), 0)
    for number, broadcast in enumerate(modes):
        dut.broadcast.value = broadcast
        inputs = {f"i__{k}": arrays[f"i_{k}"] for k in range(count)}
        outputs = {f"o__{k}": arrays["i_0" if broadcast else f"i_{k}"] for k in range(count)}
        part = {
            **case,
            "continues": number > 0,
            "contract_cycles": case["contract_cycles"] // len(modes),
        }

        def model(broadcast: bool = broadcast) -> ForkModel:
            return ForkModel(count, broadcast)

        ports = Ports(dut, case, inputs, outputs)
        result = await run_lockstep(dut, part, ports, model, report, start="i__0", end="o__0")
        total = {key: number + result[key] for key, number in total.items()}
        if result["mismatches"]:
            break
    return {**total, "first_mismatch": result["first_mismatch"]}
