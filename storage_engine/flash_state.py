"""What a drive must remember beside its pages: the records of its log, folded into one state."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from storage_engine.flash_format import Record, RecordType

GENERATIONS = 1 << 16


class TaskState(NamedTuple):
    """A task's generation, and the last sequence that does not count because it was reclaimed."""

    generation: int = 0
    reclaimed: int = 0


@dataclass
class Gap:
    """Pages that never count: of a write that was cut or given up.

    Attributes:
        first, count: their sequences.
        blocks: that may hold such pages; when all were erased, the gap is forgotten.
    """

    first: int
    count: int
    blocks: set[int] = field(default_factory=set)

    def covers(self, sequence: int) -> bool:
        """Return whether a page with that sequence never counts."""
        return self.first <= sequence < self.first + self.count


@dataclass
class DriveState:
    """The state that the log's records give.

    Attributes:
        committed: the last sequence that counts. gaps: those before it that do not.
        tasks: those that were ever reclaimed. bad: blocks. erases: by block.
        shape: pages of a block, blocks, bytes of a payload. whole: the log's beginning is whole.
    """

    committed: int = 0
    gaps: list[Gap] = field(default_factory=list)
    tasks: dict[int, TaskState] = field(default_factory=dict)
    bad: set[int] = field(default_factory=set)
    erases: dict[int, int] = field(default_factory=dict)
    shape: tuple[int, int, int] = (0, 0, 0)
    whole: bool = False

    def apply(self, records: Iterable[Record]) -> None:
        """Fold records into the state."""
        for record in records:
            self._apply(record)

    def _apply(self, record: Record) -> None:
        match record.kind:
            case RecordType.SHAPE:
                self.shape = record.a, record.b, record.c
            case RecordType.COMMITTED:
                self.committed = record.c
            case RecordType.GAP:
                self.gaps.append(Gap(record.c, record.b))
            case RecordType.RECLAIMED:
                self.tasks[record.a] = TaskState(record.b, record.c)
            case RecordType.BAD:
                self.bad.add(record.b)
            case RecordType.ERASES:
                self.erases[record.b] = record.c
            case RecordType.END:
                self.whole = True

    def records(self) -> list[Record]:
        """Return records that give this state: the beginning of a log."""
        pages_per_block, blocks, payload_bytes = self.shape
        return [
            Record(RecordType.SHAPE, pages_per_block, blocks, payload_bytes),
            *(Record(RecordType.GAP, 0, gap.count, gap.first) for gap in self.gaps),
            *(
                Record(RecordType.RECLAIMED, task, state.generation, state.reclaimed)
                for task, state in sorted(self.tasks.items())
            ),
            *(Record(RecordType.BAD, 0, block) for block in sorted(self.bad)),
            *(
                Record(RecordType.ERASES, 0, block, count)
                for block, count in sorted(self.erases.items())
                if count and block not in self.bad
            ),
            Record(RecordType.COMMITTED, 0, 0, self.committed),
            Record(RecordType.END),
        ]

    @property
    def record_count(self) -> int:
        """Records that `records` gives at most."""
        return 3 + len(self.gaps) + len(self.tasks) + len(self.bad) + len(self.erases)

    def task(self, task: int) -> TaskState:
        """Return the state of a task."""
        return self.tasks.get(task, TaskState())

    def counts(self, task: int, generation: int, sequence: int) -> bool:
        """Return whether a page is written whole, and not reclaimed since."""
        state = self.task(task)
        return (
            state.reclaimed < sequence <= self.committed
            and generation == state.generation
            and not any(gap.covers(sequence) for gap in self.gaps)
        )

    def erased(self, block: int) -> None:
        """Note that a block was erased once more."""
        self.erases[block] = self.erases.get(block, 0) + 1
        for gap in self.gaps:
            gap.blocks.discard(block)
        self.gaps = [gap for gap in self.gaps if gap.blocks]
