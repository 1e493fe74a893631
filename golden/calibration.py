"""What passes through a float model as it reads a text: the ranges that an integer model needs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from golden.language_model import LanguageModel
from golden.special_functions.functions import interleave

_LINEARS = {
    "self_attn.q_proj": ("attention inputs", "queries"),
    "self_attn.k_proj": ("attention inputs", "keys"),
    "self_attn.v_proj": ("attention inputs", "values"),
    "self_attn.o_proj": ("attention", "attention output"),
    "mlp.gate_proj": ("feed-forward inputs", "gate"),
    "mlp.up_proj": ("feed-forward inputs", "up"),
    "mlp.down_proj": ("gated", "feed-forward output"),
}
"""The linear layers of a decoder layer: the names of their inputs and outputs."""


@dataclass
class Calibration:
    """The largest magnitude and the norm of each channel over all tokens of a text.

    The names are those that `golden.transformer` shows its intermediate vectors by. Queries and
    keys are rotated, and in the integer model's order: pairs side by side.

    Attributes:
        largest: float64 [channels] by name. norms: the same of linear layers' inputs.
        head_norms: the largest norm of a head's queries and keys, by name.
    """

    largest: dict[str, torch.Tensor] = field(default_factory=dict)
    norms: dict[str, torch.Tensor] = field(default_factory=dict)
    head_norms: dict[str, float] = field(default_factory=dict)

    def see(self, name: str, values: torch.Tensor) -> None:
        """Take note of the largest of values [..., channels]."""
        low, high = values.detach().flatten(end_dim=-2).aminmax(dim=0)
        self.largest[name] = torch.maximum(-low, high).double()

    def see_inputs(self, name: str, values: torch.Tensor) -> None:
        """Take note of a linear layer's inputs, which others may have, too."""
        if name not in self.norms:
            self.see(name, values)
            self.norms[name] = values.detach().double().flatten(end_dim=-2).norm(dim=0)

    def peak(self, name: str) -> float:
        """Return the largest magnitude of all channels."""
        return float(self.largest[name].max())


def calibrate(model: LanguageModel, tokens: torch.Tensor) -> Calibration:
    """Return what the float model's vectors look like as it reads [1, tokens]."""
    seen = Calibration()
    network = model.network
    angles = _angles(network.config, tokens.shape[1])
    hooks = []
    for number, layer in enumerate(network.model.layers):
        prefix = f"layer {number}"
        for path, (inputs, outputs) in _LINEARS.items():
            module = layer.get_submodule(path)
            hooks.append(module.register_forward_pre_hook(_inputs(seen, f"{prefix} {inputs}")))
            see = _rotated if outputs in ("queries", "keys") else _outputs
            hooks.append(module.register_forward_hook(see(seen, f"{prefix} {outputs}", angles)))
        norm = layer.post_attention_layernorm
        hooks.append(
            norm.register_forward_pre_hook(_residual(seen, f"{prefix} attention residual"))
        )
        hooks.append(layer.register_forward_hook(_outputs(seen, f"{prefix} output", angles)))
    head = network.lm_head
    hooks.append(head.register_forward_pre_hook(_inputs(seen, "head inputs")))
    hooks.append(head.register_forward_hook(_outputs(seen, "logits", angles)))
    try:
        with torch.no_grad():
            network(tokens)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def inputs_of(path: str) -> str:
    """Return the name of the inputs of a linear layer, as "model.layers.3.mlp.up_proj"."""
    if path == "lm_head":
        return "head inputs"
    _, _, number, name = path.split(".", 3)
    return f"layer {number} {_LINEARS[name][0]}"


def rope_theta(config: Any) -> float:
    """Return the base of the rotary embedding of a `transformers` configuration."""
    return float(config.rope_parameters["rope_theta"])


def _angles(config: Any, tokens: int) -> torch.Tensor:
    """Return the rotations of all positions, complex [tokens, 1, head_size / 2]."""
    size = config.head_dim
    rates = rope_theta(config) ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
    angles = torch.arange(tokens, dtype=torch.float64)[:, None, None] * rates
    return torch.polar(torch.ones_like(angles), angles)


def _inputs(seen: Calibration, name: str) -> Callable[[Any, Any], None]:
    return lambda module, arguments: seen.see_inputs(name, arguments[0])


def _residual(seen: Calibration, name: str) -> Callable[[Any, Any], None]:
    return lambda module, arguments: seen.see(name, arguments[0])


def _outputs(seen: Calibration, name: str, angles: torch.Tensor) -> Callable[[Any, Any, Any], None]:
    def see(module: Any, arguments: Any, output: Any) -> None:
        seen.see(name, output[0] if isinstance(output, tuple) else output)

    return see


def _rotated(seen: Calibration, name: str, angles: torch.Tensor) -> Callable[[Any, Any, Any], None]:
    """Rotate what a projection gives as the attention does, and take note of it."""
    size = 2 * angles.shape[-1]

    def see(module: Any, arguments: Any, output: torch.Tensor) -> None:
        heads = output[0].detach().double().reshape(len(angles), -1, size)[..., interleave(size)]
        pairs = torch.view_as_complex(heads.reshape(*heads.shape[:2], -1, 2).contiguous())
        rotated = torch.view_as_real(pairs * angles).reshape(heads.shape)
        seen.see(name, rotated.flatten(start_dim=1))
        seen.head_norms[name] = float(rotated.norm(dim=-1).max())

    return see
