"""Attention as instructions: from queries, keys and values to the mixtures of the heads.

All tokens and all heads that share keys are queries of one product: keys and values are loaded once
for them. While the matrix unit mixes the values of one head of keys and values, the special
function unit is at the probabilities of the next one.

A query's scores lie where their keys are among all positions. What it sees of them, some runs of
positions, becomes probabilities side by side, as the values are loaded.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from golden.spec.special_function_unit import (
    FACTOR_FRACTION_BITS,
    Byte,
    Job,
    Operation,
    Reduction,
    Second,
)
from golden.special_functions.sequences import quantise_jobs, softmax_job
from golden.token_schedule import Region, Space
from golden.transformer import CACHE_SHIFT
from hls_gen.buffers import Places
from hls_gen.chunk import Chunk, Register, batched, dequantise
from hls_gen.emitter import Task
from hls_gen.memory_map import Base
from hls_gen.plan import AttentionPlan, Part

_ROTATE = Job(Operation.ROTATE, 2, shift=FACTOR_FRACTION_BITS)
_CACHE = Job(Operation.LINEAR, shift=CACHE_SHIFT, wide=False, byte=Byte.SATURATED)


class AttentionProgram:
    """Adds the attention of one layer to a program.

    Args:
        layer: its number.
    """

    def __init__(self, chunk: Chunk, layer: int, plan: AttentionPlan) -> None:
        self._chunk, self._layer, self._plan = chunk, layer, plan
        self._wide, self._bytes, self._sizes = chunk.wide, chunk.bytes, chunk.sizes
        self._emitter, self._memory = chunk.emitter, chunk.memory
        self._cache = chunk.memory.cache
        self._head_size = chunk.memory.shape.head_size
        self._queries = range(len(chunk.tokens) * self._sizes.group)
        self._score_words = self._cache.score_words(chunk.runs)
        self._values = self._cache.value_part(chunk.runs)
        self._halves = plan.probability_bits // 7

    def add(self) -> None:
        """Take what the product of queries, keys and values gives; leave bytes for the output's."""
        query, key, value = self._plan.inputs.parts
        kv_heads = self._sizes.kv_heads
        self._append_keys(key)
        for step in range(kv_heads + 2):
            if step < kv_heads:
                self._rotate_queries(query, step)
                self._score(step)
            if step == 0:
                self._append_values(value)  # they are needed last
            if 1 <= step <= kv_heads:
                self._mix(step - 1)
            if step >= 2:
                self._divide(step - 2)
        self._chunk.in_turn(self._chunk.tokens, self._quantised)

    def _dequantise(self, part: Part, out: Places) -> None:
        """Make wide elements of a layer's outputs, all tokens' side by side."""
        for token in self._chunk.tokens:
            given = self._wide.queries_keys_values
            self._emitter.run(dequantise(part, token, given, out[token]))

    def _append_keys(self, part: Part) -> None:
        """Rotate the keys of all tokens and heads, make bytes of them and store them."""
        keys, narrow, chunk = self._wide.keys, self._bytes.keys, self._chunk
        words = len(chunk.tokens) * keys.size
        self._dequantise(part, keys)
        rotations = self._wide.key_rotations.start
        chunk.spread(Task(_ROTATE, keys.start, rotations, keys.start), words)
        chunk.spread(Task(_CACHE, keys.start, out_byte=narrow.start), words)
        for tokens, store in self._cache.store_keys(chunk.position, len(chunk.tokens)):
            self._emitter.append(
                narrow[tokens.start],
                len(tokens) * narrow.size,
                Region(Space.KEYS, self._layer, 1),
                Base.NEW_KEYS,
                self._memory.keys(self._layer, 0),
                store,
            )

    def _append_values(self, part: Part) -> None:
        """Make bytes of the values of all tokens and heads and store them."""
        values, narrow, chunk = self._wide.values, self._bytes.values, self._chunk
        self._dequantise(part, values)
        words = len(chunk.tokens) * values.size
        chunk.spread(Task(_CACHE, values.start, out_byte=narrow.start), words)
        for token in chunk.tokens:
            for head in range(self._sizes.kv_heads):
                first = narrow[token] + head * self._sizes.head
                for begin, count, store in self._cache.store_values(chunk.position + token):
                    self._emitter.append(
                        first + begin,
                        count,
                        Region(Space.VALUES, self._layer, 1),
                        Base.NEW_VALUES,
                        self._memory.values(self._layer, head),
                        store,
                    )

    def _rotate_queries(self, part: Part, kv_head: int) -> None:
        """Make wide elements of the queries that share a head of keys, and rotate them."""
        words = self._sizes.group * self._sizes.head
        first = self._wide.queries[kv_head]
        mine = replace(
            part,
            strip=part.strip + kv_head * words,
            rows=self._sizes.group * self._head_size,
        )
        self._dequantise(mine, Places(first, words))
        rotate = Task(_ROTATE, first, self._wide.query_rotations.start, first)
        self._chunk.spread(rotate, len(self._chunk.tokens) * words)

    def _split(self, query: int) -> tuple[int, int]:
        """Return a query's token, and its head among those that share its keys."""
        head, token = divmod(query, len(self._chunk.tokens))
        return token, head

    def _place(self, kv_head: int, query: int) -> int:
        """Return where a query lies."""
        token, head = self._split(query)
        number = token * self._sizes.group + head
        return self._wide.queries[kv_head] + number * self._sizes.head

    def _scores(self, kv_head: int) -> Places:
        return Places(self._wide.scores[kv_head % 2], self._score_words)

    def _probabilities(self, kv_head: int) -> Places:
        """Return the places of the upper halves of all queries, then of the lower ones."""
        return Places(self._bytes.probabilities[kv_head % 2], self._score_words)

    def _mixed(self, kv_head: int) -> Places:
        """Return the places of the products with each half, as those of the probabilities."""
        return Places(self._wide.mixed[kv_head % 2], self._sizes.mixed)

    def _totals(self, kv_head: int) -> Places:
        return Places(self._wide.totals[kv_head % 2], 1)

    def _score(self, kv_head: int) -> None:
        """Quantise the queries, and multiply them with the keys."""
        queries = Places(self._bytes.queries[kv_head], self._sizes.head)

        def quantised(query: int, slot: int) -> Iterator[Task]:
            place, work = self._place(kv_head, query), Register.WORK + slot
            quantiser, multiply = quantise_jobs(self._head_size, work, work)
            yield self._magnitude(place, work)
            yield Task(quantiser)
            yield Task(multiply, place, out_byte=queries[query])

        self._chunk.in_turn(self._queries, quantised)
        for part in self._cache.key_parts(self._chunk.runs):
            self._emitter.plain_product(
                part,
                Region(Space.KEYS, self._layer, 1),
                self._memory.keys(self._layer, kv_head),
                queries,
                self._scores(kv_head),
                len(self._queries),
            )

    def _magnitude(self, place: int, target: int) -> Task:
        reduction = Reduction.MAGNITUDE
        length = self._head_size
        job = Job(Operation.LINEAR, length, wide=False, reduction=reduction, target=target)
        return Task(job, place)

    def _mix(self, kv_head: int) -> None:
        """Make probabilities of the scores, and mix the values with them."""
        scores, probabilities = self._scores(kv_head), self._probabilities(kv_head)
        count = len(self._queries)

        def kept(query: int, slot: int) -> Iterator[Task]:
            total = Register.WORK + slot
            keep = Job(Operation.LINEAR, 1, 0, 1, source=Second.SCALAR, other=total)
            yield Task(keep, scores[query], out=self._totals(kv_head)[query])

        for some in batched(self._queries):
            self._chunk.in_turn(some, partial(self._exponents, kv_head))
            if some[-1] == self._queries[-1] and self._halves == 2:
                low = Job(Operation.LINEAR, wide=False, byte=Byte.LOW)
                task = Task(low, scores.start, out_byte=probabilities[count])
                self._chunk.spread(task, count * scores.size)
            self._chunk.in_turn(some, kept)
        self._emitter.plain_product(
            self._values,
            Region(Space.VALUES, self._layer, 1),
            self._memory.values(self._layer, kv_head),
            probabilities,
            self._mixed(kv_head),
            self._halves * count,
        )

    def _exponents(self, kv_head: int, query: int, slot: int) -> Iterator[Task]:
        """Yield what makes a query's probabilities of its scores; the slot has their sum."""
        scale, maximum = Register.WORK + slot, Register.OTHER + slot
        scores = self._scores(kv_head)[query]
        runs = list(self._seen(self._split(query)[0]))
        m = self._memory.config.m
        yield self._magnitude(self._place(kv_head, query), scale)
        yield Task(Job(Operation.NORMALISE, scale=scale, target=scale))
        dequantised = Job(
            Operation.LINEAR,
            shift=self._plan.score_shift,
            scaled=True,
            scale=scale,
            reduction=Reduction.MAXIMUM,
            target=maximum,
        )
        for number, run in enumerate(runs):
            place = scores + run.start // m
            job = replace(dequantised, length=len(run), carry=number > 0)
            yield Task(job, place, out=place, extended=run is runs[-1])
        yield from self._exponents_of_runs(kv_head, query, runs, maximum, total=scale)

    def _seen(self, token: int) -> Iterator[range]:
        """Yield the positions that a token sees, up to its own; the last ones are extended."""
        *before, own = self._chunk.runs
        yield from before
        yield range(own.start, self._chunk.position + token + 1)

    def _exponents_of_runs(
        self, kv_head: int, query: int, runs: list[range], maximum: int, total: int
    ) -> Iterator[Task]:
        """Yield the passes that give the probabilities, side by side, and 0 behind them."""
        config, wide = self._memory.config, self._halves == 2
        scores, out = self._scores(kv_head)[query], self._probabilities(kv_head)[query]
        byte = Byte.HIGH if wide else Byte.SATURATED
        bits, shift = self._plan.probability_bits, self._plan.score_fraction
        done = 0
        for number, run in enumerate(runs):
            exponent = softmax_job(
                len(run), maximum, total, bits, shift=shift, wide=wide, byte=byte
            )
            job = replace(exponent, carry=number > 0)
            place = scores + run.start // config.m
            places = {"out": scores + done, "out_byte": out + done}
            yield Task(job, place, **places, extended=run is runs[-1])
            done += config.functions.words(len(run))
        if missing := self._values.product["columns"] - done:
            nothing = Job(Operation.LINEAR, missing * config.m, 0, wide=wide, byte=byte)
            yield Task(nothing, scores + done, out=scores + done, out_byte=out + done)

    def _divide(self, kv_head: int) -> None:
        """Divide the mixtures by the sums of their probabilities."""
        mixed, count = self._mixed(kv_head), len(self._queries)

        def shares(query: int, slot: int) -> Iterator[Task]:
            share, maximum = Register.WORK + slot, Reduction.MAXIMUM
            total = Job(Operation.LINEAR, 1, wide=False, reduction=maximum, target=share)
            yield Task(total, self._totals(kv_head)[query])
            yield Task(Job(Operation.RECIPROCAL, scale=share, target=share))

        def divided(query: int, slot: int) -> Iterator[Task]:
            token, head = self._split(query)
            head += kv_head * self._sizes.group
            job = Job(
                Operation.LINEAR,
                self._head_size,
                shift=self._plan.output_shift,
                scaled=True,
                scale=Register.WORK + slot,
                reduction=Reduction.MAGNITUDE,
                target=Register.TOKEN + token,
                carry=head > 0,
            )
            yield Task(job, mixed[query], out=self._wide.attention[token] + head * self._sizes.head)

        for some in batched(self._queries):
            self._chunk.in_turn(some, shares)
            if some[0] == 0 and self._halves == 2:
                shift = self._plan.sum_shift
                both = Job(Operation.LINEAR, 1, 1 << 7, 1, shift, source=Second.VECTOR)
                task = Task(both, mixed.start, mixed[count], mixed.start)
                self._chunk.spread(task, count * mixed.size)
            self._chunk.in_turn(some, divided)

    def _quantised(self, token: int, slot: int) -> Iterator[Task]:
        """Yield what makes bytes of all heads' mixtures of a token."""
        mine, work = Register.TOKEN + token, Register.WORK + slot
        length = self._sizes.heads * self._head_size
        places = self._wide.attention[token], self._bytes.attention[token]
        yield from self._chunk.quantise(length, mine, mine, work, *places)
