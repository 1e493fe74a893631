"""The timing contract of several cores: when each instruction of their programs starts and ends.

The cores of `hw.core_timing` in one time: strips go to all of them, and barriers keep them in step.
"""

from collections.abc import Sequence

from golden.spec.core import CoreConfig
from hw.barrier import Barrier
from hw.core_ports import PROGRAM
from hw.core_timing import CoreSchedule, CoreTiming, Job
from hw.event_clock import Call, EventClock, Phase
from hw.front_timing import FrontTiming
from hw.strip_timing import OTHER_STRIPS, StripPath


class BarrierTiming:
    """`hw.barrier.Barrier`, with the paths on which strips must have come to their ends.

    Attributes:
        paths: of all cores.
    """

    def __init__(self, clock: EventClock, cores: int) -> None:
        self._clock, self._cores = clock, cores
        self.paths: list[StripPath] = []
        self._arrived: list[Call] = []

    def arrive(self, released: Call) -> None:
        """Let another core be at the barrier from this cycle on."""
        self._arrived.append(released)
        self.look()

    def look(self) -> None:
        """Release all cores, if it is time."""
        self._clock.at(self._clock.now, Phase.LOGIC, self._release)

    def _release(self) -> None:
        if len(self._arrived) < self._cores or not all(path.is_empty for path in self.paths):
            return
        for released in self._arrived:
            self._clock.at(self._clock.now + Barrier.cycles(), Phase.LOGIC, released)
        self._arrived = []


def accelerator_cycles(
    config: CoreConfig, jobs: Sequence[Job], begins: Sequence[int] | None = None
) -> list[CoreSchedule]:
    """Return when the instructions of a program of each core start and end.

    Args:
        jobs: of each core; of one, it is alone.
        begins: the cycle in which each core becomes busy, as its host starts one after the other;
            by default all do in the same one. A core's schedule counts from its own.

    Raises:
        ConfigError: an instruction takes words that no other one loads, or never ends, as one that
            waits at a barrier for a core that does not come; or a memory's latency is random.
        ShapeError: words are not a weight stream for each chain, or their product never ends.
    """
    clock = EventClock()
    barrier = BarrierTiming(clock, config.cores)
    arrive = barrier.arrive if config.cores > 1 else None
    cores = [CoreTiming(clock, config, job, arrive) for job in jobs]
    barrier.paths = connect_cores(clock, cores, barrier.look)
    for core, begin in zip(cores, begins or [0] * len(cores), strict=True):
        clock.at(begin, Phase.REGISTERS, core.begin)
    clock.run()
    return [core.schedule() for core in cores]


def begins_of(config: CoreConfig, jobs: Sequence[Job], first_starts: Sequence[int]) -> list[int]:
    """Return the cycles in which cores become busy, the earliest one as 0.

    What comes before a program's first start has nothing to do with other cores.

    Args:
        jobs, first_starts: of each core, and the cycle in which its first instruction starts.
    """
    begins = [
        cycle - _first_start(config, job) for job, cycle in zip(jobs, first_starts, strict=True)
    ]
    return [begin - min(begins) for begin in begins]


def _first_start(config: CoreConfig, job: Job) -> int:
    """Return when a program's first instruction starts, from the core's first busy cycle on."""
    clock, arrivals = EventClock(), []

    def arrive(_: int) -> bool:
        arrivals.append(clock.now)
        return True

    port = job.ports(clock, config)[PROGRAM]
    FrontTiming(clock, config, job.program, port, job.address, arrive).begin()
    clock.run()
    return arrivals[0] + 1


def connect_cores(clock: EventClock, cores: Sequence[CoreTiming], empty: Call) -> list[StripPath]:
    """Lead every core's strips to all others; return the paths.

    Args:
        empty: is called when there is no strip on some path any more.
    """
    for number, core in enumerate(cores):
        core.fork.paths = [
            StripPath(
                clock,
                other.write_port,
                OTHER_STRIPS + number - (number > place),
                core.fork.taken,
                empty,
            )
            for place, other in enumerate(cores)
            if place != number
        ]
    return [path for core in cores for path in core.fork.paths]
