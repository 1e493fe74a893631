"""The program of one token: every function of `golden.transformer`, as instructions.

Vectors stay on the chip from the embedding's row to the logits; beside weights and the cache only
norms and the rotation are loaded. Heads of the attention overlap: while the matrix unit mixes the
values of one, the special function unit is at the probabilities of the next.
"""

from collections.abc import Sequence
from enum import IntEnum, auto

from golden.numbers import signed_range
from golden.spec.errors import ConfigError
from golden.spec.isa import Unit
from golden.spec.special_function_unit import (
    FACTOR_BITS,
    FACTOR_FRACTION_BITS,
    Byte,
    Job,
    Operation,
    Reduction,
    Second,
)
from golden.special_functions.sequences import quantise_jobs, rms_norm_jobs, softmax_job
from golden.token_schedule import Region, Space
from golden.transformer import CACHE_SHIFT, NORM_SHIFT, Residual
from hls_gen.buffers import activation_memory, vector_buffer
from hls_gen.emitter import Emitter
from hls_gen.memory_map import Base
from hls_gen.plan import AttentionPlan, FeedForwardPlan, LayerPlan, ModelPlan, Part
from hls_gen.program import Program


class Register(IntEnum):
    """Scalar registers; those of heads are two, taken in turn."""

    MAGNITUDE = 0  # of the vector between the layers
    WORK = auto()
    EPSILON = auto()
    QUANTISER = auto()
    SCALE = auto()  # of a product's inputs
    MIXED = auto()  # magnitude of the attention's results
    MAXIMUM = auto()
    SHARE = auto()
    QUERY_0 = auto()
    QUERY_1 = auto()
    TOTAL_0 = auto()
    TOTAL_1 = auto()


class TokenProgram:
    """Adds a token's functions to a program, in their order.

    Args:
        position: tokens in the cache.
        norms: the numbers of the norms to come, in their order; see `MemoryMap.gamma`.
        core: number of the core.

    Raises:
        ConfigError: the position is beyond the cache, or the memories on the chip are too small.
    """

    def __init__(self, plan: ModelPlan, position: int, norms: Sequence[int], core: int = 0) -> None:
        memory = plan.memory
        if not 0 <= position < memory.max_positions:
            raise ConfigError(
                f"the position is {position}; the cache was made for 0 to "
                f"{memory.max_positions - 1}"
            )
        self.plan = plan
        self.position = position
        self.emitter = Emitter(memory.config, memory.shape.layers, core)
        self._sizes = plan.sizes
        self._wide = vector_buffer(self._sizes, memory.config)
        self._bytes = activation_memory(self._sizes, memory.config)
        self._hidden = memory.shape.hidden
        self._norms = norms
        self._norms_done = 0
        self._begin()

    def _begin(self) -> None:
        """Load the token's vector and what the norms and rotations need."""
        wide, sizes, memory = self._wide, self._sizes, self.plan.memory
        self.emitter.load(Base.ROW, 0, sizes.hidden, wide.hidden)
        self._load_gamma()
        self.emitter.load(
            Base.TABLES,
            memory.rotation(self.position),
            sizes.head,
            wide.rotation,
            times=sizes.kv_heads,
        )
        magnitude = Job(
            Operation.LINEAR,
            self._hidden,
            wide=False,
            reduction=Reduction.MAGNITUDE,
            target=Register.MAGNITUDE,
        )
        self.emitter.run(magnitude, wide.hidden)

    def layer(self, number: int) -> None:
        """Add a decoder layer."""
        plan: LayerPlan = self.plan.layers[number]
        wide = self._wide
        self._norm(plan.attention_epsilon)
        self._attend(number, plan.attention)
        self._residual(plan.attention_residual, wide.attention_output)
        self._norm(plan.feed_forward_epsilon)
        self._feed_forward(plan.feed_forward)
        self._residual(plan.feed_forward_residual, wide.down)

    def head(self) -> None:
        """Add the logits, in parts: while one is stored the next one is computed."""
        self._norm(self.plan.head_epsilon)
        memory = self.plan.memory
        offset = memory.logits - memory.outputs
        for number, linear in enumerate(self.plan.head):
            out = self._wide.logits[number % 2]
            self.emitter.product(linear.product, self._bytes.inputs, out)
            self._dequantise(linear.parts[0], out)
            rows = linear.parts[0].rows
            self.emitter.store(out, rows, Base.OUTPUTS, offset)
            offset += memory.vector_bytes(rows)

    def store_hidden(self) -> None:
        """Store the vector between the layers, for whoever wants to see it."""
        self.emitter.store(self._wide.hidden, self._hidden, Base.OUTPUTS, 0)

    def _load_gamma(self) -> None:
        """Load the factors of the next norm, while this one is still in use."""
        if self._norms_done < len(self._norms):
            number = self._norms[self._norms_done]
            self.emitter.load(
                Base.TABLES,
                self.plan.memory.gamma(number),
                self._sizes.hidden,
                self._wide.gammas[self._norms_done % 2],
            )

    def _norm(self, epsilon: int) -> None:
        """Normalise the vector between the layers; its bytes are the next product's inputs."""
        wide = self._wide
        registers = (Register.MAGNITUDE, Register.EPSILON, Register.WORK)
        scale, squares, root, apply = rms_norm_jobs(self._hidden, *registers, NORM_SHIFT)
        self.emitter.step(load_job(epsilon, Register.EPSILON))
        self.emitter.step(scale)
        self.emitter.run(squares, wide.hidden)
        self.emitter.step(root)
        gamma = wide.gammas[self._norms_done % 2]
        self.emitter.run(apply, wide.hidden, b=gamma, out=wide.normal)
        self._quantise(self._hidden, Register.WORK, Register.SCALE, wide.normal, self._bytes.inputs)
        self._norms_done += 1

    def _quantise(
        self, length: int, magnitude: Register, scale: Register, a: int, out_byte: int
    ) -> None:
        """Quantise a vector; its normalised magnitude goes to register `scale`."""
        self.emitter.step(Job(Operation.NORMALISE, scale=magnitude, target=scale))
        quantiser, multiply = quantise_jobs(length, magnitude, Register.QUANTISER)
        self.emitter.step(quantiser)
        self.emitter.run(multiply, a, out_byte=out_byte)

    def _dequantise(self, part: Part, out: int, scale: Register = Register.SCALE) -> int:
        """Make wide elements of a layer's outputs, in their place; return where they are."""
        job = Job(Operation.LINEAR, part.rows, shift=part.shift, scaled=True, scale=scale)
        start = out + part.strip
        self.emitter.run(job, start, out=start)
        return start

    def _residual(self, residual: Residual, y: int) -> None:
        """Add to the vector between the layers, and find its magnitude."""
        job = Job(
            Operation.LINEAR,
            self._hidden,
            residual.first,
            residual.second,
            residual.shift,
            source=Second.VECTOR,
            reduction=Reduction.MAGNITUDE,
            target=Register.MAGNITUDE,
        )
        self.emitter.run(job, self._wide.hidden, b=y, out=self._wide.hidden)

    def _feed_forward(self, plan: FeedForwardPlan) -> None:
        wide, narrow = self._wide, self._bytes
        length = self.plan.memory.shape.feed_forward
        self.emitter.product(plan.gate_up.product, narrow.inputs, wide.gate_up)
        self._load_gamma()
        gate, up = (self._dequantise(part, wide.gate_up) for part in plan.gate_up.parts)
        first, shift = (1, plan.gate_shift) if plan.gate_shift >= 0 else (1 << -plan.gate_shift, 0)
        self.emitter.run(Job(Operation.SILU, length, first, shift=shift), gate, out=gate)
        product = Job(
            Operation.PRODUCT,
            length,
            plan.product_first,
            reduction=Reduction.MAGNITUDE,
            target=Register.WORK,
        )
        self.emitter.run(product, gate, b=up, out=gate)
        self._quantise(length, Register.WORK, Register.SCALE, gate, narrow.gated)
        self.emitter.product(plan.down.product, narrow.gated, wide.down)
        self._dequantise(plan.down.parts[0], wide.down)

    def _attend(self, number: int, plan: AttentionPlan) -> None:
        wide, narrow = self._wide, self._bytes
        heads = self._sizes.heads
        self.emitter.product(plan.inputs.product, narrow.inputs, wide.queries_keys_values)
        self._load_gamma()
        query, key, value = plan.inputs.parts
        self._append_keys(number, self._dequantise(key, wide.queries_keys_values), key.rows)
        self._append_values(number, self._dequantise(value, wide.queries_keys_values), value.rows)
        queries = self._dequantise(query, wide.queries_keys_values)
        for step in range(heads + 2):
            if step < heads:
                self._scores(number, step, queries + step * self._sizes.head)
            if 1 <= step <= heads:
                self._mix(number, step - 1, plan)
            if step >= 2:
                self._mixed(step - 2, plan)
        length = heads * self.plan.memory.shape.head_size
        self._quantise(length, Register.MIXED, Register.SCALE, wide.attention, narrow.attention)
        self.emitter.product(plan.output.product, narrow.attention, wide.attention_output)
        self._dequantise(plan.output.parts[0], wide.attention_output)

    def _append_keys(self, layer: int, keys: int, length: int) -> None:
        """Rotate the keys of all heads, make bytes of them and store them."""
        rotate = Job(Operation.ROTATE, length, shift=FACTOR_FRACTION_BITS)
        self.emitter.run(rotate, keys, b=self._wide.rotation, out=keys)
        self.emitter.run(_cache_job(length), keys, out_byte=self._bytes.keys)
        memory = self.plan.memory
        self.emitter.append(
            self._bytes.keys,
            self._sizes.kv_heads * self._sizes.head,
            Region(Space.KEYS, layer, 1),
            memory.keys(layer, 0),
            memory.cache.store_keys(self.position),
        )

    def _append_values(self, layer: int, values: int, length: int) -> None:
        """Make bytes of the values of all heads and store them."""
        self.emitter.run(_cache_job(length), values, out_byte=self._bytes.values)
        memory = self.plan.memory
        for head in range(self._sizes.kv_heads):
            first = self._bytes.values + head * self._sizes.head
            for begin, words, store in memory.cache.store_values(self.position):
                self.emitter.append(
                    first + begin,
                    words,
                    Region(Space.VALUES, layer, 1),
                    memory.values(layer, head),
                    store,
                )

    def _kv_head(self, head: int) -> int:
        return head * self._sizes.kv_heads // self._sizes.heads

    def _scores(self, layer: int, head: int, query: int) -> None:
        """Rotate and quantise a head's query, and multiply it with all keys."""
        memory, turn = self.plan.memory, head % 2
        length = memory.shape.head_size
        rotate = Job(
            Operation.ROTATE,
            length,
            shift=FACTOR_FRACTION_BITS,
            reduction=Reduction.MAGNITUDE,
            target=Register.WORK,
        )
        self.emitter.run(rotate, query, b=self._wide.rotation, out=query)
        scale = (Register.QUERY_0, Register.QUERY_1)[turn]
        self._quantise(length, Register.WORK, scale, query, self._bytes.queries[turn])
        for part in memory.cache.key_parts(self.position + 1):
            self.emitter.plain_product(
                part,
                Region(Space.KEYS, layer, 1),
                memory.keys(layer, self._kv_head(head)),
                self._bytes.queries[turn],
                self._wide.scores[turn],
            )

    def _mix(self, layer: int, head: int, plan: AttentionPlan) -> None:
        """Make probabilities of a head's scores, and mix the values with them."""
        memory, turn = self.plan.memory, head % 2
        tokens, scores = self.position + 1, self._wide.scores[turn]
        self.emitter.run(
            Job(
                Operation.LINEAR,
                tokens,
                shift=plan.score_shift,
                scaled=True,
                scale=(Register.QUERY_0, Register.QUERY_1)[turn],
                reduction=Reduction.MAXIMUM,
                target=Register.MAXIMUM,
            ),
            scores,
            out=scores,
        )
        total = (Register.TOTAL_0, Register.TOTAL_1)[turn]
        halves = plan.probability_bits // 7
        exponent = softmax_job(
            tokens,
            Register.MAXIMUM,
            total,
            plan.probability_bits,
            shift=plan.score_fraction,
            wide=halves == 2,
            byte=Byte.HIGH if halves == 2 else Byte.SATURATED,
        )
        probabilities = self._bytes.probabilities[turn]
        self.emitter.run(exponent, scores, out=scores, out_byte=probabilities[0])
        if halves == 2:
            low = Job(Operation.LINEAR, tokens, wide=False, byte=Byte.LOW)
            self.emitter.run(low, scores, out_byte=probabilities[1])
        for half in range(halves):
            self.emitter.plain_product(
                memory.cache.value_part(tokens),
                Region(Space.VALUES, layer, 1),
                memory.values(layer, self._kv_head(head)),
                probabilities[half],
                self._wide.mixed[turn][half],
            )

    def _mixed(self, head: int, plan: AttentionPlan) -> None:
        """Divide a head's mixture by the sum of its probabilities."""
        turn, length = head % 2, self.plan.memory.shape.head_size
        mixed, low = self._wide.mixed[turn]
        if plan.probability_bits == 14:
            both = Job(Operation.LINEAR, length, 1 << 7, 1, plan.sum_shift, source=Second.VECTOR)
            self.emitter.run(both, mixed, b=low, out=mixed)
        total = (Register.TOTAL_0, Register.TOTAL_1)[turn]
        self.emitter.step(Job(Operation.RECIPROCAL, scale=total, target=Register.SHARE))
        divide = Job(
            Operation.LINEAR,
            length,
            shift=plan.output_shift,
            scaled=True,
            scale=Register.SHARE,
            reduction=Reduction.MAGNITUDE,
            target=Register.MIXED,
            carry=head > 0,
        )
        self.emitter.run(divide, mixed, out=self._wide.attention + head * self._sizes.head)


def layer_ends(plan: ModelPlan, program: Program) -> list[int]:
    """Return the program counters of the instructions that give each layer's outputs."""
    wide = vector_buffer(plan.sizes, plan.memory.config)
    places = {"out": wide.hidden, "a": wide.hidden, "b": wide.down, "source": Second.VECTOR}
    return [
        pc
        for pc, one in zip(program.counters, program.instructions, strict=True)
        if one.unit is Unit.MISC and all(one[name] == place for name, place in places.items())
    ]


def _cache_job(length: int) -> Job:
    """Return the job that makes bytes of keys or values."""
    return Job(Operation.LINEAR, length, shift=CACHE_SHIFT, wide=False, byte=Byte.SATURATED)


def load_job(value: int, target: Register) -> Job:
    """Return the step that loads a constant.

    Raises:
        ConfigError: it has more significant bits than a factor.
    """
    most = signed_range(FACTOR_BITS)[1]
    shift = max(value.bit_length() - most.bit_length(), 0)
    if value >> shift << shift != value:
        raise ConfigError(
            f"an epsilon is {value}; a register is loaded with {most.bit_length()} significant bits"
        )
    return Job(Operation.LOAD, first=value >> shift, shift=shift, target=target)
