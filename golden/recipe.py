"""Recipes for an integer model: how its weights are quantised, pruned or carried over."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from golden import gguf_weights
from golden.compression_inputs import CompressedInputs
from golden.compression_plan import CompressionPlan, LinearFormat
from golden.compression_weights import compensated, saliency
from golden.integer_linear import ZERO_FRACTION_BITS, RealWeights
from golden.language_model import LanguageModel
from golden.quantise import quantise_groups
from golden.sparsity import choose_keep, importance, keep_mask, parse_sparsity, uniform_keep
from golden.spec.errors import ConfigError
from golden.spec.sparse_chain import SparseChainConfig
from golden.special_functions.functions import interleave

PROBABILITY_BITS = (7, 14)
"""Bits of an attention's probability: an INT8 value, or two of them, the halves."""


@dataclass(frozen=True)
class Recipe:
    """How a float model becomes an integer one.

    Attributes:
        carried: a GGUF file whose 4-bit codes are kept; then `bits`, `group_size` and the
            sparsity are the file's.
        plan: instead, a format for each linear layer, with errors made up for; then too those
            fields do not count. Without a plan weights are rounded to the nearest.
        bits: width of the decoder layers' weights: 2, 3, 4, 5, 6 or 8; the head's have 8.
        group_size: inputs that share a weight's scale, a multiple of 16, up to 448.
        smoothing: alpha of SmoothQuant, 0 to 1: how much of the inputs' ranges moves into the
            weights; 0 for none of it.
        sparsity: pattern of all blocks of the decoder layers' weights, as "8:16".
        kept: instead, the fraction of weights to keep, with an N for each block.
        probability_bits: 7 or 14.
        cache_headroom: the cache's range over the largest value on the calibration text.
        zero_fraction_bits: of carried zero points, 0 to 3.
        max_positions: tokens that the attention is made for.

    Raises:
        ConfigError: a field is outside its range, or does not go with another.
    """

    carried: Path | None = None
    plan: CompressionPlan | None = None
    bits: int = 8
    group_size: int = 192
    smoothing: float = 0.6
    sparsity: str | None = None
    kept: float | None = None
    probability_bits: int = 14
    cache_headroom: float = 1.1
    zero_fraction_bits: int = 3
    max_positions: int = 2048

    def __post_init__(self) -> None:
        LinearFormat(bits=self.bits, group_size=self.group_size)
        if self.zero_fraction_bits not in range(ZERO_FRACTION_BITS + 1):
            raise ConfigError(
                f"zero_fraction_bits is {self.zero_fraction_bits!r}; allowed are 0 to "
                f"{ZERO_FRACTION_BITS}"
            )
        if not 0 <= self.smoothing <= 1:
            raise ConfigError(f"smoothing is {self.smoothing!r}; allowed are 0 to 1")
        if self.probability_bits not in PROBABILITY_BITS:
            raise ConfigError(
                f"probability_bits is {self.probability_bits!r}; allowed are 7 and 14"
            )
        if self.cache_headroom < 1:
            raise ConfigError(f"cache_headroom is {self.cache_headroom!r}; 1 is the least")
        if self.max_positions not in (2**i for i in range(6, 13)):
            raise ConfigError(
                f"max_positions is {self.max_positions!r}; allowed are powers of two, 64 to 4096"
            )
        given = [self.carried, self.sparsity, self.kept, self.plan]
        if given.count(None) < len(given) - 1:
            raise ConfigError(
                "carried, plan, sparsity and kept exclude each other; give one of them"
            )

    def format_of(self, path: str) -> LinearFormat:
        """Return how a linear layer's weights are stored, where no file brings them along."""
        if self.plan is not None:
            return self.plan.format_of(path)
        if path == "lm_head":
            return LinearFormat(group_size=self.group_size)
        return LinearFormat(
            bits=self.bits, group_size=self.group_size, sparsity=self.sparsity, kept=self.kept
        )

    @property
    def shared_inputs(self) -> int:
        """Inputs that must share a factor of smoothing."""
        return gguf_weights.GROUP if self.carried else 1


def float_weight(model: LanguageModel, path: str) -> torch.Tensor:
    """Return the weight of a linear layer, float64 [rows, inputs].

    Rows of queries and keys are put in the integer model's order: the two of a rotated pair side by
    side.
    """
    weight = model.weight(path).double()
    if path.endswith(("q_proj", "k_proj")):
        size = model.network.config.head_dim
        heads = weight.reshape(-1, size, weight.shape[1])
        weight = heads[:, interleave(size)].reshape(weight.shape)
    return weight


def _float_rows(model: LanguageModel, path: str, weight: torch.Tensor) -> torch.Tensor:
    """Return a weight with its rows in the float model's order; see `float_weight`."""
    if not path.endswith(("q_proj", "k_proj")):
        return weight
    size = model.network.config.head_dim
    heads = weight.reshape(-1, size, weight.shape[1])
    return heads[:, interleave(size).argsort()].reshape(weight.shape)


def make_weights(
    model: LanguageModel,
    recipe: Recipe,
    path: str,
    norms: torch.Tensor,
    row_factors: torch.Tensor,
    input_factors: torch.Tensor,
    inputs: CompressedInputs | None = None,
) -> RealWeights:
    """Return the integer weights of a linear layer, times factors of its rows and inputs.

    Args:
        path: of the linear layer in the float model.
        norms: of its inputs on the calibration text, float64 [inputs], without the factors.
        row_factors, input_factors: float64 [rows] and [inputs].
        inputs: of the decoder layers, that a recipe with a plan needs; is told of the weights.
    """
    if recipe.carried:
        weights = _carried(recipe.carried, path)
        zeros = torch.round(weights.zeros * 2**recipe.zero_fraction_bits)
        by = row_factors[:, None] * input_factors[:: weights.group_size]
        return replace(
            weights, scales=weights.scales * by, zeros=zeros / 2**recipe.zero_fraction_bits
        )
    if recipe.plan is not None and path != "lm_head":
        assert inputs is not None
        return _planned(model, recipe.plan, path, row_factors, input_factors, inputs)
    weight = float_weight(model, path)
    folded = weight * row_factors[:, None] * input_factors
    layer = recipe.format_of(path)
    if layer.kept_fraction < 1:
        folded = folded * _mask(importance(weight, norms[None]), layer)
    return _quantised(folded, layer.bits, layer.group_size)


def _planned(
    model: LanguageModel,
    plan: CompressionPlan,
    path: str,
    row_factors: torch.Tensor,
    input_factors: torch.Tensor,
    inputs: CompressedInputs,
) -> RealWeights:
    """Return a decoder linear layer's weights by a plan, each error made up for by later inputs."""
    weight, layer = float_weight(model, path), plan.format_of(path)
    factor = inputs.factor(path)
    keep = None
    if layer.kept_fraction < 1:
        keep = _keep(saliency(weight, factor), layer)
    folded = weight * row_factors[:, None] * input_factors
    # The inverse of the moments of inputs / f is that of the inputs', times f on both sides.
    made = compensated(folded, factor * input_factors, layer.bits, layer.group_size, keep)
    used = made.dequantise() / row_factors[:, None] / input_factors
    inputs.put(path, _float_rows(model, path, used))
    return made


def _carried(path: Path, linear: str) -> RealWeights:
    if linear == "lm_head":
        return gguf_weights.head_weights(path)
    _, _, number, name = linear.split(".", 3)
    return gguf_weights.layer_weights(path, int(number), name)


def _mask(scores: torch.Tensor, layer: LinearFormat) -> torch.Tensor:
    """Return which weights are kept, bool [rows, inputs]."""
    return keep_mask(scores, _keep(scores, layer), SparseChainConfig())


def _keep(scores: torch.Tensor, layer: LinearFormat) -> torch.Tensor:
    """Return the N of each block."""
    chain = SparseChainConfig()
    if layer.sparsity is not None:
        rows, inputs = scores.shape
        return uniform_keep(rows, inputs, parse_sparsity(layer.sparsity, chain), chain)
    return choose_keep(scores, layer.kept_fraction, chain)


def _quantised(weight: torch.Tensor, bits: int, group_size: int) -> RealWeights:
    """Quantise symmetrically; the last group may be shorter."""
    inputs = weight.shape[1]
    padded = torch.nn.functional.pad(weight, (0, -inputs % group_size))
    quantised = quantise_groups(padded, bits, group_size)
    scales = quantised.scales.double()
    values = quantised.values[:, :inputs].contiguous()
    return RealWeights(values, scales, torch.zeros_like(scales), group_size, bits)
