"""How much a model's predictions change when a linear layer is pruned or has fewer bits.

The divergence of the next token's distribution that small changes D of a layer's weights cause is,
to second order and with the layer's outputs taken one by one (the Fisher information, in the
approximation of K-FAC, arXiv 1503.05671, with a diagonal for the outputs),

    1/2 * sum over rows r of  G_r * D_r H D_r^T          nats per token

with H = X^T X / tokens of the inputs, and G_r the mean square of the log-likelihood's gradient to
output r, for next tokens drawn from the model itself. Where later inputs make up for an error,
D_r H D_r^T becomes the sum of e^2 of `golden.compression_weights`. Only some strips of rows are
looked at; the others are taken to be like them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from golden.calibration import inputs_of
from golden.compression_plan import decoder_linears
from golden.compression_weights import group_steps, inverse_factor, rounded, saliency
from golden.language_model import LanguageModel
from golden.sparsity import block_grid, choose_keep, keep_mask
from golden.spec.expansion import WEIGHT_WIDTHS
from golden.spec.sparse_chain import SparseChainConfig

FRACTIONS = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
"""Kept fractions that a plan chooses among."""

_EACH = 4
"""One strip of so many is looked at."""


@dataclass(frozen=True)
class Sensitivity:
    """The divergence that formats of a linear layer are expected to cause, in nats per token.

    Attributes:
        bits: by the bits of a weight. kept: by the kept fraction.
    """

    bits: dict[int, float]
    kept: dict[float, float]

    def named(self) -> dict[str, float]:
        """Return the numbers as a plan's file holds them."""
        bits = {f"bits {width}": loss for width, loss in self.bits.items()}
        kept = {f"kept {part:g}": loss for part, loss in self.kept.items()}
        return {name: float(f"{loss:.3g}") for name, loss in (bits | kept).items()}


class _Statistics:
    """Sums over tokens of what enters and what leaves the linear layers.

    Attributes:
        moments: X^T X by the inputs' name, float32 [inputs, inputs].
        gradients: sums of squares of gradients by layer, float32 [rows].
    """

    def __init__(self) -> None:
        self.moments: dict[str, torch.Tensor] = {}
        self.gradients: dict[str, torch.Tensor] = {}
        self.tokens = 0

    def see(self, path: str, _: Any, arguments: tuple[torch.Tensor], output: torch.Tensor) -> None:
        """Take note of a layer's inputs, and of its outputs' gradients when they come."""
        if path.endswith(("q_proj", "o_proj", "gate_proj", "down_proj")):
            rows = arguments[0].detach().flatten(end_dim=-2)
            _add(self.moments, inputs_of(path), rows.T @ rows)
        output.register_hook(
            lambda gradient: _add(
                self.gradients, path, gradient.flatten(end_dim=-2).square().sum(dim=0)
            )
        )


def sensitivities(
    model: LanguageModel,
    tokens: torch.Tensor,
    group_size: int,
    progress: Callable[[float], None] = lambda part: None,
) -> dict[str, Sensitivity]:
    """Return the sensitivity of each decoder linear layer of a float model.

    Args:
        tokens: of texts, int64 [texts, tokens].
        group_size: inputs that share a scale.
    """
    seen = _statistics(model, tokens)
    paths = decoder_linears(model.linear_layers())
    found: dict[str, Sensitivity] = {}
    factors: dict[str, torch.Tensor] = {}
    for path in paths:
        site = inputs_of(path)
        if site not in factors:
            factors = {site: inverse_factor(seen.moments[site] / seen.tokens)}
        gradients = (seen.gradients[path] / seen.tokens).double()
        found[path] = _of_layer(model.weight(path), factors[site], gradients, group_size)
        progress(len(found) / len(paths))
    return found


def _statistics(model: LanguageModel, tokens: torch.Tensor) -> _Statistics:
    """Read texts forwards, draw next tokens, and go backwards."""
    seen, network = _Statistics(), model.network
    hooks = [
        network.get_submodule(path).register_forward_hook(partial(seen.see, path))
        for path in decoder_linears(model.linear_layers())
    ]
    # Gradients go through the model from the embedding's rows on; its weights need none.
    hooks.append(network.model.embed_tokens.register_forward_hook(_requires_gradient))
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    random = torch.Generator().manual_seed(0)
    try:
        for weight in trained:
            weight.requires_grad_(False)
        for text in tokens:
            logits = network(text[None], use_cache=False).logits[0]
            drawn = torch.multinomial(logits.detach().softmax(dim=-1), 1, generator=random)[:, 0]
            torch.nn.functional.cross_entropy(logits, drawn, reduction="sum").backward()
            seen.tokens += len(text)
    finally:
        for weight in trained:
            weight.requires_grad_(True)
        for hook in hooks:
            hook.remove()
    return seen


def _requires_gradient(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
    return output.detach().requires_grad_()


def _of_layer(
    weight: torch.Tensor, factor: torch.Tensor, gradients: torch.Tensor, group_size: int
) -> Sensitivity:
    """Return a layer's sensitivity.

    Args:
        weight: [rows, inputs]. gradients: G, float64 [rows].
    """
    looked_at = torch.arange(len(weight)) // SparseChainConfig().m % _EACH == 0
    share = float(gradients[looked_at].sum() / gradients.sum())
    weight, gradients = weight[looked_at].double(), gradients[looked_at] / share / 2
    diagonal = factor.diagonal()

    def losses(error: torch.Tensor) -> torch.Tensor:
        return gradients[:, None] * (error / diagonal).square()

    bits = {
        width: float(losses(weight - _rounded(weight, diagonal, width, group_size)).sum())
        for width in WEIGHT_WIDTHS
    }
    return Sensitivity(bits, _pruned(losses(weight), saliency(weight, factor)))


def _pruned(losses: torch.Tensor, scores: torch.Tensor) -> dict[float, float]:
    """Return the loss by the kept fraction.

    Args:
        losses: of each weight, when it is pruned, [rows, inputs]. scores: see `saliency`.
    """
    chain = SparseChainConfig()
    rows, inputs = losses.shape
    strips, blocks = block_grid(rows, inputs, chain)
    padded = (0, blocks * chain.m - inputs, 0, strips * chain.m - rows)

    def of_blocks(pruned: torch.Tensor) -> torch.Tensor:
        whole = torch.nn.functional.pad(losses * pruned, padded)
        return whole.reshape(strips, chain.m, blocks, chain.m).sum(dim=(1, 3))

    by_keep = torch.zeros(chain.m + 1, strips, blocks, dtype=torch.float64)
    for keep in (0, *chain.keeps):
        by_keep[keep] = of_blocks(~keep_mask(scores, torch.full((strips, blocks), keep), chain))
    found = {}
    for part in FRACTIONS:
        chosen = choose_keep(scores, part, chain)
        found[part] = float(by_keep.gather(0, chosen[None]).sum())
    return found


def _rounded(
    weight: torch.Tensor, diagonal: torch.Tensor, bits: int, group_size: int
) -> torch.Tensor:
    """Return weights as they are after rounding."""
    groups = []
    for some, own in zip(weight.split(group_size, dim=1), diagonal.split(group_size), strict=True):
        step = group_steps(some, own, bits)
        groups.append(rounded(some, step, bits) * step)
    return torch.cat(groups, dim=1)


def _add(sums: dict[str, torch.Tensor], name: str, value: torch.Tensor) -> None:
    sums[name] = sums[name] + value if name in sums else value
