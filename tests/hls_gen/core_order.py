"""What the order of a core's units tells: what has certainly ended, and deadlocks."""

from collections import deque

import numpy as np

from golden.scoreboard import token_givers
from golden.spec.isa import Unit
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
    """For each load of a weight stream, the number of the product that takes it last."""
    is_stream = [one.unit is Unit.LD and one["channels"] != 0 for one in instructions]
    loads = iter([number for number, yes in enumerate(is_stream) if yes])
    products = [number for number, one in enumerate(instructions) if one.unit is Unit.MV]
    return {next(loads): product for product in products}


def ends(instructions, queue=QUEUE):
    """Whether the program comes to its end in a core without any room in its weight streams.

    There a load can end only when its product has started. Else instructions take no time.
    """
    givers = token_givers(instructions)
    product_of = streams_of(instructions)
    waiting = {unit: deque() for unit in Unit}
    started, ended, decoded = set(), set(), 0
    while True:
        before = (len(started), len(ended), decoded)
        while decoded < len(instructions):
            mine = waiting[instructions[decoded].unit]
            if len(mine) == queue:
                break
            mine.append(decoded)
            decoded += 1
        for mine in waiting.values():
            if mine and mine[0] not in started and ended.issuperset(givers[mine[0]]):
                started.add(mine[0])
            if mine and mine[0] in started and product_of.get(mine[0], mine[0]) in started:
                ended.add(mine.popleft())
        if before == (len(started), len(ended), decoded):
            return len(ended) == len(instructions)


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
        case Unit.MV:
            reads |= words("activation", one["activation"], one["columns"])
        case Unit.MISC:
            job = one.job()
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
            for second, first in np.ndindex(one["count_2"], one["count_1"]):
                start = bases[one["base"]] + one["offset"]
                start += first * one["stride_1"] + second * one["stride_2"]
                for port in ports or ["general"]:
                    reads |= words(port, start, one["length"] * config.word_bytes)
    return reads, writes
