"""The matrix unit's timing contract: cycle by cycle, what its handshakes do for given words.

A chain's words hold everything that it takes, in one order, so a word that waits holds up those of
other kinds behind it. Which one waits for which follows from the levels of all queues together.
So the contract is the unit without its data: a counter where the hardware has one, a level where
it has a queue, for all chains at once. `hw.engine_timing` says more about the engine in less, but
of streams that never wait.

When a job is taken, nothing is left of the one before but whose turn it is in the merge.
"""

from collections.abc import Sequence
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

PATIENCE = 1 << 9
"""Cycles without any handshake, while words and the sink are there, after which none will come."""


def matrix_unit_cycles(config: MatrixEngineConfig, products: Sequence[Product]) -> list[int]:
    """Return the cycles of each of successive jobs, from taken to complete, both counted.

    The timing contract: exact when every chain always has a word and strips are always taken.

    Raises:
        ShapeError: a job never ends.
    """
    passed = transfers(config, products)
    return (1 + np.array(passed["complete"]) - passed["i_job"]).tolist()


def transfers(
    config: MatrixEngineConfig,
    products: Sequence[Product],
    *,
    offered: Sequence[int] = (),
    arrivals: Sequence[np.ndarray] = (),
    ready: np.ndarray | None = None,
) -> dict[str, list[int]]:
    """Return when the jobs, each chain's words and the strips pass; and when jobs are complete.

    The keys are the streams' names, and "complete". Exact, whatever waits.

    Args:
        offered: the cycle from which each job is offered, if those before were taken; by default 0.
        arrivals: for each chain the cycles from which its words are offered, if those before were
            taken; by default 0.
        ready: bool [cycles]: when strips are taken; behind the end, and by default, always.

    Raises:
        ShapeError: a job never ends.
    """
    passed: dict[str, list[int]] = {"i_job": [], "complete": []}
    words: list[list[int]] = [[] for _ in range(config.chains)]
    merge = _Merge(config.chains, np.ones(0, bool) if ready is None else ready)
    free = 0
    for number, product in enumerate(products):
        begin = max(free, offered[number]) if len(offered) else free
        chains = _Chains(config, product, begin)
        reading = np.flatnonzero(product.reads).tolist()
        for chain in reading if len(arrivals) else ():
            mine = chains.words.of_chain("arrival", chain)
            mine[:] = arrivals[chain][len(words[chain]) :][: len(mine)]
        complete, last = _run(chains, merge, product, begin)
        for chain in reading:
            words[chain] += chains.words.of_chain("taken", chain).tolist()
        passed["i_job"].append(begin)
        passed["complete"].append(complete)
        free = last + 1
    return passed | {"o": merge.taken} | {f"i__{c}": mine for c, mine in enumerate(words)}


def _run(chains: "_Chains", merge: "_Merge", product: Product, begin: int) -> tuple[int, int]:
    """Do a job; return when it is complete, and when also all its words are taken."""
    now, left, complete = begin, product.strips, begin
    # Nothing comes from outside behind this cycle.
    latest = max(begin, len(merge.ready), chains.last_arrival)
    progress = chains.progress
    while left or chains.words.left:
        now += 1
        waiting = chains.waits > 0
        dropped = waiting & ~product.counts
        chosen, leaves = merge.step(now, waiting & product.counts)
        gone = int(dropped.sum()) + leaves
        if chosen >= 0:
            dropped[chosen] = True  # given to the merge
        chains.step(now, dropped)
        if gone:
            left, complete = left - gone, now
        if now > latest and (now - latest) % PATIENCE == 0:
            before, progress = progress, chains.progress
            if before == progress:
                raise ShapeError(
                    f"the job stops with {left} of its {product.strips} strips to come; words must "
                    "come in the order in which their chain takes them"
                )
    return complete, now


class _Merge:
    """The `StreamMerge` of all strips, and the sink behind it.

    Attributes:
        taken: when each strip was.
    """

    def __init__(self, count: int, ready: np.ndarray) -> None:
        self.ready = ready
        self.taken: list[int] = []
        self._waiting = np.zeros(count, bool)
        self._number = -1  # of the chain whose strip is offered

    def step(self, now: int, offers: np.ndarray) -> tuple[int, bool]:
        """Return from which chain a strip is taken, -1 for none, and whether one leaves."""
        leaves = False
        if self._number >= 0:
            if now < len(self.ready) and not self.ready[now]:
                return -1, False
            self.taken.append(now)
            leaves = True
        due = offers & self._waiting
        if due.any():
            self._number = int(due.argmax())
        elif offers.any():
            self._number = int(offers.argmax())
            self._waiting[:] = True
        else:
            self._number = -1
            return -1, leaves
        self._waiting[self._number] = False
        return self._number, leaves


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

    @property
    def last_arrival(self) -> int:
        """When the last word comes."""
        arrival = self.words.fields["arrival"]
        return int(arrival[arrival != NEVER].max())

    def step(self, now: int, given: np.ndarray) -> None:
        """Do what happens in a cycle in which these chains' strips go: bool [chains]."""
        some, room = self._level > 0, self._level < self._depths
        self._scale(some, self._gather(some, given))
        self._collect(now, some)
        usable, sums = self._activations.step(now, self._leaves[_Queue.OFFSETS])
        self._enters[_Queue.OFFSETS] = sums
        segment = self._expand(some, self._gear(some, self._multiply(now, usable)))
        self._load(now, room, segment)
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

    def _load(self, now: int, room: np.ndarray, segment: np.ndarray) -> None:
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
        takes = free[kind, self._every] & (self.words["arrival"] <= now)
        self._enters[_Queue.WORDS] = takes & (kind == Kind.WEIGHTS)
        self._unpacked[kind, self._every] += takes * self.words["payloads"]
        self.words.at += takes
