"""A static scale of a layer's outputs: what one unit of the matrix engine's result is worth.

An activation is `x * token_scale` and a weight `q * weight_scale`. The engine gives integers, and
`integer * unit * token_scale` is the layer's output. The unit is chosen once, from the outputs on a
calibration text; so the scales that the engine adds with are `weight_scale / unit`.
"""

from dataclasses import dataclass, replace
from math import frexp

import torch

from golden.group_scale import fixed_point_scales
from golden.numbers import signed_range
from golden.quantise import Quantised, matrix_shape
from golden.spec.errors import ShapeError
from golden.spec.matrix_engine import MatrixEngineConfig


@dataclass(frozen=True)
class OutputScale:
    """The static scale of one layer's outputs.

    Attributes:
        unit: what an output of 1 is worth, in units of the token's scale.
        config: the engine's configuration, with the `scale_shift` that suits the layer.
    """

    unit: float
    config: MatrixEngineConfig

    def of_groups(self, weights: Quantised) -> torch.Tensor:
        """Return the scales as the engine takes them, int64 [rows, groups].

        Raises:
            ShapeError: a scale is larger than those that the unit was chosen for.
        """
        return fixed_point_scales(_scales(weights) / self.unit, self.config)

    def dequantise(self, outputs: torch.Tensor, tokens: Quantised) -> torch.Tensor:
        """Return the engine's integers [tokens, rows] as the float32 outputs of the layer."""
        return outputs * (self.unit * tokens.scales)


def choose_output_scale(
    outputs: torch.Tensor, tokens: Quantised, weights: Quantised, config: MatrixEngineConfig
) -> OutputScale:
    """Return the scale with which the largest calibration output is the largest integer.

    The engine's scales get as many fraction bits as the largest of them leaves room for.

    Args:
        outputs: of the float layer on a calibration text, [tokens, rows]. tokens: the layer's
            inputs on that text.
        weights: the layer's; pruning them makes no scale larger.
        config: of the engine; its `scale_shift` is replaced.

    Raises:
        ShapeError: an output is not finite, or all are 0.
        ConfigError: the largest scale needs a `scale_shift` that no engine has.
    """
    matrix_shape(outputs, "the calibration output")
    largest = float((outputs.double() / tokens.scales).abs().max())
    if not 0 < largest < float("inf"):
        raise ShapeError(
            f"the largest calibration output is {largest}; one that is finite and not 0 is needed"
        )
    unit = largest / signed_range(config.output_bits)[1]
    shift = config.zero_fraction_bits + _scale_shift(
        float(_scales(weights).max()) / unit, config.scale_bits
    )
    return OutputScale(unit, replace(config, scale_shift=shift))


def _scale_shift(largest: float, scale_bits: int) -> int:
    """Return the most fraction bits with which `largest` fits in `scale_bits` bits."""
    _, exponent = frexp(largest)  # largest < 2**exponent
    shift = scale_bits - exponent
    # It may still be rounded up, to one bit too many.
    return shift - (round(largest * 2.0**shift) >> scale_bits)


def _scales(weights: Quantised) -> torch.Tensor:
    """Return float64 [rows, groups]: 0 where all weights of a group are 0, so any scale will do."""
    rows, groups = weights.scales.shape
    filled = weights.values.reshape(rows, groups, -1).any(dim=2)
    return torch.where(filled, weights.scales.double(), 0.0)
