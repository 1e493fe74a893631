"""Verifies a channel's attention slice: sums and scores against golden, handshakes by contract.

All cases of a call run in one start of the simulator; `hw.player` plays the streams and logs every
handshake. What is counted is counted in that log, outside the design.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from golden.bit_packing import pack_fields
from hw import cosim, player
from hw.emit import Design, emit
from hw.verify_chain import one_configuration
from storage_engine.attention_slice import AttentionSlice
from storage_engine.engine_layouts import SCALE_BITS, SCALE_EXPONENT_BITS, ElementKind
from storage_engine.slice_cases import Case
from storage_engine.slice_jobs import JobStreams
from storage_engine.slice_timing import SliceModel

INPUTS, OUTPUTS = ("i_command", "i_query", "i"), ("o_approximate", "o_partial")


@dataclass(frozen=True)
class CaseResult:
    """What happened in one case, from the log of its handshakes, beside the contract.

    Attributes:
        elements: that were taken; lanes: that can be taken per cycle.
        cycles: from the first command offered to the last output.
        contract_cycles: that many where no stream waits, of a job of dense attention alone; else 0.
        held: cycles in which a beat was offered and not taken, from the first one taken on.
        compared, mismatches: outputs compared with golden, and how many differ.
        unexplained: handshakes that do not follow from what the streams outside do, in the first
            cycle that has one.
        first_mismatch: what differs first.
    """

    name: str
    elements: int
    lanes: int
    cycles: int
    contract_cycles: int
    held: int
    compared: int
    mismatches: int
    unexplained: int
    first_mismatch: str = ""

    @property
    def stall_cycles(self) -> int:
        """Cycles beyond the contract, because streams waited."""
        return self.cycles - self.contract_cycles if self.contract_cycles else 0

    @property
    def products(self) -> int:
        """The elements, by the name of what other benches count: one per lane and cycle."""
        return self.elements

    @property
    def utilisation(self) -> float:
        """Elements / (lanes x cycles)."""
        return self.elements / (self.lanes * self.cycles)

    @property
    def passed(self) -> bool:
        """True when all is golden's, and every handshake in the contract's cycle."""
        return self.mismatches == 0 and self.unexplained == 0


def run_cases(
    cases: Sequence[Case],
    *,
    design: Design | None = None,
    target: str = "generic",
    seed: int = 0,
    waves: Path | None = None,
    progress: cosim.Progress = lambda _: None,
) -> list[CaseResult]:
    """Run the cases, all of one configuration, on the slice in Verilator.

    Args:
        design: the Verilog to run; the slice of the cases' configuration by default.
        seed: of the random pauses.
        waves: where to write a waveform (FST).

    Raises:
        ConfigError: there is no case, or two cases differ in their configuration.
        ToolError: a tool is missing or broke off.
    """
    config = one_configuration(case.config for case in cases)
    design = design or emit(AttentionSlice, config, target=target)
    random = np.random.default_rng(seed)
    plays = [Play(case, random) for case in cases]
    played = [play.streams(random) for play in plays]
    traces = player.play(design, played, waves=waves, progress=progress)
    return [play.judge(trace) for play, trace in zip(plays, traces, strict=True)]


class Play:
    """A case as streams, and what should come of it."""

    def __init__(self, case: Case, random: np.random.Generator) -> None:
        self.case = case
        self.jobs = [JobStreams(case.config, job, case.scale, random) for job in case.jobs]
        self.inputs = {
            "i_command": np.concatenate([job.command_payloads() for job in self.jobs]),
            "i_query": np.concatenate([job.i_query for job in self.jobs]),
            "i": np.concatenate([job.i for job in self.jobs]),
        }

    def streams(self, random: np.random.Generator) -> player.Case:
        """Return what is to be played."""
        case, config = self.case, self.case.config
        outputs = {name: len(payloads) for name, payloads in self.expected.items()}
        pauses: dict[str, np.ndarray] = {}
        if case.idle:
            pauses |= player.random_pauses(random, {k: len(v) for k, v in self.inputs.items()})
        elif case.bytes_per_cycle:
            share = 8 * case.bytes_per_cycle / (config.kv_bits * config.lanes)
            cycles = np.arange(1000 + int(len(self.inputs["i"]) / share))
            pauses["i"] = np.floor(cycles * share) == np.floor((cycles + 1) * share)
        if case.stall:
            pauses |= player.random_pauses(random, outputs, share=0.5)
        scale = case.scale
        packed = pack_fields(
            (np.stack([scale.value.numpy(), scale.exponent.numpy()], axis=1)[:, :1], SCALE_BITS),
            (scale.exponent.numpy()[:, None], SCALE_EXPONENT_BITS),
        )
        size = SCALE_BITS + SCALE_EXPONENT_BITS
        each = [int.from_bytes(row.tobytes(), "little") for row in packed]
        level = sum(value << (size * query) for query, value in enumerate(each))
        return player.Case(
            self.inputs, outputs, pauses, {"scale": level}, reset_after=case.reset_after
        )

    def judge(self, trace: player.Trace) -> CaseResult:
        """Compare what happened with golden and the contract."""
        case, config = self.case, self.case.config
        wrong = {
            name: player.count_mismatches(trace.outputs[name], payloads)
            for name, payloads in self.expected.items()
        }
        unexplained = self._unexplained(trace)
        first = [f"{name} differs" for name in wrong if wrong[name]]
        first += [f"{name} is not in its cycle" for name in unexplained if unexplained[name]]
        taken, given = trace.transfers("i"), trace.transfers("o_partial")
        end = int(given[-1]) + 1 if len(given) else len(trace.valid["i"])
        offered = trace.valid["i"] & ~trace.ready["i"]
        return CaseResult(
            case.name,
            len(self.inputs["i"]) * config.lanes,
            config.lanes,
            end - int(np.argmax(trace.valid["i_command"])),
            self._contract_cycles,
            int(offered[taken[0] :].sum()) if len(taken) else 0,
            sum(map(len, self.expected.values())),
            sum(wrong.values()),
            sum(unexplained.values()),
            *first[:1],
        )

    @cached_property
    def expected(self) -> dict[str, np.ndarray]:
        """By the output stream, golden's payloads."""
        return {
            "o_approximate": np.concatenate([job.approximate() for job in self.jobs]),
            "o_partial": np.concatenate([job.partial() for job in self.jobs]),
        }

    @property
    def _contract_cycles(self) -> int:
        jobs, config = self.case.jobs, self.case.config
        pages = [page for job in jobs for page in job.pages]
        if len(jobs) > 1 or jobs[0].spans or any(p.kind is not ElementKind.KEYS for p in pages):
            return 0
        return AttentionSlice.cycles(config, [len(page.entries) for page in pages])

    def _unexplained(self, trace: player.Trace) -> dict[str, int]:
        """Return by the stream whether its handshake is not the model's, in the first such cycle.

        From there on the model knows nothing of the hardware.
        """
        names = (*INPUTS, *OUTPUTS)
        valid, ready = ({n: s[n].tolist() for n in names} for s in (trace.valid, trace.ready))
        model = SliceModel(
            self.case.config,
            [command for job in self.jobs for command in job.commands],
            [beat for job in self.jobs for beat in job.beats],
        )
        loads = iter(
            [k == len(job.i_query) - 1 for job in self.jobs for k in range(len(job.i_query))]
        )
        wrong = dict.fromkeys(names, 0)
        for cycle in range(len(valid["i"])):
            sinks = ready["o_approximate"][cycle], ready["o_partial"][cycle]
            command, query, beat = (valid[name][cycle] for name in INPUTS)
            says = model.outputs(command, beat, *sinks)
            wrong["i_command"] += says.command != ready["i_command"][cycle]
            wrong["i_query"] += says.query != ready["i_query"][cycle]
            wrong["i"] += beat and says.beat != ready["i"][cycle]
            wrong["o_approximate"] += says.approximate != valid["o_approximate"][cycle]
            wrong["o_partial"] += says.partial != valid["o_partial"][cycle]
            if any(wrong.values()):
                break
            model.step(beat and says.beat, query and says.query and next(loads))
        return wrong
