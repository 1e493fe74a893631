"""One decode step as a sequence of matrix-vector products, whatever machine runs it."""

from dataclasses import dataclass

from golden.model_shapes import Linear, ModelShape

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
        cached: 0 when the matrices are weights; else they are keys or values, and this is how many
            vectors of one head and one position they hold together.
    """

    name: str
    part: str
    rows: int
    inputs: int
    matrices: int = 1
    vectors: int = 1
    cached: int = 0

    @property
    def elements(self) -> int:
        """Elements of all matrices."""
        return self.rows * self.inputs * self.matrices

    @property
    def products(self) -> int:
        """Multiply-accumulates, zeros included."""
        return self.elements * self.vectors


def decode_step(model: ModelShape, context: int) -> list[Operator]:
    """Return the operators of one decode step over `context` cached positions, in order of use."""

    def weights(part: str, linear: Linear) -> Operator:
        return Operator(linear.name, part, linear.rows, linear.inputs)

    def attention(name: str, rows: int, inputs: int) -> Operator:
        heads = model.kv_heads
        shared_by = model.heads // heads
        return Operator(name, ATTENTION, rows, inputs, heads, shared_by, heads * context)

    q, k, v, o, gate, up, down = model.layer_linears()
    layer = [
        *(weights(PROJECTIONS, linear) for linear in (q, k, v)),
        attention("scores", context, model.head_size),
        attention("values", model.head_size, context),
        weights(PROJECTIONS, o),
        *(weights(FEED_FORWARD, linear) for linear in (gate, up, down)),
    ]
    return layer * model.layers + [weights(HEAD, model.head_linear())]
