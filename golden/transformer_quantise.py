"""From a float model to an integer one: binary points, and what is folded into what.

Outliers among the channels of a linear layer's inputs are moved into its weights (SmoothQuant,
arXiv 2211.10438, eq. 4): inputs are divided by s and the weights multiplied by it. The division
costs nothing, as it goes into what comes before: a norm's gamma, or the rows of `up` for the gated
product. In the same way the scales of the cache go into the rows of the query, key and value
weights, and back out in the inputs of the attention's output weights. Codes that come from a file
have a scale for each group of inputs and no more, so there a group shares its s.
"""

from dataclasses import dataclass
from math import floor, log2

import torch

from golden.calibration import Calibration, inputs_of, rope_theta
from golden.compression_inputs import CompressedInputs
from golden.integer_linear import IntegerLinear, integer_linear
from golden.language_model import LanguageModel
from golden.model_shapes import ModelShape
from golden.numbers import signed_range
from golden.recipe import Recipe, float_weight, make_weights
from golden.spec.matrix_engine import OPERAND_BITS
from golden.spec.special_function_unit import FACTOR_BITS, FACTOR_FRACTION_BITS, WIDE_BITS
from golden.transformer import (
    ATTENTION_FRACTION_BITS,
    CACHE_SHIFT,
    NORM_SHIFT,
    Attention,
    FeedForward,
    IntegerTransformer,
    Layer,
    Norm,
    Residual,
)

HEADROOM = 4.0
"""Wide vectors hold so many times the largest value on the calibration text."""

FACTOR_HEADROOM = 2.0
"""The same where a vector is used as factors, which have fewer bits to spare."""

_MOST_FRACTION_BITS = 40

_MORE = 8
"""A vector that is added to another may have so many fraction bits more than the sum."""


def quantise_transformer(
    model: LanguageModel,
    calibration: Calibration,
    recipe: Recipe,
    inputs: CompressedInputs | None = None,
) -> IntegerTransformer:
    """Return the integer model of a LLaMA-style float model.

    Args:
        calibration: of a text other than the one that the model is judged on.
        inputs: new ones of this model, that a recipe with a plan needs.

    Raises:
        ShapeError: the model has values that no such integers hold.
    """
    return _Maker(model, calibration, recipe, shape_of(model), inputs).model_of_all()


def shape_of(model: LanguageModel) -> ModelShape:
    """Return the shape that a model's own configuration tells."""
    config = model.network.config
    return ModelShape(
        name=model.name,
        source="its configuration",
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_size=config.head_dim,
        feed_forward=config.intermediate_size,
        vocabulary=config.vocab_size,
    )


def fraction_bits(peak: float, bits: int = WIDE_BITS, headroom: float = HEADROOM) -> int:
    """Return the most fraction bits with which `peak` fits in `bits` bits, `headroom` times."""
    if peak <= 0:
        return _MOST_FRACTION_BITS
    return min(floor(log2(signed_range(bits)[1] / (peak * headroom))), _MOST_FRACTION_BITS)


def norm_of(gain: torch.Tensor, epsilon: float, fraction: int) -> tuple[Norm, int]:
    """Return RMSNorm of vectors with `fraction` bits, and the fraction bits of its results.

    Args:
        gain: the float norm's weights, with all that is folded into them, [inputs].
        epsilon: of the float norm, that is added to the mean of the squares. See `loadable`.
    """
    n = len(gain)
    whole = gain.double() * n**0.5
    # gamma counts in units of 2**-16, and the first product has 2**-NORM_SHIFT in one.
    room = fraction_bits(float(whole.abs().max()), FACTOR_BITS, headroom=1)
    gamma = torch.round(whole * 2.0**room).long()
    norm = Norm(gamma, loadable(epsilon * n * 2.0 ** (2 * fraction)))
    return norm, room - NORM_SHIFT - FACTOR_FRACTION_BITS


def loadable(value: float) -> int:
    """Return a constant as a program loads it to a scalar register: an integer that is rounded.

    It has at most 17 significant bits, as a positive factor does; so it is off by at most 2**-17 of
    itself, or by a half.

    Args:
        value: 0 or more.
    """
    bits = FACTOR_BITS - 1
    shift = max(floor(value).bit_length() - bits, 0)
    return round(value / 2.0**shift) << shift


def residual(x: int, y: int, out: int) -> Residual:
    """Return the sum of vectors with x and y fraction bits that has `out` of them."""
    shift = max(x, y, out) - out
    return Residual(1 << (out + shift - x), 1 << (out + shift - y), shift)


@dataclass(frozen=True, eq=False)
class _Maker:
    model: LanguageModel
    calibration: Calibration
    recipe: Recipe
    shape: ModelShape
    inputs: CompressedInputs | None

    def model_of_all(self) -> IntegerTransformer:
        network = self.model.network
        embedding = network.model.embed_tokens.weight.detach().double()
        most = fraction_bits(self.calibration.peak("layer 0 attention residual"))
        fraction = min(fraction_bits(float(embedding.abs().max()), headroom=1), most + _MORE)
        rows = torch.round(embedding * 2.0**fraction).to(torch.int32)
        layers = []
        for number in range(self.shape.layers):
            layer, fraction = self.layer(number, fraction)
            layers.append(layer)
        smooth = self.smoothing("lm_head")
        norm, inputs = self.norm(network.model.norm, smooth, fraction)
        logits = min(fraction_bits(self.calibration.peak("logits")), FACTOR_FRACTION_BITS)
        head = self.linear("lm_head", None, smooth, inputs, logits)
        theta = rope_theta(network.config)
        positions = self.recipe.max_positions
        return IntegerTransformer(
            self.shape, rows, tuple(layers), norm, head, logits, theta, positions
        )

    def layer(self, number: int, fraction: int) -> tuple[Layer, int]:
        """Return a layer for inputs with `fraction` bits, and the fraction bits of its outputs."""
        path, name = f"model.layers.{number}", f"layer {number}"
        module = self.model.network.get_submodule(path)
        smooth = self.smoothing(*(f"{path}.self_attn.{x}_proj" for x in "qkv"))
        norm, inputs = self.norm(module.input_layernorm, smooth, fraction)
        middle = fraction_bits(self.calibration.peak(f"{name} attention residual"))
        given = self.given(f"{name} attention output", middle)
        attention = self.attention(number, smooth, inputs, given)
        first = residual(fraction, given, middle)

        smooth = self.smoothing(f"{path}.mlp.gate_proj", f"{path}.mlp.up_proj")
        second_norm, inputs = self.norm(module.post_attention_layernorm, smooth, middle)
        last = fraction_bits(self.calibration.peak(f"{name} output"))
        given = self.given(f"{name} feed-forward output", last)
        network = self.feed_forward(number, smooth, inputs, given)
        second = residual(middle, given, last)
        return Layer(norm, attention, first, second_norm, network, second), last

    def attention(self, number: int, smooth: torch.Tensor, inputs: int, output: int) -> Attention:
        """Return the attention for inputs and outputs with so many fraction bits."""
        name, path, seen = f"layer {number}", f"model.layers.{number}.self_attn", self.calibration
        share = self.shape.heads // self.shape.kv_heads
        key_unit = self.cache_unit(f"{name} keys", together=2)
        value_unit = self.cache_unit(f"{name} values", together=self.recipe.shared_inputs)
        root = self.shape.head_size**0.5
        # Scores are the sums of products of bytes, times the query's magnitude.
        query_rows = self.each_head(key_unit, share) / root / signed_range(OPERAND_BITS)[1]
        queries = fraction_bits(float((seen.largest[f"{name} queries"] * query_rows).max()))
        bound = seen.head_norms[f"{name} queries"] * seen.head_norms[f"{name} keys"] / root
        scores = min(fraction_bits(bound, headroom=1), FACTOR_FRACTION_BITS)
        bits = self.recipe.probability_bits
        # The largest sum, of max_positions * 2**14 * 2**7, fits in 27 bits.
        sum_shift = self.recipe.max_positions.bit_length() - 6 if bits == 14 else 0
        return Attention(
            query=self.linear(f"{path}.q_proj", query_rows, smooth, inputs, queries),
            key=self.linear(f"{path}.k_proj", 1 / key_unit, smooth, inputs, CACHE_SHIFT),
            value=self.linear(f"{path}.v_proj", 1 / value_unit, smooth, inputs, CACHE_SHIFT),
            output=self.linear(
                f"{path}.o_proj",
                None,
                self.each_head(value_unit, share),
                ATTENTION_FRACTION_BITS,
                output,
            ),
            score_shift=queries - scores,
            score_fraction=scores,
            sum_shift=sum_shift,
            output_shift=-sum_shift - ATTENTION_FRACTION_BITS,
            probability_bits=bits,
        )

    def feed_forward(
        self, number: int, smooth: torch.Tensor, inputs: int, output: int
    ) -> FeedForward:
        """Return the feed-forward network for inputs and outputs with so many fraction bits."""
        name, path, seen = f"layer {number}", f"model.layers.{number}.mlp", self.calibration
        down = self.smoothing(f"{path}.down_proj")
        gate = fraction_bits(seen.peak(f"{name} gate"))
        peak = float((seen.largest[f"{name} gated"] / down).max())
        gated = fraction_bits(peak)
        up = fraction_bits(
            float((seen.largest[f"{name} up"] / down).max()), FACTOR_BITS, FACTOR_HEADROOM
        )
        up = min(up, gated)
        # SiLU's outputs have 16 fraction bits, and as many more as they and the product have room.
        more = max(min(gate - FACTOR_FRACTION_BITS, gated - up, FACTOR_BITS - 2), 0)
        return FeedForward(
            gate=self.linear(f"{path}.gate_proj", None, smooth, inputs, gate),
            up=self.linear(f"{path}.up_proj", 1 / down, smooth, inputs, up),
            down=self.linear(f"{path}.down_proj", None, down, up + more, output),
            gate_shift=gate - FACTOR_FRACTION_BITS,
            product_first=1 << more,
        )

    def linear(
        self,
        path: str,
        row_factors: torch.Tensor | None,
        input_factors: torch.Tensor,
        inputs: int,
        outputs: int,
    ) -> IntegerLinear:
        """Return a linear layer whose inputs and outputs have so many fraction bits."""
        if row_factors is None:
            row_factors = torch.ones(len(self.model.weight(path)), dtype=torch.float64)
        norms = self.calibration.norms[inputs_of(path)]
        weights = make_weights(
            self.model, self.recipe, path, norms, row_factors, input_factors, self.inputs
        )
        return integer_linear(weights, inputs, outputs)

    def norm(
        self, module: torch.nn.Module, smooth: torch.Tensor, fraction: int
    ) -> tuple[Norm, int]:
        """Return the norm of a float model's module, whose results are divided by `smooth`."""
        gain = module.get_parameter("weight").detach().double() / smooth
        return norm_of(gain, self.model.network.config.rms_norm_eps, fraction)

    def given(self, name: str, most: int) -> int:
        """Return the fraction bits of what is added to a residual that has `most` of them."""
        return min(fraction_bits(self.calibration.peak(name)), most + _MORE)

    def smoothing(self, *linears: str) -> torch.Tensor:
        """Return what the inputs of these linear layers are divided by, float64 [inputs]."""
        ranges = self.calibration.largest[inputs_of(linears[0])]
        alpha, shared = self.recipe.smoothing, self.recipe.shared_inputs
        if alpha == 0:
            return torch.ones_like(ranges)
        weights = [float_weight(self.model, path).abs().amax(dim=0) for path in linears]
        largest = torch.stack(weights).amax(dim=0)
        s = _peaks(ranges, shared) ** alpha / _peaks(largest, shared) ** (1 - alpha)
        return s / s.log().mean().exp()

    def cache_unit(self, name: str, together: int) -> torch.Tensor:
        """Return what 1 in the cache is worth, float64 [channels], equal in neighbours."""
        top = signed_range(OPERAND_BITS)[1]
        ranges = _peaks(self.calibration.largest[name], together)
        return ranges * self.recipe.cache_headroom / top

    def each_head(self, channels: torch.Tensor, share: int) -> torch.Tensor:
        """Return the values of the heads of keys or values for all heads of queries."""
        by_head = channels.reshape(self.shape.kv_heads, 1, -1)
        return by_head.expand(-1, share, -1).flatten()


def _peaks(values: torch.Tensor, together: int) -> torch.Tensor:
    """Return each value's group's largest, at least a millionth of the largest of all."""
    groups = values.clamp(min=float(values.max()) * 1e-6 or 1.0).reshape(-1, together)
    return groups.amax(dim=1, keepdim=True).expand_as(groups).flatten()
