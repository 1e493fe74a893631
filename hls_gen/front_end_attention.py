"""What an attention reads, told from its arguments' elements: heads, shared keys, rotations."""

from dataclasses import dataclass
from typing import Any

import torch

from hls_gen.front_end_values import Vector
from hls_gen.graph import Rotary

_CLOSE = 1e-5
"""Cosines and sines of float32 agree so far."""


@dataclass(frozen=True)
class Rotation:
    """As `graph.Rotary`."""

    rates: tuple[float, ...]
    side_by_side: bool


@dataclass(frozen=True)
class Found:
    """What an attention reads.

    Attributes:
        inputs: of queries, keys and values: the operator, the heads, and how they are rotated.
        scale: of the scores, that comes with queries and keys.
    """

    inputs: tuple[tuple[int, int, Rotation | None], ...]
    kv_heads: int
    scale: float


def attention(queries: Vector, keys: Vector, values: Vector, shares: bool) -> Found:
    """Return what an attention reads.

    Args:
        queries, keys, values: [1, heads, positions, head_size].
        shares: keys and values have fewer heads than queries, and are not repeated.

    Raises:
        ValueError: that is not all heads of one operator each, in their order.
    """
    heads = queries.shape[1]
    if not shares:
        keys, values = _without_repeats(keys), _without_repeats(values)
    kv_heads = keys.shape[1]
    if values.shape[1] != kv_heads or heads % kv_heads:
        raise ValueError(f"has {heads} heads of queries, {kv_heads} of keys")
    if len({queries.shape[3], keys.shape[3], values.shape[3]}) > 1:
        raise ValueError("has heads of several sizes")
    inputs, scale = [], 1.0
    for vector in (queries, keys, values):
        factor, rotation = _heads(vector)
        scale *= factor
        inputs.append((vector.source, vector.shape[1], rotation))
    if inputs[2][2] is not None or factor != 1:
        raise ValueError("has values that are rotated or multiplied")
    return Found(tuple(inputs), kv_heads, scale)


def sees_causally(mask: Any, is_causal: bool, positions: int) -> bool:
    """Return whether each position sees all up to its own."""
    if mask is None:
        return is_causal
    if is_causal or not isinstance(mask, torch.Tensor):
        return False
    seen = mask if mask.dtype == torch.bool else mask == 0
    if mask.dtype != torch.bool and not bool((mask[~seen] < -1e4).all()):
        return False
    causal = torch.ones(positions, positions, dtype=torch.bool).tril()
    return bool((seen == causal).all())


def rotary(path: str, source: int, heads: int, rotation: Rotation) -> Rotary:
    """Return the operator that rotates so many heads."""
    shape = (heads, 2 * len(rotation.rates))
    return Rotary(path, (source,), shape, rotation.rates, rotation.side_by_side)


def _without_repeats(vector: Vector) -> Vector:
    """Return each head once, where several heads side by side are the same."""
    heads = vector.shape[1]
    first = vector.terms[0].index
    times = next((k for k in range(1, heads) if not torch.equal(first[:, k], first[:, 0])), heads)
    once = vector.moved(lambda x: x[:, ::times])
    again = once.moved(lambda x: x.repeat_interleave(times, dim=1))
    for mine, theirs in zip(vector.terms, again.terms, strict=True):
        if mine.index.shape != theirs.index.shape or not (
            torch.equal(mine.index, theirs.index) and torch.equal(mine.factor, theirs.factor)
        ):
            raise ValueError("has heads that are repeated in no order")
    return once


def _heads(vector: Vector) -> tuple[float, Rotation | None]:
    """Return what all heads of an operator are multiplied with, and how they are rotated."""
    _, heads, positions, size = vector.shape
    if vector.size != heads * positions * size:
        raise ValueError("reads a part of an operator's output")
    own = torch.arange(vector.size).view(1, positions, heads, size).transpose(1, 2)
    mine = [term for term in vector.terms if torch.equal(term.index, own)]
    others = [term for term in vector.terms if not torch.equal(term.index, own)]
    if len(mine) != 1 or len(others) > 1:
        raise ValueError("reads heads that are not all of one operator's output, in their order")
    cosines = mine[0].factor
    if not others:
        factor = float(cosines.flatten()[0])
        if not bool((cosines == factor).all()):
            raise ValueError("reads heads whose elements have different factors")
        return factor, None
    half = size // 2
    swaps = {
        False: own.roll(half, dims=3),
        True: own.unflatten(3, (half, 2)).flip(4).flatten(3),
    }
    for side_by_side, swap in swaps.items():
        if torch.equal(others[0].index, swap):
            return _rotation(cosines, others[0].factor, side_by_side)
    raise ValueError("reads heads that are mixed in another way than by a rotation")


def _rotation(
    cosines: torch.Tensor, sines: torch.Tensor, side_by_side: bool
) -> tuple[float, Rotation]:
    """Return the common factor and the rates of x * cosines + partner * sines."""
    half = cosines.shape[3] // 2

    def halves(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        first, second = (x[..., 0::2], x[..., 1::2]) if side_by_side else x.split(half, dim=3)
        return first[0, 0], second[0, 0]

    (cos, cos_2), (minus, sin) = halves(cosines), halves(sines)
    factor = float(torch.hypot(cos[0, 0], sin[0, 0]))
    rates = torch.atan2(sin, cos)[1]
    angles = torch.arange(len(cos), dtype=torch.float64)[:, None] * rates
    true = {"cos": factor * angles.cos(), "sin": factor * angles.sin()}
    pairs = ((cos, true["cos"]), (cos_2, true["cos"]), (sin, true["sin"]), (-minus, true["sin"]))
    heads_agree = all(bool((x == x[:, :1]).all()) for x in (cosines, sines))
    if not heads_agree or any(float((x - y).abs().max()) > _CLOSE * factor for x, y in pairs):
        raise ValueError("rotates by angles that do not grow evenly with the position")
    return factor, Rotation(tuple(rates.tolist()), side_by_side)
