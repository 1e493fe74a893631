"""The program of some tokens: every function of `golden.transformer`, as instructions.

Vectors stay on the chip from the embedding's rows to the logits; beside weights and the cache only
norms and rotations are loaded. A matrix is loaded once for all tokens.
"""

from collections.abc import Iterator, Sequence

from golden.numbers import signed_range
from golden.spec.errors import ConfigError
from golden.spec.isa import Unit
from golden.spec.special_function_unit import FACTOR_BITS, Job, Operation, Reduction, Second
from golden.special_functions.sequences import rms_norm_jobs
from golden.transformer import NORM_SHIFT, Residual
from hls_gen.attention_program import AttentionProgram
from hls_gen.buffers import Places, vector_buffer
from hls_gen.chunk import Chunk, Register, dequantise
from hls_gen.emitter import Task
from hls_gen.memory_map import Base
from hls_gen.plan import AttentionPlan, FeedForwardPlan, Linear, ModelPlan
from hls_gen.program import Program

EPSILON = Register.OTHER
"""Register of a norm's epsilon."""


class TokenProgram:
    """Adds what is done with some tokens to a program, in its order.

    Args:
        norms: the numbers of the norms to come, in their order; see `MemoryMap.gamma`.
    """

    def __init__(self, chunk: Chunk, norms: Sequence[int]) -> None:
        self._chunk, self._memory = chunk, chunk.memory
        self._wide, self._bytes, self._sizes = chunk.wide, chunk.bytes, chunk.sizes
        self._emitter, self._tokens = chunk.emitter, chunk.tokens
        self._hidden = chunk.memory.shape.hidden
        self._norms = norms
        self._norms_done = 0
        self._begin()

    def _begin(self) -> None:
        """Load the tokens' vectors and what the norms and rotations need."""
        wide, sizes, memory = self._wide, self._sizes, self._memory
        for token in self._tokens:
            self._emitter.load(Base.ROW + token, 0, sizes.hidden, wide.hidden[token])
        self._load_gamma()
        rotations = memory.rotation(self._chunk.position)
        for heads, places in (
            (sizes.kv_heads, wide.key_rotations),
            (sizes.group, wide.query_rotations),
        ):
            self._emitter.load(
                Base.ROTATIONS,
                rotations,
                sizes.head,
                places.start,
                times=heads,
                vectors=len(self._tokens),
            )
        for token in self._tokens:
            magnitude = Job(
                Operation.LINEAR,
                self._hidden,
                wide=False,
                reduction=Reduction.MAGNITUDE,
                target=Register.TOKEN + token,
            )
            self._emitter.run(Task(magnitude, wide.hidden[token]))

    def layer(self, number: int) -> None:
        """Add a decoder layer."""
        plan, wide = self._chunk.plan.layers[number], self._wide
        self._norm(plan.attention_epsilon)
        self._attend(number, plan.attention)
        self._residual(plan.attention_residual, plan.attention.output, wide.attention_output)
        self._norm(plan.feed_forward_epsilon)
        self._feed_forward(plan.feed_forward)
        self._residual(plan.feed_forward_residual, plan.feed_forward.down, wide.down)

    def head(self) -> None:
        """Add the last token's logits, in parts: while one is stored the next one is computed."""
        last, memory = self._tokens[-1], self._memory
        self._norm(self._chunk.plan.head_epsilon, [last])
        inputs = self._bytes.inputs.moved(last * self._bytes.inputs.size)
        offset = memory.logits - memory.outputs
        for number, linear in enumerate(self._chunk.plan.head):
            (product,), (part,) = linear.products, linear.parts
            out = self._wide.logits[number % 2]
            self._emitter.product(product, inputs, Places(out, 0))
            self._emitter.run(dequantise(part, last, Places(out, 0)))
            self._emitter.store(out, part.rows, Base.OUTPUTS, offset)
            offset += memory.vector_bytes(part.rows)

    def store_hidden(self) -> None:
        """Store the vectors between the layers, for whoever wants to see them."""
        size = self._memory.vector_bytes(self._hidden)
        for token in self._tokens:
            start = self._wide.hidden[token]
            self._emitter.store(start, self._hidden, Base.OUTPUTS, token * size)

    def program(self) -> Program:
        """Return the program, with an END."""
        return self._emitter.program()

    def _load_gamma(self) -> None:
        """Load the factors of the next norm, while this one is still in use."""
        if self._norms_done < len(self._norms):
            self._emitter.load(
                Base.TABLES,
                self._memory.gamma(self._norms[self._norms_done]),
                self._sizes.hidden,
                self._wide.gammas[self._norms_done % 2],
            )

    def _norm(self, epsilon: int, tokens: Sequence[int] | None = None) -> None:
        """Normalise the vectors between the layers; their bytes are the next product's inputs."""
        wide, gamma = self._wide, self._wide.gammas[self._norms_done % 2]

        def normalised(token: int, slot: int) -> Iterator[Task]:
            mine, work = Register.TOKEN + token, Register.WORK + slot
            hidden, normal = wide.hidden[token], wide.normal[slot]
            jobs = rms_norm_jobs(self._hidden, mine, EPSILON, work, NORM_SHIFT)
            scale, squares, root, apply = jobs
            yield Task(scale)
            yield Task(squares, hidden)
            yield Task(root)
            yield Task(apply, hidden, gamma, normal)
            places = normal, self._bytes.inputs[token]
            yield from self._chunk.quantise(self._hidden, work, mine, work, *places)

        self._emitter.run(Task(load_job(epsilon, EPSILON)))
        self._chunk.in_turn(self._tokens if tokens is None else tokens, normalised)
        self._norms_done += 1

    def _residual(self, residual: Residual, linear: Linear, outputs: Places) -> None:
        """Add a layer's outputs to the vectors between the layers, and find their magnitudes."""
        (part,) = linear.parts

        def added(token: int, _: int) -> Iterator[Task]:
            hidden = self._wide.hidden[token]
            job = Job(
                Operation.LINEAR,
                self._hidden,
                residual.first,
                residual.second,
                residual.shift,
                source=Second.VECTOR,
                reduction=Reduction.MAGNITUDE,
                target=Register.TOKEN + token,
            )
            yield dequantise(part, token, outputs)
            yield Task(job, hidden, outputs[token] + part.strip, hidden)

        self._chunk.in_turn(self._tokens, added)

    def _attend(self, number: int, plan: AttentionPlan) -> None:
        self._chunk.product(plan.inputs, self._bytes.inputs, self._wide.queries_keys_values)
        self._load_gamma()
        AttentionProgram(self._chunk, number, plan).add()
        self._chunk.product(plan.output, self._bytes.attention, self._wide.attention_output)

    def _feed_forward(self, plan: FeedForwardPlan) -> None:
        wide, narrow = self._wide, self._bytes
        length = self._memory.shape.feed_forward
        first, shift = (1, plan.gate_shift) if plan.gate_shift >= 0 else (1 << -plan.gate_shift, 0)
        silu = Job(Operation.SILU, length, first, shift=shift)

        def gated(token: int, slot: int) -> Iterator[Task]:
            mine, work = Register.TOKEN + token, Register.WORK + slot
            gate, up = (dequantise(part, token, wide.gate_up) for part in plan.gate_up.parts)
            product = Job(
                Operation.PRODUCT,
                length,
                plan.product_first,
                reduction=Reduction.MAGNITUDE,
                target=mine,
            )
            yield gate
            yield up
            yield Task(silu, gate.a, out=gate.a)
            yield Task(product, gate.a, up.a, gate.a)
            yield from self._chunk.quantise(length, mine, mine, work, gate.a, narrow.gated[token])

        self._chunk.product(plan.gate_up, narrow.inputs, wide.gate_up)
        self._load_gamma()
        self._chunk.in_turn(self._tokens, gated)
        self._chunk.product(plan.down, narrow.gated, wide.down)


def layer_ends(plan: ModelPlan, program: Program) -> list[list[int]]:
    """Return the program counters of the instructions that give each layer's outputs.

    Returns:
        Of each layer, in the program's order, those of all tokens.
    """
    hidden = vector_buffer(plan.sizes, plan.memory.config).hidden
    ends: list[list[int]] = []
    for token in range(plan.memory.chunk):
        places = {"out": hidden[token], "a": hidden[token], "source": Second.VECTOR}
        residuals = [
            pc
            for pc, one in zip(program.counters, program.instructions, strict=True)
            if one.unit is Unit.MISC and all(one[name] == place for name, place in places.items())
        ]
        ends.append(residuals[1::2])  # behind the attention and behind the feed-forward network
    return [list(layer) for layer in zip(*filter(None, ends), strict=True)]


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
