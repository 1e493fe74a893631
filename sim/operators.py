"""A pass through the model as a sequence of matrix products, whatever machine runs it."""

from collections.abc import Iterator
from dataclasses import dataclass

from golden.model_shapes import Linear, ModelShape
from sim.workload import Pass

PROJECTIONS = "attention projections"
ATTENTION = "KV attention"
FEED_FORWARD = "feed-forward"
HEAD = "head"


@dataclass(frozen=True)
class Operator:
    """Products of `matrices` matrices of one shape with `vectors` vectors each.

    Attributes:
        name: what it is; part: the class it is reported under.
        rows, inputs: the shape of each matrix.
        joins: whether its inputs are what earlier operators of the layer gave, head by head or row
            by row. So devices that share the layer have to add up what it gives.
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

    @property
    def elements(self) -> int:
        """Elements of all matrices."""
        return self.rows * self.inputs * self.matrices

    @property
    def products(self) -> float:
        """Multiply-accumulates, zeros included."""
        return self.elements * self.vectors


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


def forward(model: ModelShape, job: Pass) -> Forward:
    """Return the operators of a pass; the head works on the last token of each sequence only."""

    def weights(part: str, linear: Linear, vectors: float) -> Operator:
        joins = linear.name in ("o_proj", "down_proj")
        return Operator(linear.name, part, linear.rows, linear.inputs, 1, vectors, joins=joins)

    def attention(name: str, rows: int, inputs: int) -> Operator:
        matrices = model.kv_heads * job.batch
        # A position is seen by the tokens after it only.
        vectors = model.heads // model.kv_heads * job.new * job.seen / job.context
        return Operator(name, ATTENTION, rows, inputs, matrices, vectors, matrices * job.context)

    q, k, v, o, *feed_forward = model.layer_linears()
    layer = (
        *(weights(PROJECTIONS, linear, job.tokens) for linear in (q, k, v)),
        attention("scores", job.context, model.head_size),
        attention("values", model.head_size, job.context),
        weights(PROJECTIONS, o, job.tokens),
        *(weights(FEED_FORWARD, linear, job.tokens) for linear in feed_forward),
    )
    return Forward(layer, model.layers, (weights(HEAD, model.head_linear(), job.batch),))
