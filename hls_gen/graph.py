"""The typed operator graph of a causal language model: what it computes, free of any framework.

An operator says which operators' outputs it reads, what one token's output looks like, and the path
of the module in the float model that it came from. The numbers of a graph's operators are their
places: one reads only what comes before it, and the last one gives the logits.
"""

from dataclasses import dataclass, fields
from enum import Enum
from typing import ClassVar


class Function(Enum):
    """Activation functions."""

    SILU = "silu"
    GELU = "gelu"
    GELU_TANH = "gelu_tanh"
    """GELU with a hyperbolic tangent in place of the normal distribution's function."""
    RELU = "relu"


@dataclass(frozen=True)
class Operator:
    """One step for each token.

    Attributes:
        path: of its module in the float model, as "model.layers.3.mlp.up_proj".
        inputs: numbers of the operators that it reads.
        shape: of one token's output: [features], or [heads, head_size].
    """

    kind: ClassVar[str]
    path: str
    inputs: tuple[int, ...]
    shape: tuple[int, ...]

    def __str__(self) -> str:
        """Return one line: kind, what it reads, its shape, its own fields and its path."""
        common = {field.name for field in fields(Operator)}
        own = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name not in common
        }
        reads = ", ".join(f"%{number}" for number in self.inputs)
        size = "x".join(map(str, self.shape))
        said = "".join(f" {name}={_text(value)}" for name, value in own.items())
        return f"{self.kind}({reads}) [{size}]{said}  # {self.path}"


@dataclass(frozen=True)
class Embedding(Operator):
    """The token's row of a table; `weight` is the table's name, of `rows` rows."""

    kind: ClassVar[str] = "embedding"
    weight: str
    rows: int


@dataclass(frozen=True)
class PositionEmbedding(Operator):
    """The row of a learned table that lies `offset` behind the token's position."""

    kind: ClassVar[str] = "position_embedding"
    weight: str
    rows: int
    offset: int


@dataclass(frozen=True)
class Linear(Operator):
    """A weight matrix, `shape` x inputs, and a bias if it has a name."""

    kind: ClassVar[str] = "linear"
    weight: str
    bias: str | None


@dataclass(frozen=True)
class RmsNorm(Operator):
    """x / sqrt(mean(x^2) + epsilon) * weight, over the last dimension."""

    kind: ClassVar[str] = "rms_norm"
    weight: str
    epsilon: float


@dataclass(frozen=True)
class LayerNorm(Operator):
    """(x - mean) / sqrt(variance + epsilon) * weight + bias, over the last dimension."""

    kind: ClassVar[str] = "layer_norm"
    weight: str
    bias: str | None
    epsilon: float


@dataclass(frozen=True)
class Rotary(Operator):
    """Turns the pairs of each head by the token's position times their rates.

    Attributes:
        rates: radians per position, one for each pair.
        side_by_side: a pair is (2i, 2i + 1); else it is (i, i + head_size / 2).
    """

    kind: ClassVar[str] = "rotary"
    rates: tuple[float, ...]
    side_by_side: bool


@dataclass(frozen=True)
class Attention(Operator):
    """softmax(scale * Q K^T) V, causal; it reads queries, keys and values.

    `kv_heads` divides `heads`: query head h reads the keys h // (heads / kv_heads).
    """

    kind: ClassVar[str] = "attention"
    heads: int
    kv_heads: int
    head_size: int
    scale: float


@dataclass(frozen=True)
class Activation(Operator):
    """An activation function of each element."""

    kind: ClassVar[str] = "activation"
    function: Function


@dataclass(frozen=True)
class Multiply(Operator):
    """The product of two vectors, element by element."""

    kind: ClassVar[str] = "multiply"


@dataclass(frozen=True)
class Add(Operator):
    """The sum of two vectors."""

    kind: ClassVar[str] = "add"


@dataclass(frozen=True)
class Graph:
    """The operators of a model, in the order in which they can be computed."""

    operators: tuple[Operator, ...]

    def __str__(self) -> str:
        """Return one line for each operator."""
        return "".join(f"%{number} = {one}\n" for number, one in enumerate(self.operators))

    def readers(self, number: int) -> list[int]:
        """Return the numbers of the operators that read an operator's output."""
        return [place for place, one in enumerate(self.operators) if number in one.inputs]


def _text(value: object) -> str:
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, tuple):
        return f"[{value[0]:g} .. {value[-1]:g}]"
    return f"{value:g}" if isinstance(value, float) else str(value)
