"""The rules of the front end: what each operator of PyTorch makes of what its arguments stand for.

There is a rule for each aten operator, and no pattern of several. Whatever only moves elements is
carried out on their numbers; what depends on positions alone is computed. What has no rule is
refused with the path of the module that it is in.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from golden.spec.errors import ConfigError
from hls_gen.front_end_attention import attention, rotary, sees_causally
from hls_gen.front_end_values import (
    TOKENS,
    Normal,
    Parameter,
    Spread,
    Squares,
    Term,
    Vector,
    whole,
)
from hls_gen.graph import (
    Activation,
    Add,
    Attention,
    Embedding,
    Function,
    LayerNorm,
    Linear,
    Multiply,
    Operator,
    PositionEmbedding,
    RmsNorm,
)

_MOVES = frozenset(
    {
        *("view", "reshape", "_unsafe_view", "transpose", "permute", "t", "flatten", "unflatten"),
        *("expand", "unsqueeze", "squeeze", "slice", "select", "narrow", "alias", "contiguous"),
        *("clone", "detach", "split", "split_with_sizes", "chunk", "unbind", "repeat_interleave"),
    }
)
"""Operators that move elements and change none."""

_CHECKS = frozenset({"_assert_tensor_metadata", "_assert_scalar", "_assert_async"})
"""Operators that compute nothing."""

Value = Any
"""What a node stands for: a class of `front_end_values`, or constants."""


class Refused(Exception):
    """A rule does not hold; the message says why."""


class Rules:
    """Finds the operators of a model, node by node.

    Args:
        positions: tokens of the exported text.
    """

    def __init__(self, positions: int) -> None:
        self.operators: list[Operator] = []
        self._positions = positions
        self._path = ""

    def value(
        self, node: torch.fx.Node, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> Value:
        """Return what a node of the exported graph stands for; its operators are added.

        Args:
            arguments, named: with values in place of nodes.

        Raises:
            ConfigError: no rule holds.
        """
        self._path = module_path(node)
        name = operator_name(node)
        if name in _CHECKS:
            return None
        try:
            if node.target is operator.getitem:
                return arguments[0][arguments[1]]
            if is_constant((arguments, named)):
                return _computed(node, arguments, named)
            if name in _MOVES:
                return self._moved(node, arguments, named)
            rule: Callable[..., Value] | None = getattr(self, f"_on_{name}", None)
            if rule is None:
                raise Refused("is not supported")
            return rule(*arguments, **named)
        except Refused as reason:
            where = self._path or "the model"
            raise ConfigError(
                f"{where}: aten.{name} {reason}; models like LLaMA and OPT can be read"
            ) from None

    def result(self, value: Value) -> None:
        """Take note of what the model gives.

        Raises:
            ConfigError: that is not all of its last operator's output.
        """
        whole_output = isinstance(value, Vector) and value.is_whole
        if not whole_output or value.source != len(self.operators) - 1:
            raise ConfigError("the model does not give its last operator's output; logits are that")

    def _add(self, made: Operator, *shape: int) -> Vector:
        self.operators.append(made)
        return whole(len(self.operators) - 1, *shape)

    def _whole(self, value: Value) -> int:
        """Return the operator whose output a vector is, all of it and in its order."""
        if not isinstance(value, Vector):
            raise Refused(f"reads {_said(value)} where a vector is expected")
        if value.is_multiplied:
            raise Refused("reads a vector that is multiplied with constants")
        if not value.is_whole:
            raise Refused("reads a part of a vector, or one whose elements are moved")
        return value.source

    def _moved(self, node: torch.fx.Node, arguments: tuple[Any, ...], named: Any) -> Value:
        vector, *rest = arguments
        if not isinstance(vector, Vector):
            raise Refused(f"reads {_said(vector)} where a vector is expected")
        target: Any = node.target
        if target in (torch.ops.aten.contiguous.default, torch.ops.aten.clone.default):
            return vector
        terms = [
            (target(term.index, *rest, **named), target(term.factor, *rest, **named))
            for term in vector.terms
        ]
        if isinstance(terms[0][0], torch.Tensor):
            return _with_terms(vector, terms)
        return tuple(
            _with_terms(vector, [(index[k], factor[k]) for index, factor in terms])
            for k in range(len(terms[0][0]))
        )

    def _on_to(self, value: Value, *_: Any, **__: Any) -> Value:
        return value

    def _on__to_copy(self, value: Value, **_: Any) -> Value:
        return value

    def _on_dropout(self, value: Value, rate: float, training: bool) -> Value:
        if training:
            raise Refused("is of a model in training; call eval() first")
        return value

    def _on_neg(self, value: Value) -> Value:
        return self._on_mul(value, -1.0)

    def _on_cat(self, values: list[Value], dimension: int = 0) -> Value:
        vectors = [value for value in values if isinstance(value, Vector)]
        counts = {(value.source, len(value.terms)) for value in vectors}
        if len(vectors) < len(values) or len(counts) > 1:
            raise Refused("joins what does not come from one operator")
        return _with_terms(
            vectors[0],
            [
                (
                    torch.cat([term.index for term in together], dimension),
                    torch.cat([term.factor for term in together], dimension),
                )
                for together in zip(*(value.terms for value in vectors), strict=True)
            ],
        )

    def _on_embedding(self, table: Value, places: Value, *_: Any) -> Value:
        if not isinstance(table, Parameter):
            raise Refused(f"looks up {_said(table)}")
        rows, features = table.shape
        positions = self._positions
        if isinstance(places, torch.Tensor):
            offset = int(places.flatten()[0])
            if not torch.equal(places.flatten(), torch.arange(positions) + offset):
                raise Refused("looks up rows that are not those of the positions")
            made: Operator = PositionEmbedding(
                self._path, (), (features,), table.name, rows, offset
            )
        elif self._whole(places) == TOKENS:
            made = Embedding(self._path, (), (features,), table.name, rows)
        else:
            raise Refused("looks up what is not a token's number")
        return self._add(made, 1, positions, features)

    def _on_linear(self, value: Value, weight: Value, bias: Value = None) -> Value:
        if not isinstance(weight, Parameter) or not isinstance(bias, Parameter | None):
            raise Refused("has a weight or bias that is not a parameter")
        source = self._whole(value)
        rows = weight.shape[0]
        name = bias.name if isinstance(bias, Parameter) else None
        made = Linear(self._path, (source,), (rows,), weight.name, name)
        return self._add(made, *value.shape[:-1], rows)

    def _on_layer_norm(
        self,
        value: Value,
        shape: list[int],
        weight: Value = None,
        bias: Value = None,
        epsilon: float = 1e-5,
        _: bool = True,
    ) -> Value:
        if len(shape) > 1 or not isinstance(weight, Parameter):
            raise Refused("has no weight, or goes over several dimensions")
        name = bias.name if isinstance(bias, Parameter) else None
        source = self._whole(value)
        made = LayerNorm(
            self._path, (source,), self._token(value), weight.name, name, float(epsilon)
        )
        return self._add(made, *value.shape)

    def _on_rms_norm(
        self, value: Value, shape: list[int], weight: Value = None, epsilon: float | None = None
    ) -> Value:
        if len(shape) > 1 or not isinstance(weight, Parameter):
            raise Refused("has no weight, or goes over several dimensions")
        if epsilon is None:
            epsilon = torch.finfo(torch.float32).eps
        return self._rms_norm(Normal(value, epsilon), weight)

    def _rms_norm(self, normal: Normal, weight: Parameter) -> Vector:
        source, shape = self._whole(normal.of), self._token(normal.of)
        if weight.shape != shape[-1:]:
            raise Refused(f"multiplies a norm with a weight of {weight.shape}")
        made = RmsNorm(self._path, (source,), shape, weight.name, normal.epsilon)
        return self._add(made, *normal.of.shape)

    def _on_pow(self, value: Value, exponent: float) -> Value:
        if not isinstance(value, Vector) or exponent != 2:
            raise Refused(f"with the exponent {exponent} is not supported")
        return Squares(value)

    def _on_mean(self, value: Value, over: list[int], keep: bool = False, **_: Any) -> Value:
        if not isinstance(value, Squares) or over != [-1] or not keep:
            raise Refused("is not that of a vector's squares")
        return Squares(value.of, mean=True)

    def _on_rsqrt(self, value: Value) -> Value:
        if not isinstance(value, Spread):
            raise Refused("is not that of the mean of a vector's squares")
        return Spread(value.of, value.epsilon, inverse=True)

    def _on_add(self, one: Value, other: Value, *, alpha: float = 1) -> Value:
        if alpha != 1:
            raise Refused(f"with the factor {alpha} is not supported")
        if isinstance(one, Squares) and one.mean and isinstance(other, float):
            return Spread(one.of, other)
        if not isinstance(one, Vector) or not isinstance(other, Vector):
            raise Refused(f"of {_said(one)} and {_said(other)} is not supported")
        if one.source == other.source:  # in a rotation
            return replace(one, terms=(*one.terms, *other.terms))
        sources = self._whole(one), self._whole(other)
        return self._add(Add(self._path, sources, self._token(one)), *one.shape)

    def _on_mul(self, one: Value, other: Value) -> Value:
        if isinstance(other, Parameter) or is_constant(one):
            one, other = other, one
        if isinstance(one, Parameter) and isinstance(other, Normal):
            return self._rms_norm(other, one)
        if isinstance(one, Vector) and is_constant(other):
            return one.times(other)
        if isinstance(other, Vector) and isinstance(one, Spread):
            one, other = other, one
        if isinstance(one, Vector) and isinstance(other, Spread) and other.inverse:
            if self._whole(one) != self._whole(other.of):
                raise Refused("takes the norm of another vector")
            return Normal(one, other.epsilon)
        if not isinstance(one, Vector) or not isinstance(other, Vector):
            raise Refused(f"of {_said(one)} and {_said(other)} is not supported")
        sources = self._whole(one), self._whole(other)
        return self._add(Multiply(self._path, sources, self._token(one)), *one.shape)

    def _on_silu(self, value: Value) -> Value:
        return self._activation(value, Function.SILU)

    def _on_relu(self, value: Value) -> Value:
        return self._activation(value, Function.RELU)

    def _on_gelu(self, value: Value, *, approximate: str = "none") -> Value:
        return self._activation(
            value, Function.GELU if approximate == "none" else Function.GELU_TANH
        )

    def _activation(self, value: Value, function: Function) -> Vector:
        source = self._whole(value)
        made = Activation(self._path, (source,), self._token(value), function)
        return self._add(made, *value.shape)

    def _on_scaled_dot_product_attention(
        self,
        queries: Value,
        keys: Value,
        values: Value,
        mask: Value = None,
        dropout: float = 0.0,
        is_causal: bool = False,
        *,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Value:
        vectors = [queries, keys, values]
        if not all(isinstance(one, Vector) for one in vectors):
            raise Refused("reads what is not a vector")
        if dropout or not sees_causally(mask, is_causal, self._positions):
            raise Refused("has a mask that is not causal, or dropout")
        try:
            found = attention(queries, keys, values, enable_gqa)
        except ValueError as reason:
            raise Refused(str(reason)) from None
        sources = []
        for source, heads, rotation in found.inputs:
            if rotation is not None:
                made = rotary(self._path, source, heads, rotation)
                self.operators.append(made)
                source = len(self.operators) - 1
            sources.append(source)
        heads, size = queries.shape[1], queries.shape[3]
        scale = (size**-0.5 if scale is None else scale) * found.scale
        made_attention = Attention(
            self._path, tuple(sources), (heads * size,), heads, found.kv_heads, size, scale
        )
        output = self._add(made_attention, 1, self._positions, heads, size)
        return output.moved(lambda x: x.transpose(1, 2))

    def _token(self, value: Vector) -> tuple[int, ...]:
        """Return the shape of one token's part of a vector whose elements are in order."""
        shape = list(value.shape)
        count = 1
        while shape and count < self._positions:
            count *= shape.pop(0)
        if count != self._positions:
            raise Refused("reads a vector in which a token's elements do not lie side by side")
        return tuple(shape)


def _with_terms(vector: Vector, terms: list[tuple[torch.Tensor, torch.Tensor]]) -> Vector:
    """Return a vector of the same operator with other elements, and their factors."""
    return replace(vector, terms=tuple(Term(index, factor) for index, factor in terms))


def module_path(node: torch.fx.Node) -> str:
    """Return the path of the innermost module that a node belongs to."""
    stack: Mapping[str, Any] = node.meta.get("nn_module_stack") or {}
    paths = [entry[0] for entry in stack.values()]
    return paths[-1] if paths else ""


def operator_name(node: torch.fx.Node) -> str:
    """Return the name of a node's operator without its overload, as "add"."""
    return str(getattr(node.target, "__name__", node.target)).split(".")[0]


def is_constant(value: Any) -> bool:
    """Return whether no vector and no parameter is in a value."""
    if isinstance(value, tuple | list):
        return all(map(is_constant, value))
    if isinstance(value, dict):
        return all(map(is_constant, value.values()))
    return not isinstance(value, Vector | Parameter | Squares | Spread | Normal)


def _computed(node: torch.fx.Node, arguments: tuple[Any, ...], named: dict[str, Any]) -> Value:
    """Compute what depends on positions alone, on the CPU."""
    cpu = torch.device("cpu")

    def here(value: Any) -> Any:
        return cpu if isinstance(value, torch.device) else value

    target: Any = node.target
    return target(*map(here, arguments), **{key: here(value) for key, value in named.items()})


def _said(value: Value) -> str:
    names = {
        Vector: "a vector",
        Parameter: "a parameter",
        Squares: "a vector's squares",
        Spread: "a norm's scale",
        Normal: "a norm without its weight",
    }
    return names.get(type(value), "a constant")
