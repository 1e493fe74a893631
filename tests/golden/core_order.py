"""What the order of a core's units tells: what has certainly ended, and deadlocks."""

from collections import defaultdict, deque

import numpy as np

from golden.scoreboard import token_givers
from golden.spec.isa import PRODUCTS, SystemOperation, Unit
from hls_gen.memory_map import Base

QUEUE = 8
"""Instructions that wait in front of a unit; the decoder stops behind a full queue."""


def certain_order(instructions, givers=None):
    """bool [n, n]: the first has certainly ended when the second one starts, in any timing."""
    givers = token_givers(instructions) if givers is None else givers
    ended_at_start, ended_at_end, last = [], [], {}
    for number, one in enumerate(instructions):
        before = last.get(one.unit)
        start = np.zeros(len(instructions), bool)
        if before is not None:
            start |= ended_at_start[before]
        for giver in givers[number]:
            start |= ended_at_end[giver]
        end = start.copy() if before is None else start | ended_at_end[before]
        end[number] = True
        ended_at_start.append(start)
        ended_at_end.append(end)
        last[one.unit] = number
    return np.array(ended_at_start).T


def streams_of(instructions):
    """For each load of a weight stream, the number of the product that takes its words."""
    loads = iter(
        [n for n, one in enumerate(instructions) if one.unit is Unit.LD and one["channels"] != 0]
    )
    taken = {}
    for number, product in enumerate(instructions):
        words = product["words"] if product.unit in PRODUCTS else 0
        while words > 0:
            load = next(loads)
            one = instructions[load]
            words -= one["length"] * one["count_1"] * one["count_2"]
            taken[load] = number
        assert words == 0
    assert next(loads, None) is None
    return taken


def any_order(instructions, givers, rank):
    """Each unit's instructions in their order; of several that can start, the least `rank` does.

    Args:
        rank: called with a unit. givers: of tokens.
    """
    left = {unit: [n for n, one in enumerate(instructions) if one.unit is unit] for unit in Unit}
    taken = defaultdict(set)
    for load, product in streams_of(instructions).items():
        taken[product].add(load)
    order = []
    while any(left.values()):
        ready = [
            unit
            for unit, mine in left.items()
            if mine and {*givers[mine[0]], *taken[mine[0]]} <= set(order)
        ]
        order.append(left[min(ready, key=rank)].pop(0))
    return [instructions[number] for number in order]


def is_barrier(one):
    return one.unit is Unit.SYS and one["op"] == SystemOperation.BARRIER


class _Core:
    """A core without any room in its weight streams.

    There a load can end only when its product has started. Else instructions take no time.
    """

    def __init__(self, instructions, queue):
        self.instructions, self.queue = instructions, queue
        self.givers = token_givers(instructions)
        self.product_of = streams_of(instructions)
        self.barriers = [n for n, one in enumerate(instructions) if is_barrier(one)]
        self.waiting = {unit: deque() for unit in Unit}
        self.started, self.ended, self.decoded = set(), set(), 0

    def progress(self):
        return len(self.started), len(self.ended), self.decoded

    def arrived(self):
        """How many barriers it has come to."""
        return sum(barrier in self.started for barrier in self.barriers)

    def step(self, released):
        """Do what can be done when so many barriers are released."""
        while self.decoded < len(self.instructions):
            mine = self.waiting[self.instructions[self.decoded].unit]
            if len(mine) == self.queue:
                break
            mine.append(self.decoded)
            self.decoded += 1
        kept = set(self.barriers[released:])
        for mine in self.waiting.values():
            if not mine:
                continue
            if self.ended.issuperset(self.givers[mine[0]]):
                self.started.add(mine[0])
            if self.started - kept >= {mine[0], self.product_of.get(mine[0], mine[0])}:
                self.ended.add(mine.popleft())


def ends(instructions, queue=QUEUE):
    """Whether the program comes to its end in a core without any room in its weight streams."""
    return end_together([instructions], queue)


def end_together(programs, queue=QUEUE):
    """Whether programs come to their ends in such cores, which wait for each other at barriers."""
    cores = [_Core(instructions, queue) for instructions in programs]
    while True:
        before = [core.progress() for core in cores]
        for core in cores:
            core.step(min(other.arrived() for other in cores))
        if before == [core.progress() for core in cores]:
            return all(len(core.ended) == len(core.instructions) for core in cores)


def places(one, effect, config, bases):
    """What an instruction reads and what it writes: two sets of words and bytes.

    Weights in the channels are not in it: nobody writes there.

    Args:
        effect: what it wrote in the golden core.
    """
    reads, writes = set(), set()

    def words(memory, start, count):
        return {(memory, start + place) for place in range(count)}

    if effect.vector is not None:
        writes |= {("vector", int(word)) for word in effect.vector.addresses}
    if effect.activation is not None:
        writes |= {("activation", int(word)) for word in effect.activation.addresses}
    for run in effect.memory:
        writes |= words(run.port, run.address, len(run.data))
    match one.unit:
        case Unit.MV | Unit.MM:
            tokens, step = (one["tokens"], one["step"]) if one.unit is Unit.MM else (1, 0)
            for token in range(tokens):
                start = one["activation"] + token * step
                reads |= words("activation", start, one["columns"])
        case Unit.MISC:
            job = one.job(bases)
            if job.operation.is_pass:
                count = config.functions.words(job.length)
                reads |= words("vector", one["a"], count)
                reads |= words("vector", one["b"], count) if job.takes_b else set()
        case Unit.ST:
            stored = sum(len(run.data) for run in effect.memory)
            memory, size = [("vector", 4 * config.m), ("activation", config.m)][one["memory"]]
            reads |= words(memory, one["start"], -(-stored // size))
        case Unit.LD if one["base"] != Base.WEIGHTS:
            ports = [f"channel_{k}" for k in range(config.chains) if one["channels"] >> k & 1]
            assert one["count_3"] == 1
            for second, first in np.ndindex(one["count_2"], one["count_1"]):
                start = bases[one["base"]] + one["offset"]
                start += first * one["stride_1"] + second * one["stride_2"]
                for port in ports or ["general"]:
                    reads |= words(port, start, one["length"] * config.word_bytes)
    return reads, writes
