"""The timing contract of a job of the matrix unit: cycle by cycle, what its handshakes do.

A chain's words hold everything that it takes, in one order, so a word that waits holds up those of
other kinds behind it. Which one waits for which follows from the levels of all queues together.
So the contract is the unit without its data: a counter where the hardware has one, a level where
it has a queue, for all chains at once.

When a job is taken, nothing is left of the one before but whose turn it is in the merge.
"""

from enum import IntEnum, auto

import numpy as np

from golden.spec.errors import ShapeError
from golden.spec.matrix_engine import MatrixEngineConfig
from hw import expansion, group_scale
from hw.activation_buffer import OFFSETS
from hw.activation_reader import ActivationReader
from hw.chain_control import COLUMNS
from hw.chain_feed import SCALE_DEPTH
from hw.chain_loader import UNPACKED_PORTS
from hw.matrix_unit_work import Product, Track
from hw.weight_stream import Kind

NEVER = 1 << 40
"""A cycle that does not come."""


class MergeTiming:
    """The `StreamMerge` of all strips.

    Attributes:
        number: of the chain whose strip is offered, -1 for none.
    """

    def __init__(self, count: int) -> None:
        self._waiting = np.zeros(count, bool)
        self.number = -1

    @property
    def turns(self) -> bytes:
        """Who has not been served in this round."""
        return self._waiting.tobytes()

    def assign(self, other: "MergeTiming") -> None:
        """Become as another one is."""
        self._waiting[:], self.number = other._waiting, other.number

    def step(self, offers: np.ndarray, leaves: bool) -> int:
        """Return from which chain a strip is taken, -1 for none, while one leaves or does not."""
        if self.number >= 0 and not leaves:
            return -1
        due = offers & self._waiting
        if due.any():
            self.number = int(due.argmax())
        elif offers.any():
            self.number = int(offers.argmax())
            self._waiting[:] = True
        else:
            self.number = -1
            return -1
        self._waiting[self.number] = False
        return self.number


class JobTiming:
    """A job of the matrix unit, in work.

    Args:
        merge: of the unit. begin: the cycle in which the job is taken.

    Attributes:
        now: the last cycle that is done.
        words: memory words, when they come, and when they were taken.
    """

    def __init__(
        self, config: MatrixEngineConfig, merge: MergeTiming, product: Product, begin: int
    ) -> None:
        self._merge, self._product = merge, product
        self._chains = _Chains(config, product, begin)
        self._left = product.strips
        self.words = self._chains.words
        self.now = begin

    @property
    def offers(self) -> bool:
        """Whether a strip is offered in the next cycle."""
        return self._merge.number >= 0

    @property
    def is_over(self) -> bool:
        """Whether the job is complete, and also all its words are taken."""
        return not self._left and not self.words.left

    @property
    def last_arrival(self) -> int:
        """When the last word comes."""
        arrival = self.words.fields["arrival"]
        return int(arrival[arrival != NEVER].max())

    @property
    def progress(self) -> int:
        """A number that grows with every step."""
        return self._chains.progress

    def step(self, leaves: bool, some: np.ndarray | bool = True) -> bool:
        """Do what happens in the next cycle; return whether the job is complete in it.

        Args:
            leaves: the strip that is offered is taken. some: chains for which there are words, of
                those that have arrived: bool [chains].
        """
        self.now += 1
        waiting = self._chains.waits > 0
        gone = waiting & ~self._product.counts
        left = self._left - int(gone.sum()) - leaves
        chosen = self._merge.step(waiting & self._product.counts, leaves)
        if chosen >= 0:
            gone[chosen] = True  # given to the merge
        self._chains.step(self.now, gone, some)
        is_complete = left == 0 < self._left
        self._left = left
        return is_complete

    def check(self, progress: int) -> None:
        """Refuse a job that does not go on.

        Args:
            progress: that was made up to a cycle from which on all words were there.

        Raises:
            ShapeError: there was none since then.
        """
        if progress == self.progress:
            raise ShapeError(
                f"the job stops with {self._left} of its {self._product.strips} strips to come; "
                "words must come in the order in which their chain takes them"
            )


class _Queue(IntEnum):
    """Which queue of a chain; those of what is unpacked in the order of their kinds."""

    WORDS = 0
    INDICES = auto()
    PASSES = auto()
    SCALES = auto()
    DESTINATIONS = auto()
    TAGS = auto()
    OFFSETS = auto()


class _Activations:
    """The chains' activation buffers, and how far the columns in the chains are loaded.

    Attributes:
        loaded: inputs that each chain has taken.
    """

    def __init__(self, config: MatrixEngineConfig, product: Product, begin: int) -> None:
        self._m = config.m
        self._first_input = begin + ActivationReader.cycles(config, 0)
        self._inputs = product.columns * config.m
        in_group = product.in_group * config.m
        ends = np.arange(self._inputs) % in_group == in_group - 1
        ends[-1] = True
        self._ends_group = np.append(np.tile(ends, product.sweeps), False)
        # Inputs read; sums that are kept or promised; inputs for which columns have room.
        self._read, self.loaded, self._kept = np.zeros((3, config.chains), np.int64)
        self._limit = np.full(config.chains, COLUMNS * config.m)
        none = np.zeros(config.chains, bool)
        self._on_the_way, self._offered, self._sum_complete = none, none, none

    def step(self, now: int, used: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which chains' present columns are loaded, and which sums enter their queue.

        Args:
            used: chains whose group scale has taken a sum.
        """
        usable = self.loaded >= self._limit - (COLUMNS - 1) * self._m
        gives = self._offered & (self.loaded < self._limit)
        advance = ~self._offered | gives
        ends = self._ends_group[self._read]
        written = now - self._first_input
        # Later sweeps find all inputs in the buffer.
        written = len(self._ends_group) - 1 if written >= self._inputs else written
        reads = advance & (self._read < written) & (~ends | (self._kept < OFFSETS))
        sums, self._sum_complete = self._sum_complete, gives & self._ends_group[self.loaded]
        self._kept += reads & ends
        self._kept -= used
        self.loaded += gives
        self._read += reads
        self._offered = self._on_the_way | ~advance
        self._on_the_way = reads | (self._on_the_way & ~advance)
        return usable, sums

    def release(self, columns: np.ndarray) -> None:
        """Make room for another column, where one is done."""
        self._limit += columns * self._m


class _Chains:
    """All that a matrix unit has for each chain, as arrays over the chains.

    Attributes:
        words: memory words, when they come, and when they were taken.
        waits: strips that the gatherer offers.
    """

    def __init__(self, config: MatrixEngineConfig, product: Product, begin: int) -> None:
        chains = config.chains
        self._strips_at_once = 1 if product.paired else config.products_per_dsp
        self._rows_of_strip = config.chain_length // (2 if product.paired else 1)
        work = product.chains
        words = [
            w.words | dict.fromkeys(("arrival", "taken"), w.words["payloads"] * 0) for w in work
        ]
        self.words = Track(words, ("kind", "payloads", "arrival", "taken"))
        self.words.fields["arrival"][self.words.start + [len(w["kind"]) for w in words]] = NEVER
        self._expanded = Track([w.expanded for w in work], list(work[0].expanded))
        self._geared = Track([w.beats for w in work], ("dense", "ends_pass", "whole"))
        self._beats = Track([w.beats for w in work], ("finishes", "finished", "ends_column"))
        self._rows = Track([w.rows for w in work], ("beat", "delay", "ends_strip"))
        self._scaled = Track([w.rows for w in work], ("ends_group", "gives"))
        # When each beat was taken.
        self._taken = np.full(len(self._beats.fields["finishes"]), NEVER)
        rows = len(self._rows.fields["beat"]) // chains
        self._rows.fields["beat"] += np.repeat(self._beats.start, rows)
        self._every = np.arange(chains)

        # Payloads that wait in the unpackers, by kind, and in queues.
        self._unpacked = np.zeros((1 + max(Kind), chains), np.int64)
        for row, each in enumerate(UNPACKED_PORTS):
            self._unpacked[each] = [w.given[row] for w in work]
        depths = {
            _Queue.WORDS: config.weight_depth,
            _Queue.INDICES: config.index_depth,
            _Queue.PASSES: config.pass_depth,
            _Queue.SCALES: SCALE_DEPTH,
            _Queue.DESTINATIONS: max(config.strips, 2),
            _Queue.TAGS: config.strips,
            _Queue.OFFSETS: OFFSETS,
        }
        self._depths = np.array([[depths[queue]] for queue in _Queue])
        self._level = np.zeros((len(_Queue), chains), np.int64)
        self._enters, self._leaves = np.zeros((2, len(_Queue), chains), bool)

        none = np.zeros(chains, bool)
        # Bits are registers: the expansion unit's and the group scale's.
        self._expands, self._scales = np.zeros((2, chains), np.int64)
        self._geared_waits, self._row_waits = none, none
        self._credits = np.full(chains, config.strips)
        self._row_of_strip, self.waits = np.zeros((2, chains), np.int64)
        self._activations = _Activations(config, product, begin)

    @property
    def progress(self) -> int:
        """A number that grows with every step."""
        steps = (self.words, self._expanded, self._geared, self._beats, self._rows, self._scaled)
        return int(sum(track.at.sum() for track in steps) + self._activations.loaded.sum())

    def step(self, now: int, given: np.ndarray, some_words: np.ndarray | bool) -> None:
        """Do what happens in a cycle in which these chains' strips go: bool [chains]."""
        some, room = self._level > 0, self._level < self._depths
        self._scale(some, self._gather(some, given))
        self._collect(now, some)
        usable, sums = self._activations.step(now, self._leaves[_Queue.OFFSETS])
        self._enters[_Queue.OFFSETS] = sums
        segment = self._expand(some, self._gear(some, self._multiply(now, usable)))
        self._load(now, room, segment, some_words)
        self._level += self._enters
        self._level -= self._leaves

    def _gather(self, some: np.ndarray, given: np.ndarray) -> np.ndarray:
        """Gather rows to strips; return where the group scale's pipeline moves."""
        self.waits -= given
        offered = self._scales >= 1 << (group_scale.STAGES - 1)
        ends = self._row_of_strip == self._rows_of_strip - 1
        takes = offered & (~ends | (some[_Queue.DESTINATIONS] & (self.waits == 0)))
        finished = takes & ends
        self._leaves[_Queue.DESTINATIONS] = finished
        self.waits += finished * self._strips_at_once
        self._row_of_strip += takes
        self._row_of_strip[finished] = 0
        return ~offered | takes

    def _scale(self, some: np.ndarray, advance: np.ndarray) -> None:
        """Take the collector's rows, where there are a scale and the sum of activations."""
        begins = advance & self._row_waits & some[_Queue.SCALES] & some[_Queue.OFFSETS]
        moved = self._scales << 1 & ((1 << group_scale.STAGES) - 1)
        moved += begins & self._scaled["gives"]
        self._scales = np.where(advance, moved, self._scales)
        self._leaves[_Queue.SCALES] = begins
        self._leaves[_Queue.OFFSETS] = begins & self._scaled["ends_group"]
        self._scaled.at += begins
        self._row_waits = self._row_waits & ~begins

    def _collect(self, now: int, some: np.ndarray) -> None:
        """Take the next rows out of the banks."""
        offered = self._taken[self._rows["beat"]] + self._rows["delay"] <= now
        takes = ~self._row_waits & some[_Queue.TAGS] & offered
        self._leaves[_Queue.TAGS] = takes & self._rows["ends_strip"]
        self._rows.at += takes
        self._row_waits = self._row_waits | takes

    def _multiply(self, now: int, usable: np.ndarray) -> np.ndarray:
        """Take beats into the chains; return where the gear moves."""
        self._taken[self._beats.at] = now  # if it is not taken now, then later
        room = (self._credits > 0) | ~self._beats["finishes"]
        takes = self._geared_waits & usable & room
        self._enters[_Queue.TAGS] = takes & self._beats["finished"]
        self._activations.release(takes & self._beats["ends_column"])
        self._credits += self._leaves[_Queue.TAGS]
        self._credits -= self._enters[_Queue.TAGS]
        self._beats.at += takes
        return ~self._geared_waits | takes

    def _gear(self, some: np.ndarray, advance: np.ndarray) -> np.ndarray:
        """Register beats of expanded weights; return where the expansion unit moves."""
        offered = self._expands >= 1 << (expansion.STAGES - 1)
        dense = self._geared["dense"]
        loads = advance & offered & some[_Queue.PASSES] & (some[_Queue.INDICES] | dense)
        self._leaves[_Queue.INDICES] = loads & ~dense
        self._leaves[_Queue.PASSES] = loads & self._geared["ends_pass"]
        self._geared_waits = loads | ~advance
        moves = ~offered | (loads & self._geared["whole"])
        self._geared.at += loads
        return moves

    def _expand(self, some: np.ndarray, advance: np.ndarray) -> np.ndarray:
        """Begin beats of the expansion unit; return which chains' segments are done."""
        begins = advance & (self._unpacked[Kind.SEGMENTS] > 0)
        begins &= some[_Queue.WORDS] | ~self._expanded["begins_word"]
        moved = (self._expands << 1 & ((1 << expansion.STAGES) - 1)) + begins
        self._expands = np.where(advance, moved, self._expands)
        self._leaves[_Queue.WORDS] = begins & self._expanded["ends_word"]
        done = begins & self._expanded["ends_segment"]
        self._expanded.at += begins
        return done

    def _load(
        self, now: int, room: np.ndarray, segment: np.ndarray, some_words: np.ndarray | bool
    ) -> None:
        """Give what is unpacked to those who take it; take words."""
        taken = (self._unpacked > 0)[Kind.SEGMENTS :]
        taken[0] = segment
        taken[1:] &= room[_Queue.INDICES : _Queue.TAGS]
        self._enters[_Queue.INDICES : _Queue.TAGS] = taken[1:]
        self._unpacked[Kind.SEGMENTS :] -= taken
        kind = self.words["kind"]
        free = self._unpacked == 0
        free[Kind.WEIGHTS] = room[_Queue.WORDS]
        self.words.fields["taken"][self.words.at] = now  # if not now, then later
        takes = free[kind, self._every] & (self.words["arrival"] <= now) & some_words
        self._enters[_Queue.WORDS] = takes & (kind == Kind.WEIGHTS)
        self._unpacked[kind, self._every] += takes * self.words["payloads"]
        self.words.at += takes
