"""What memories cost a program: its contract, with the memories' waits of a run.

From the record of what passed a port come only times in which the core has no part: of each burst
that was read those from its address to its words, of each word that was written how long it was
offered, and of each burst from its last word to the answer. When the core asks, takes and offers
follows from its contract. So a cycle that the core loses by itself never counts as a stall, and
with the records of all ports the contract gives every cycle of the run, whatever the memories were.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from golden.core_memories import GENERAL
from golden.spec.core import CoreConfig
from hw.accelerator_timing import accelerator_cycles
from hw.core_ports import PROGRAM
from hw.core_timing import Job
from hw.memory_model import PortRecord

Records = Mapping[str, PortRecord]
"""Of a core's ports, by their names."""


@dataclass(frozen=True)
class MemoryStalls:
    """Where the cycles of a core's program went.

    The cycles of a stall are those by which the program gets longer with these waits, when it has
    the waits in front of them already: waits behind which other units hide count nothing.

    Attributes:
        ideal: cycles with the memories of the jobs, by default of one word per cycle.
        program, general, channels: stalls by the memory of the program, of the general ports, and
            of the channels, of all cores.
    """

    ideal: int
    program: int
    general: int
    channels: int

    @property
    def stalls(self) -> int:
        """All of them."""
        return self.program + self.general + self.channels

    @property
    def cycles(self) -> int:
        """That the run took."""
        return self.ideal + self.stalls


def memory_stalls(
    config: CoreConfig, jobs: Sequence[Job], records: Sequence[Records], begins: Sequence[int]
) -> list[MemoryStalls]:
    """Return where the cycles of a program of each core went.

    Args:
        jobs: see `hw.accelerator_timing.accelerator_cycles`.
        records: of all ports of each core, in this program alone.
        begins: see there.
    """
    counts = []
    steps: list[set[str]] = [set(), {PROGRAM}, {PROGRAM, GENERAL}, set(records[0])]
    for ports in steps:
        mine = [
            replace(job, records={name: record for name, record in own.items() if name in ports})
            for job, own in zip(jobs, records, strict=True)
        ]
        counts.append([one.cycles for one in accelerator_cycles(config, mine, begins)])
    return [MemoryStalls(*each) for each in np.diff(counts, axis=0, prepend=0).T.tolist()]


def records_of_programs(records: Records, last_ends: Sequence[int]) -> list[Records]:
    """Return the records of each of some programs that a core ran one after the other.

    Args:
        records: of the whole run. last_ends: the cycle in which each program's END has ended.
    """
    # No word of a program is fetched when it has come to its END.
    asked = records[PROGRAM].asked
    begins = [0, *(int(asked[asked > end][:1].sum()) for end in last_ends[:-1]), np.iinfo(int).max]
    return [
        {name: record.between(*limits) for name, record in records.items()}
        for limits in pairwise(begins)
    ]
