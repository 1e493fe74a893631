"""What enters the linear layers of a float model while they are compressed one after the other.

A text goes through the model layer by layer. When a layer's weights have been replaced by the
compressed ones, the next layer sees what those give: so it can make up for errors in front of it.
"""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from golden.calibration import inputs_of
from golden.compression_weights import inverse_factor
from golden.language_model import LanguageModel

_FIRST_OF_SITES = ("self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj")
"""Linear layers of a decoder layer that have different inputs."""


class _Entered(Exception):
    """Ends a forward pass when the first decoder layer has been entered."""


class CompressedInputs:
    """Follows texts through a float model; layers must be asked for in their order.

    Args:
        tokens: int64 [texts, tokens]. Nothing of the model is changed.
        progress: is told the part of the decoder layers that is done.
    """

    def __init__(
        self,
        model: LanguageModel,
        tokens: torch.Tensor,
        progress: Callable[[float], None] = lambda part: None,
    ) -> None:
        self._model = model
        self._progress = progress
        self._number = -1
        self._layer: Any = None
        self._moments: dict[str, torch.Tensor] = {}
        self._factors: dict[str, torch.Tensor] = {}
        self._hidden, self._others = _first_inputs(model, tokens)

    def moments(self, path: str) -> torch.Tensor:
        """Return X^T X / tokens of the inputs of a decoder linear layer, float64 [inputs, inputs].

        All layers in front of its decoder layer have the weights that `put` gave them.
        """
        number = int(path.split(".")[2])
        while self._number < number:
            self._advance()
        return self._moments[inputs_of(path)]

    def factor(self, path: str) -> torch.Tensor:
        """Return the `inverse_factor` of a layer's moments."""
        moments, site = self.moments(path), inputs_of(path)
        if site not in self._factors:
            self._factors[site] = inverse_factor(moments)
        return self._factors[site]

    def put(self, path: str, weight: torch.Tensor) -> None:
        """Give a linear layer of the decoder layer that was asked for last its final weight."""
        _, _, _, name = path.split(".", 3)
        parameter = self._layer.get_submodule(name).weight
        parameter.data = weight.to(parameter.dtype)

    def _advance(self) -> None:
        if self._layer is not None:
            self._hidden = self._run(self._layer)
        self._number += 1
        self._progress(self._number / len(self._model.network.model.layers))
        self._layer = copy.deepcopy(self._model.network.model.layers[self._number])
        self._moments, self._factors = {}, {}
        hooks = []
        for name in _FIRST_OF_SITES:
            site = inputs_of(f"model.layers.{self._number}.{name}")
            module = self._layer.get_submodule(name)
            hooks.append(module.register_forward_pre_hook(partial(self._see, site)))
        self._run(self._layer)
        for hook in hooks:
            hook.remove()

    def _see(self, site: str, _: Any, arguments: tuple[torch.Tensor, ...]) -> None:
        rows = arguments[0].detach().flatten(end_dim=-2)
        self._moments[site] = (rows.T @ rows).double() / len(rows)

    def _run(self, layer: Any) -> torch.Tensor:
        with torch.no_grad():
            output = layer(self._hidden, **self._others)
        return output[0] if isinstance(output, tuple) else output


def _first_inputs(
    model: LanguageModel, tokens: torch.Tensor
) -> tuple[torch.Tensor, dict[str, Any]]:
    """Return what the first decoder layer is called with: hidden vectors, and all else."""
    found: list[tuple[torch.Tensor, dict[str, Any]]] = []

    def stop(_: Any, arguments: tuple[torch.Tensor, ...], others: dict[str, Any]) -> None:
        found.append((arguments[0], others))
        raise _Entered

    hook = model.network.model.layers[0].register_forward_pre_hook(stop, with_kwargs=True)
    try:
        with torch.no_grad():
            model.network.model(tokens, use_cache=False)
    except _Entered:
        pass
    finally:
        hook.remove()
    return found[0]
