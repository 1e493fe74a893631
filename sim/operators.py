"""A pass through the model as a sequence of matrix products, whatever machine runs it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import log2

from golden.model_shapes import Linear, ModelShape
from sim.workload import Pass

PROJECTIONS = "attention projections"
ATTENTION = "KV attention"
FEED_FORWARD = "feed-forward"
HEAD = "head"
VALUES = "values"
"""How the name of an operator on cached values ends; it has a position's numbers in a column."""


@dataclass(frozen=True)
class Operator:
    """Products of `matrices` matrices of one shape with `vectors` vectors each.

    Attributes:
        name: what it is; part: the class it is reported under.
        rows, inputs: the shape of each matrix.
        joins: whether its inputs are what earlier operators of the layer gave, head by head or row
            by row. So devices that share the layer have to add up what it gives.
        bits: of one element in memory where a technique says so; None for the system's own format.
        scale_bits: beside them for each element, for scales; a system whose format has scales of
            its own counts those instead.
        kept: the share of the elements that are stored and multiplied.
        pattern: (N, M) where N of every M neighbours in a row are kept; then kept is N / M.
        cached: 0 when the matrices are weights; else they are keys or values, and this is how many
            vectors of one head and one position they hold together.
    """

    name: str
    part: str
    rows: int
    inputs: int
    matrices: int = 1
    vectors: float = 1
    cached: int = 0
    joins: bool = False
    bits: float | None = None
    scale_bits: float = 0.0
    kept: float = 1.0
    pattern: tuple[int, int] | None = None

    @property
    def elements(self) -> int:
        """Elements of all matrices."""
        return self.rows * self.inputs * self.matrices

    @property
    def products(self) -> float:
        """Multiply-accumulates, zeros included."""
        return self.elements * self.vectors

    @property
    def needed(self) -> float:
        """Multiply-accumulates with what is kept."""
        return self.products * self.kept

    @property
    def index_bits(self) -> float:
        """Bits that say which of M a kept element is."""
        return log2(self.pattern[1]) if self.pattern else 0.0

    def stored_bits(self, bits: float) -> float:
        """Return the bits that all its matrices take, where an element has `bits` by default."""
        own = bits if self.bits is None else self.bits
        return self.elements * self.kept * (own + self.scale_bits + self.index_bits)


@dataclass(frozen=True)
class Forward:
    """A pass: `layer` is done `layers` times, then `tail` once."""

    layer: tuple[Operator, ...]
    layers: int
    tail: tuple[Operator, ...]

    def __iter__(self) -> Iterator[Operator]:
        """Yield every operator in the order of use."""
        for _ in range(self.layers):
            yield from self.layer
        yield from self.tail


def mean_bits(operators: Sequence[Operator], bits: float) -> float:
    """Return the mean bits of an element, kept or not, where one has `bits` by default."""
    if all(one.bits is None and one.kept == 1.0 for one in operators):
        return bits
    elements = sum(one.elements for one in operators)
    return sum(one.stored_bits(bits) for one in operators) / elements


@cache
def _linears(model: ModelShape) -> tuple[Linear, ...]:
    return model.layer_linears()


@cache
def _head(model: ModelShape) -> Linear:
    return model.head_linear()


def forward(model: ModelShape, job: Pass) -> Forward:
    """Return the operators of a pass; of a prompt, the head works on the last token only."""

    def weights(part: str, linear: Linear, vectors: float) -> Operator:
        joins = linear.name in ("o_proj", "down_proj")
        return Operator(linear.name, part, linear.rows, linear.inputs, 1, vectors, joins=joins)

    def attention(name: str, rows: int, inputs: int) -> Operator:
        matrices = model.kv_heads * job.batch
        # A position is seen by the tokens after it only.
        vectors = model.heads // model.kv_heads * job.new * job.seen / job.context
        return Operator(name, ATTENTION, rows, inputs, matrices, vectors, matrices * job.context)

    q, k, v, o, *feed_forward = _linears(model)
    layer = (
        *(weights(PROJECTIONS, linear, job.tokens) for linear in (q, k, v)),
        attention("scores", job.context, model.head_size),
        attention(VALUES, model.head_size, job.context),
        weights(PROJECTIONS, o, job.tokens),
        *(weights(FEED_FORWARD, linear, job.tokens) for linear in feed_forward),
    )
    read = job.batch if job.prompt else job.batch * job.new
    return Forward(layer, model.layers, (weights(HEAD, _head(model), read),))
