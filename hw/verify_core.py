"""Verifies a core, or several: what programs write against golden, and their cycles.

Programs of one kind of memory run one after the other in one start of the simulator. Monitors
(`hw.core_monitor`) write down every word that an instruction writes on the chip, and when each
starts and ends; the memories are compared as they are at the end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from fractions import Fraction
from pathlib import Path

import numpy as np

from golden.core_effects import Effect
from golden.spec.control import Status
from golden.spec.core import CoreConfig
from golden.spec.instruction import Instruction, decode
from golden.spec.isa import ErrorCode, Unit
from hw import cosim
from hw.accelerator import Accelerator
from hw.accelerator_cases import golden_accelerator
from hw.core import Core
from hw.core_cases import BASES, Packed
from hw.core_contract import jobs_of, schedules, started, unexplained, with_records
from hw.core_monitor import CoreLog, Writes
from hw.core_ports import port_names
from hw.core_products import useful_products
from hw.core_simulation import CoreResult, ProgramRun, mismatches, run_accelerator
from hw.core_timing import CoreSchedule
from hw.emit import Design, emit
from hw.memory_model import MemoryTiming
from hw.verify_chain import CaseResult, one_configuration
from hw.wrong_programs import END, golden_stop, words_of, wrong_programs

DONE = Status.DONE | Status.INTERRUPT

MOST_CYCLES = 100_000
"""After so many cycles a program of a case is broken off."""


class Pace(Enum):
    """How fast the memories are."""

    IDEAL = "ideal"
    """A word per cycle, with the least latency."""
    SLOW = "slow"
    """A word in two cycles, with a latency of its own."""
    IRREGULAR = "irregular"
    """Slow, and each burst takes some cycles more, at random."""

    def timing(self, core: int) -> MemoryTiming:
        """Return how fast the memories of a core are."""
        if self is Pace.IDEAL:
            return MemoryTiming()
        slow = MemoryTiming(latency=30, words_per_cycle=Fraction(1, 2))
        return slow if self is Pace.SLOW else replace(slow, extra_latency=20, seed=7 + core)


@dataclass(frozen=True, eq=False)
class Case:
    """A program of each core, which all begin at the same time.

    Attributes:
        name: what a person calls it.
        config: of the core, or of each core.
        memories: of each core, what they hold before the first case; the same object for all cases
            that run one after the other. matrices: in them.
        programs: the words of each core's program.
        pace: of the memories.
        wrong: the name of a wrong program that the first core runs before, see
            `hw.wrong_programs`; empty for none.
    """

    name: str
    config: CoreConfig
    memories: Sequence[Mapping[str, np.ndarray]]
    matrices: Sequence[Packed]
    programs: tuple[Sequence[int], ...]
    pace: Pace = Pace.IDEAL
    wrong: str = ""

    def decoded(self) -> list[list[Instruction]]:
        """Return each core's instructions."""
        return [decode(words, self.config.chains) for words in self.programs]


def run_cases(
    cases: Sequence[Case],
    *,
    design: Design | None = None,
    target: str = "generic",
    seed: int = 0,
    waves: Path | None = None,
    progress: cosim.Progress = lambda _: None,
) -> list[CaseResult]:
    """Run the cases, all of one configuration, on the core or the cores in Verilator.

    Starts and ends that are not in the contract's cycles are `unexplained`. The contract is that
    of the memories if they are regular. If not, it is that of ideal ones, and stalls are what comes
    to it by the waits that these memories have recorded. Of a program behind a wrong one only what
    it writes is compared; all cycles beyond those of ideal memories count as its stalls.

    Args:
        design: the Verilog to run; the core of the cases' configuration by default, or its cores if
            there are several, for `target`.
        seed: not used; all that is random is in the cases.
        waves: where to write a waveform (FST); there are others beside it, with a number in their
            names, where the cases' memories differ.

    Raises:
        ConfigError: there is no case, or two cases differ in their configuration.
        ToolError: a tool is missing or broke off.
    """
    config = one_configuration(case.config for case in cases)
    design = design or emit(Core if config.cores == 1 else Accelerator, config, target=target)
    together: dict[tuple[object, ...], list[int]] = {}
    for number, case in enumerate(cases):
        key = (case.pace, bool(case.wrong), id(case.memories))
        together.setdefault(key, []).append(number)
    results: dict[int, CaseResult] = {}
    for place, numbers in enumerate(together.values()):
        case = cases[numbers[0]]
        job = Batch(config, [cases[number] for number in numbers])
        file = waves and waves.with_stem(f"{waves.stem}-{place}" if place else waves.stem)
        before = len(results) / len(cases)
        share = len(numbers) / len(cases)

        def advance(part: float, before: float = before, share: float = share) -> None:
            progress(before + share * part)

        given = run_accelerator(
            config,
            job.runs,
            case.memories,
            timing=job.timing,
            records=case.pace is Pace.IRREGULAR and not case.wrong,
            design=design,
            most_cycles=MOST_CYCLES,
            waves=file,
            progress=advance,
        )
        results.update(zip(numbers, job.judge(given), strict=True))
    return [results[number] for number in range(len(cases))]


@dataclass
class _Found:
    """What was found out about a case; `wrong` says what is not as it should be."""

    products: int = 0
    compared: int = 0
    cycles: int = 0
    contract: int = 0
    stalls: int = 0
    unexplained: int = 0
    is_over: bool = True
    wrong: list[str] = field(default_factory=list)


class Batch:
    """Cases that run one after the other, and what golden makes of them.

    Attributes:
        runs: of each core, its programs, wrong ones among them. timing: of its memories.
    """

    def __init__(self, config: CoreConfig, cases: Sequence[Case]) -> None:
        self.config, self.cases = config, cases
        self.pace, self.memories = cases[0].pace, cases[0].memories
        self.has_wrong = bool(cases[0].wrong)
        self.golden = golden_accelerator(config, self.memories)
        self.effects = [self.golden.run(case.programs) for case in cases]  # [case][core]
        self.programs = [case.decoded() for case in cases]
        self.timing = [
            dict.fromkeys(port_names(config), self.pace.timing(core))
            for core in range(config.cores)
        ]
        wrong = wrong_programs(config)
        self.runs: list[list[ProgramRun]] = [[] for _ in self.memories]
        for case in cases:
            for core, (mine, words) in enumerate(zip(self.runs, case.programs, strict=True)):
                if case.wrong:
                    before = words_of(END) if core else wrong[case.wrong]
                    mine.append(ProgramRun(before, BASES))
                mine.append(ProgramRun(words, BASES))

    def judge(self, results: Sequence[CoreResult]) -> list[CaseResult]:
        """Compare what happened with golden and the contract."""
        found = [_Found() for _ in self.cases]
        for core, result in enumerate(results):
            self._words(core, result, found)
            self._ends(core, result, found)
            self._memories(core, result, found)
        self._times(results, found)
        return [
            CaseResult(
                case.name,
                one.products,
                self.config.lanes,
                one.cycles,
                one.contract,
                one.stalls,
                one.unexplained,
                one.compared,
                len(one.wrong),
                *one.wrong[:1],
            )
            for case, one in zip(self.cases, found, strict=True)
        ]

    def _words(self, core: int, result: CoreResult, found: Sequence["_Found"]) -> None:
        """Compare what a core wrote on the chip, and count its products."""
        effects = [each[core] for each in self.effects]
        for number, part in enumerate(_parts(result.log, effects)):
            case, program, mine = self.cases[number], self.programs[number][core], effects[number]
            one = found[number]
            one.wrong += mismatches(part, mine)
            one.compared += _compared(mine)
            one.products += useful_products(self.config, program, case.matrices, mine, part)

    def _ends(self, core: int, result: CoreResult, found: Sequence["_Found"]) -> None:
        """Look at how a core's programs ended, and when."""
        states = iter(result.states)
        for case, one in zip(self.cases, found, strict=True):
            if case.wrong:
                state = next(states)
                stop = ErrorCode(state["ERROR_CODE"]), state["ERROR_PC"]
                if core == 0 and stop != (expected := self._stop(case)):
                    one.wrong.append(f"{case.wrong}: it stops with {stop}, golden with {expected}")
            state = next(states)
            one.cycles = max(one.cycles, state["CYCLES"])
            if state["STATUS"] != DONE:
                one.is_over = False
                one.wrong.append(f"core {core} ends with {Status(state['STATUS'])!r}")

    def _stop(self, case: Case) -> tuple[ErrorCode, int]:
        """Return how golden stops at a wrong program."""
        words = wrong_programs(self.config)[case.wrong]
        return golden_stop(replace(self.config, cores=1), case.wrong, words, self.memories[0])

    def _memories(self, core: int, result: CoreResult, found: Sequence["_Found"]) -> None:
        """Compare a core's memories; bytes belong to the last case that was to write them."""
        for name, expected in self.golden.cores[core].memories.items():
            different = result.memories[name] != expected
            if not different.any():
                continue
            owner = np.full(len(expected), len(self.cases) - 1)
            for number, effects in enumerate(self.effects):
                for run in (run for effect in effects[core] for run in effect.memory):
                    if run.port == name:
                        owner[run.address : run.address + len(run.data)] = number
            for number in np.unique(owner[different]).tolist():
                found[number].wrong.append(f"memory {name} of core {core} differs")

    def _times(self, results: Sequence[CoreResult], found: Sequence["_Found"]) -> None:
        """Compare starts and ends with the contract."""
        config, cores = self.config, self.config.cores
        ideal = [dict.fromkeys(port_names(config), MemoryTiming())] * cores
        about = (config, self.programs, BASES, self.memories)
        if self.has_wrong or not all(one.is_over for one in found):
            # What a wrong program leaves in a log has no contract, nor what comes to no end.
            for one, said in zip(
                found, schedules(config, jobs_of(*about, ideal), [0] * cores), strict=True
            ):
                one.contract = _cycles(said)
                one.stalls = one.cycles - one.contract
            return
        logs = [result.log for result in results]
        is_regular = self.pace is not Pace.IRREGULAR
        jobs = run = jobs_of(*about, self.timing if is_regular else ideal)
        if not is_regular:
            run = with_records(jobs, logs, [result.records for result in results])
        begins = started(config, run[0], logs)
        contract = happened = schedules(config, jobs, begins)
        if not is_regular:
            happened = schedules(config, run, begins)
        for core, log in enumerate(logs):
            programs = [each[core] for each in self.programs]
            late = unexplained(log, programs, [each[core] for each in happened])
            for one, count in zip(found, late, strict=True):
                one.unexplained += count
        for one, said, explained in zip(found, contract, happened, strict=True):
            one.contract = _cycles(said)
            one.stalls = _cycles(explained) - one.contract


def _cycles(schedules: Sequence[CoreSchedule]) -> int:
    """Return the cycles of the core that is busy the longest."""
    return max(schedule.cycles for schedule in schedules)


def _parts(log: CoreLog, effects: Sequence[Sequence[Effect]]) -> list[CoreLog]:
    """Return the words of each program, as many as golden has; the last one has what is left."""
    vectors: dict[Unit, list[Writes]] = {}
    for unit, writes in log.vectors.items():
        mine = [
            [e.vector.addresses for e in each if e.vector and e.unit is unit] for each in effects
        ]
        vectors[unit] = _cut(writes, [sum(map(len, words)) for words in mine])
    bytes_ = [[e.activation.addresses for e in each if e.activation] for each in effects]
    columns = _cut(log.columns, [sum(map(len, words)) for words in bytes_])
    return [
        replace(log, vectors={unit: cut[number] for unit, cut in vectors.items()}, columns=column)
        for number, column in enumerate(columns)
    ]


def _cut(writes: Writes, counts: Sequence[int]) -> list[Writes]:
    ends = np.cumsum(counts).tolist()
    slices = [slice(*pair) for pair in zip([0, *ends[:-1]], [*ends[:-1], None], strict=True)]
    names = [each.name for each in fields(Writes)]
    return [Writes(*(getattr(writes, name)[part] for name in names)) for part in slices]


def _compared(effects: Sequence[Effect]) -> int:
    """Return how many words and bytes instructions write."""
    words = [e.vector.addresses for e in effects if e.vector]
    words += [e.activation.addresses for e in effects if e.activation]
    return sum(map(len, words)) + sum(len(run.data) for e in effects for run in e.memory)
