"""A decoder of a model's shape with made-up weights, in PyTorch: what `nandu measure-gpu` times.

Which numbers the weights hold does not change how long a dense pass takes. There are norms, rotary
positions where the model is gated (LLaMA's kind), a static cache and PyTorch's fused attention
(SDPA); a decode step reads its position from the device, so that it can be captured as a graph.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from golden.model_shapes import Linear, ModelShape

INT8_ROWS = 32
"""Rows that the INT8 product is padded to: cuBLAS takes more than 16, in multiples of 8."""

Multiply = Callable[[Tensor], Tensor]


def _made(linear: Linear, device: str, kind: torch.dtype, generator: torch.Generator) -> Tensor:
    shape = linear.rows, linear.inputs
    weights = torch.empty(shape, device=device, dtype=kind)
    return weights.normal_(0, linear.inputs**-0.5, generator=generator)


def dense(weights: Tensor) -> Multiply:
    """Return a product with float weights, (rows, inputs)."""
    return lambda values: functional.linear(values, weights)


def int8(weights: Tensor) -> Multiply:
    """Return a product in INT8 (W8A8): a scale for each row of weights, and for each token."""
    scales = weights.abs().amax(1).float() / 127
    codes = (weights / scales[:, None]).round().to(torch.int8).t()

    def multiply(values: Tensor) -> Tensor:
        rows = values.reshape(-1, values.shape[-1])
        own = (rows.abs().amax(1, keepdim=True).float() / 127).clamp(min=1e-8)
        short = -len(rows) % INT8_ROWS
        whole = functional.pad((rows / own).round().to(torch.int8), (0, 0, 0, short))
        sums = torch._int_mm(whole, codes)[: len(rows)]
        return (sums * own * scales).to(values.dtype).reshape(*values.shape[:-1], -1)

    return multiply


class Decoder:
    """A model's shape, ready for `batch` sequences of up to `longest` tokens.

    Attributes:
        position: where the next decode step writes, one number on the device.
    """

    def __init__(
        self,
        model: ModelShape,
        batch: int,
        longest: int,
        device: str,
        kind: torch.dtype,
        as_int8: bool = False,
        seed: int = 0,
    ) -> None:
        self.model, self.longest = model, longest
        generator = torch.Generator(device).manual_seed(seed)
        wrap = int8 if as_int8 else dense
        self.layers = [
            {
                linear.name: wrap(_made(linear, device, kind, generator))
                for linear in model.layer_linears()
            }
            for _ in range(model.layers)
        ]
        head = _made(model.head_linear(), device, kind, generator)
        self.head, self.embedding = wrap(head), head
        cache = batch, model.kv_heads, longest, model.head_size
        self.caches = [
            tuple(torch.zeros(cache, device=device, dtype=kind) for _ in range(2))
            for _ in range(model.layers)
        ]
        self.norm = torch.ones(model.hidden, device=device, dtype=kind)
        self.places = torch.arange(longest, device=device)
        self.position = torch.zeros(1, device=device, dtype=torch.long)
        self.turns = self._angles(device)

    def _angles(self, device: str) -> Tensor:
        """Return the angles of rotary positions: (longest, head_size / 2)."""
        half = self.model.head_size // 2
        rates = 10_000.0 ** (-torch.arange(half, device=device) / half)
        return self.places[:, None] * rates

    def prefill(self, tokens: Tensor) -> Tensor:
        """Read prompts, (batch, length), and return the next token of each, (batch, 1)."""
        places = self.places[: tokens.shape[1]]
        found = self._forward(tokens, places, None)
        self.position.fill_(tokens.shape[1])
        return found

    def step(self, tokens: Tensor) -> Tensor:
        """Do a decode step with the last token of each sequence, (batch, 1); return the next."""
        seen = (self.places <= self.position)[None, None, None, :]
        found = self._forward(tokens, self.position, seen)
        self.position += 1
        return found

    def _forward(self, tokens: Tensor, places: Tensor, seen: Tensor | None) -> Tensor:
        """Return the next tokens; `seen` says which cached positions count, None for a prompt."""
        values = functional.embedding(tokens, self.embedding)
        for layer, cache in zip(self.layers, self.caches, strict=True):
            normed = self._normed(values)
            attended = layer["o_proj"](self._attend(layer, cache, normed, places, seen))
            if self.model.parallel:
                values = values + attended + self._feed_forward(layer, normed)
            else:
                values = values + attended
                values = values + self._feed_forward(layer, self._normed(values))
        return self.head(self._normed(values[:, -1:])).argmax(-1)

    def _normed(self, values: Tensor) -> Tensor:
        return functional.rms_norm(values, self.norm.shape, self.norm)

    def _attend(
        self,
        layer: dict[str, Multiply],
        cache: tuple[Tensor, ...],
        values: Tensor,
        places: Tensor,
        seen: Tensor | None,
    ) -> Tensor:
        queries, keys, own = (self._heads(layer[f"{name}_proj"](values)) for name in "qkv")
        if self.model.gated:
            queries, keys = self._turned(queries, places), self._turned(keys, places)
        for held, new in zip(cache, (keys, own), strict=True):
            held.index_copy_(2, places, new)
        if seen is not None:
            keys, own = cache
        shared = self.model.heads != self.model.kv_heads
        attended = functional.scaled_dot_product_attention(
            queries, keys, own, attn_mask=seen, is_causal=seen is None, enable_gqa=shared
        )
        return attended.transpose(1, 2).flatten(2)

    def _heads(self, values: Tensor) -> Tensor:
        return values.unflatten(-1, (-1, self.model.head_size)).transpose(1, 2)

    def _turned(self, values: Tensor, places: Tensor) -> Tensor:
        turns = self.turns[places]
        cosine, sine = turns.cos().to(values.dtype), turns.sin().to(values.dtype)
        left, right = values.chunk(2, -1)
        return torch.cat((left * cosine - right * sine, right * cosine + left * sine), -1)

    def _feed_forward(self, layer: dict[str, Multiply], values: Tensor) -> Tensor:
        up = layer["up_proj"](values)
        if self.model.gated:
            up = functional.silu(layer["gate_proj"](values)) * up
        else:
            up = functional.relu(up)
        return layer["down_proj"](up)
