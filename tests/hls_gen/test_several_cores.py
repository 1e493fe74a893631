"""Programs of several cores: the bits of one core, at any pace, and no deadlock."""

from collections import defaultdict
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from core_order import certain_order, end_together, is_barrier, places, streams_of
from tiny_models import tiny_model

from golden.accelerator_interpreter import Accelerator
from golden.core_effects import UndefinedProgram
from golden.scoreboard import token_givers
from golden.spec.control import Status
from golden.spec.isa import PRODUCTS, Unit, Weights
from hls_gen.compiler import compile_model
from hls_gen.program import assemble
from hw.accelerator_cases import PAIR
from hw.core_simulation import ProgramRun, mismatches, run_accelerator
from hw.memory_model import MemoryTiming
from hw.weight_stream_reader import read_weight_stream

POSITIONS = 41
CASES = {
    "two": (PAIR, 1, {}),
    "two, chunks": (
        replace(PAIR, vector_depth=1024, activation_depth=1024),
        8,
        {"layers": 1, "heads": 4, "kv_heads": 2},
    ),
    "three": (
        replace(PAIR, cores=3, chains=1, vector_depth=1024, activation_depth=256, replay_words=512),
        3,
        {"layers": 1, "head_size": 56, "hidden": 64},
    ),
    "two of three, m 16": (
        replace(PAIR, chains=3, m=16),
        1,
        {"hidden": 48, "heads": 3, "head_size": 48, "zeros": True, "bits": 4},
    ),
    "sparse": (PAIR, 1, {"layers": 1, "kept": 3}),
    "eight": (replace(PAIR, cores=8, chains=1), 1, {"probability_bits": 7, "vocabulary": 700}),
}
"""Cores, tokens of a program and models."""

COUNTS = {
    "two": 12,
    "two, chunks": 24,
    "three": 12,
    "two of three, m 16": 3,
    "sparse": 3,
    "eight": 3,
}
"""Tokens that are read; two cores read more below."""


TIMINGS = [None, [{}, {"channel_0": MemoryTiming(latency=80, extra_latency=40)}]]


@cache
def compiled(case):
    config, chunk, fields = CASES[case]
    model = tiny_model(**fields)
    return model, compile_model(model, config, POSITIONS, chunk)


def tokens_of(model, count):
    random = torch.Generator().manual_seed(3)
    return torch.randint(model.shape.vocabulary, (count,), generator=random)


def new_cores(made):
    images = [{port: data.copy() for port, data in mine.items()} for mine in made.core_images]
    bases = [made.bases(0, [])] * len(images)
    return Accelerator(made.plan.memory.config, images, bases, read_weight_stream)


def set_tokens(golden, made, position, tokens):
    for core in golden.cores:
        core.bases = list(made.bases(position, tokens.tolist()))


@pytest.mark.parametrize("case", CASES)
def test_tokens_one_after_the_other(case):
    model, made = compiled(case)
    tokens = tokens_of(model, COUNTS[case])
    hidden = model.hidden(tokens)
    logits = model.logits(hidden)
    golden = new_cores(made)
    for some in torch.arange(len(tokens)).split(CASES[case][1]):
        set_tokens(golden, made, int(some[0]), tokens[some])
        programs = made.programs(int(some[0]), tokens=len(some), store_hidden=True)
        golden.run([program.encode() for program in programs])
        general = golden.cores[0].memories["general"]
        assert torch.equal(made.hidden(general, len(some)), hidden[some]), some
        assert torch.equal(made.logits(general), logits[some[-1]]), some
    for core, image in zip(golden.cores[1:], made.core_images[1:], strict=True):
        assert np.array_equal(core.memories["general"], image["general"])


@pytest.mark.parametrize("case", CASES)
def test_channels_are_those_of_one_core_with_all_chains(case):
    config, chunk, _ = CASES[case]
    model, made = compiled(case)
    together = replace(config, chains=config.all_chains, cores=1)
    one = compile_model(model, together, POSITIONS, chunk)
    assert one.plan.memory.channel_bytes == made.plan.memory.channel_bytes
    for number in range(config.all_chains):
        core, chain = divmod(number, config.chains)
        mine = made.core_images[core][f"channel_{chain}"]
        assert np.array_equal(mine, one.images[f"channel_{number}"])


def test_every_core_has_its_share():
    """Keys of 41 tokens are in 3 chains; both strips of a head's values are in the first one."""
    _, made = compiled("two")
    programs = made.programs(POSITIONS - 1)
    products = [
        [one for one in program.instructions if one.unit in PRODUCTS] for program in programs
    ]
    raw = [[one for one in mine if one["weights"] == Weights.RAW] for mine in products]
    # Of each layer the product with the keys, for both heads; and with the values, for both halves.
    assert [[one["tokens"] for one in mine] for mine in raw] == [[2, 4] * 2, [2] * 2]
    for one in (*products[0], *products[1]):
        PAIR.check_product(one)
    for position in range(POSITIONS):
        stores = [
            [
                (one["channels"], one["length"])
                for one in program.instructions
                if one.unit is Unit.ST
            ]
            for program in made.programs(position, head=False)
        ]
        keys = [[], []]
        keys[position // 32] = [(1 << position // 16 % 2, PAIR.m)]
        assert stores == [2 * [*keys[0], (1, 1)], 2 * keys[1]]


@cache
def at_position(case, position, count=1):
    """Cores whose caches have so many tokens, the next tokens' programs and their logits."""
    model, made = compiled(case)
    tokens = tokens_of(model, position + count)
    golden = new_cores(made)
    for some in torch.arange(position).split(CASES[case][1]) if position else ():
        set_tokens(golden, made, int(some[0]), tokens[some])
        programs = made.programs(int(some[0]), tokens=len(some), head=False)
        golden.run([one.encode() for one in programs])
    memories = [core.memories for core in golden.cores]
    return memories, made.programs(position, tokens=count), model.forward(tokens)[-1]


class Paced:
    """Cores that execute instructions of any unit of any core that its tokens allow."""

    def __init__(self, case, position, count=1):
        model, self.made = compiled(case)
        memories, self.programs, self.wanted = at_position(case, position, count)
        self.golden = new_cores(self.made)
        tokens = tokens_of(model, position + count)[position:]
        set_tokens(self.golden, self.made, position, tokens)
        for core, mine in zip(self.golden.cores, memories, strict=True):
            core.memories = {port: data.copy() for port, data in mine.items()}

    def logits(self, rank, together=True):
        """What the first core gives; see `in_any_order`."""
        lists = [program.instructions for program in self.programs]
        for number, core, one in in_any_order(lists, rank, together):
            effect = self.golden.cores[core]._execute(number, one)
            self.golden.cores[core]._apply(effect)
            if effect.unit in PRODUCTS:
                for other in self.golden.cores:
                    other.vectors[effect.vector.addresses] = effect.vector.values
        return self.made.logits(self.golden.cores[0].memories["general"])


def in_any_order(programs, rank, together):
    """Yield number, core and instruction in an order that tokens and streams allow.

    Args:
        rank: called with core and unit; of several that can start the least does.
        together: barriers do what they should.
    """
    givers = [token_givers(instructions) for instructions in programs]
    left, taken, barriers = {}, [], []
    for core, instructions in enumerate(programs):
        for unit in Unit:
            mine = [n for n, one in enumerate(instructions) if one.unit is unit]
            left[core, unit] = mine
        taken.append(defaultdict(set))
        for load, product in streams_of(instructions).items():
            taken[core][product].add(load)
        barriers.append([n for n, one in enumerate(instructions) if is_barrier(one)])
    done = [set() for _ in programs]

    def may_start(core, number):
        return {*givers[core][number], *taken[core][number]} <= done[core]

    def is_ready(core, number):
        if not may_start(core, number):
            return False
        if not together or number not in barriers[core]:
            return True
        # All others are at this barrier, or behind it.
        which = barriers[core].index(number)
        return all(
            mine[which] in done[other]
            or (left[other, Unit.SYS][0] == mine[which] and may_start(other, mine[which]))
            for other, mine in enumerate(barriers)
        )

    while any(left.values()):
        ready = [key for key, mine in left.items() if mine and is_ready(key[0], mine[0])]
        core, unit = min(ready, key=lambda key: rank(*key))
        number = left[core, unit].pop(0)
        done[core].add(number)
        yield number, core, programs[core][number]


@pytest.mark.parametrize(
    "where", [("two", 0), ("two", 33), ("two, chunks", 16, 4), ("eight", 2)], ids=str
)
def test_units_and_cores_may_run_at_any_pace(where):
    random = np.random.default_rng(where[1])
    wanted = at_position(*where)[2]
    ranks = [
        lambda core, unit: core,
        lambda core, unit: -core,
        lambda core, unit: (unit not in PRODUCTS, core),
        lambda core, unit: (unit in PRODUCTS, core),
        lambda core, unit: random.random(),
    ]
    for rank in ranks:
        assert torch.equal(Paced(*where).logits(rank), wanted)


def test_without_barriers_logits_are_wrong():
    given = Paced("two", 33).logits(lambda core, unit: core, together=False)
    assert not torch.equal(given, at_position("two", 33)[2])


def test_without_one_of_its_barriers_a_program_is_refused():
    """But for the first one, which keeps it apart from what the cores did before."""
    programs = at_position("two", 33)[1]
    count = sum(map(is_barrier, programs[0].instructions))
    assert [sum(map(is_barrier, one.instructions)) for one in programs] == [count] * 2
    for missing in range(1, count):
        paced = Paced("two", 33)
        less = []
        for program in programs:
            at = [n for n, one in enumerate(program.instructions) if is_barrier(one)][missing]
            kept = [one for n, one in enumerate(program.instructions) if n != at]
            less.append([word for one in kept for word in one.encode()])
        with pytest.raises(UndefinedProgram, match="since its last barrier"):
            paced.golden.run(less)


@pytest.mark.parametrize("case", CASES)
def test_cores_that_meet_in_a_word_have_a_barrier_between(case):
    """By what instructions really read and write, and in any timing."""
    _, made = compiled(case)
    golden = new_cores(made)
    chunk = CASES[case][1]
    programs = made.programs(POSITIONS - chunk, tokens=chunk, store_hidden=True)
    effects = golden.run([program.encode() for program in programs])
    config, bases = made.plan.memory.config, made.bases(POSITIONS - chunk, range(chunk))
    users = []
    for core, (program, mine) in enumerate(zip(programs, effects, strict=True)):
        certain = certain_order(program.instructions)
        barriers = [n for n, one in enumerate(program.instructions) if is_barrier(one)]
        for number, (one, effect) in enumerate(zip(program.instructions, mine, strict=True)):
            both = set().union(*places(one, effect, config, bases))
            words = {word for memory, word in both if memory == "vector"}
            behind = [k for k, barrier in enumerate(barriers) if certain[barrier, number]]
            before = [k for k, barrier in enumerate(barriers) if certain[number, barrier]]
            span = max(behind, default=-1), min(before, default=len(barriers))
            users.append((core, one.unit in PRODUCTS, words, *span, number))
    meetings = 0
    for at, (core, gives, words, behind, before, number) in enumerate(users):
        for other, other_gives, others, later, earlier, second in users[:at]:
            if core == other or not (gives or other_gives) or words.isdisjoint(others):
                continue
            meetings += 1
            assert before <= later or earlier <= behind, (number, second)
    assert meetings > 50


@pytest.mark.parametrize("case", CASES)
def test_programs_end_without_room_in_the_streams(case):
    _, made = compiled(case)
    chunk = CASES[case][1]
    for position in (0, POSITIONS - chunk):
        programs = made.programs(position, tokens=chunk, store_hidden=True)
        assert end_together([program.instructions for program in programs])


def test_programs_that_wait_for_each_other_are_seen():
    good = assemble("SYS op=BARRIER\nSYS op=END").instructions
    more = assemble("SYS op=BARRIER\nSYS op=BARRIER\nSYS op=END").instructions
    late = assemble("SYS op=BARRIER release=MISC\nMISC wait=SYS\nSYS op=END").instructions
    assert end_together([good, late])
    assert not end_together([good, more])


@pytest.mark.full
@pytest.mark.parametrize("timing", TIMINGS, ids=["ideal", "uneven"])
def test_two_cores_in_rtl_give_the_logits(timing):
    """Two tokens behind others, so that both have keys; every word on the chip and off it."""
    first = 33
    model, made = compiled("two")
    memories = at_position("two", first)[0]
    golden = new_cores(made)
    for core, mine in zip(golden.cores, memories, strict=True):
        core.memories = {port: data.copy() for port, data in mine.items()}
    tokens = tokens_of(model, first + 2)
    runs, effects = [[], []], [[], []]
    for position in (first, first + 1):
        token = int(tokens[position])
        set_tokens(golden, made, position, tokens[position : position + 1])
        words = [program.encode() for program in made.programs(position)]
        for number, given in enumerate(golden.run(words)):
            effects[number] += given
            bases = dict(enumerate(made.bases(position, [token])))
            runs[number].append(ProgramRun(words[number], bases))
    results = run_accelerator(PAIR, runs, memories, timing=timing, most_cycles=100_000)
    for core, mine, result in zip(golden.cores, effects, results, strict=True):
        assert mismatches(result.log, mine) == []
        assert [state["STATUS"] for state in result.states] == [Status.DONE | Status.INTERRUPT] * 2
        for port, memory in core.memories.items():
            assert np.array_equal(result.memories[port][: len(memory)], memory)
    logits = made.logits(results[0].memories["general"])
    assert torch.equal(logits, model.forward(tokens)[-1])
