"""The front end: from a causal language model of `transformers` to a typed operator graph.

`torch.export` gives the model as a graph of PyTorch's operators, of a few tokens and without a
weight's value; `hls_gen.front_end_rules` says what each of them is here. What depends on positions
alone, as a mask or a table of rotations, is computed, and so known and not guessed.
"""

import warnings
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from golden.spec.errors import ConfigError
from hls_gen.front_end_rules import Rules
from hls_gen.front_end_values import TOKENS, Parameter, whole
from hls_gen.graph import Graph

POSITIONS = 3
"""Tokens of the exported text; from fewer nothing tells whether rates of rotation are even."""

INPUT = "input_ids"
"""The name that models of `transformers` have for the tokens."""


def graph_of_configuration(configuration: Any) -> Graph:
    """Return the operators of a model of which only the configuration is known.

    Args:
        configuration: of `transformers`.

    Raises:
        ConfigError: `transformers` makes no causal language model of it, or as `graph_of`.
    """
    from accelerate import init_empty_weights  # type: ignore[import-untyped]
    from transformers import AutoModelForCausalLM

    try:
        with init_empty_weights(), _NoMemory():
            network = AutoModelForCausalLM.from_config(configuration, dtype=torch.float32)
        network.tie_weights()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"transformers makes no causal language model of this configuration: {error}"
        ) from None
    return graph_of(network.eval())


class _NoMemory(TorchFunctionMode):
    """Makes weights where they need no memory; `init_empty_weights` would free it behind each."""

    def __torch_function__(
        self, function: Any, types: Any, arguments: Any = (), named: Any = None
    ) -> Any:
        """Call a function of PyTorch."""
        place = {"device": "meta"} if function is torch.empty else {}
        return function(*arguments, **((named or {}) | place))


def graph_of(network: Any) -> Graph:
    """Return the operators of a causal language model of `transformers`.

    Args:
        network: its parameters may be on the device "meta", its buffers not.

    Raises:
        ConfigError: an operator is not supported; the message names it and its module's path.
    """
    buffers = {name: buffer.detach().cpu() for name, buffer in network.named_buffers()}
    program = _exported(network)
    rules, signature = Rules(POSITIONS), program.graph_signature
    parameters, held = signature.inputs_to_parameters, signature.inputs_to_buffers
    written = signature.inputs_to_lifted_tensor_constants
    values: dict[str, Any] = {}
    for node in program.graph.nodes:
        if node.op == "output":
            rules.result(values[node.args[0][0].name])
        elif node.op == "placeholder":
            if node.name in parameters:
                shape = tuple(node.meta["val"].shape)
                values[node.name] = Parameter(parameters[node.name], shape)
            elif node.name in held:
                values[node.name] = buffers[held[node.name]]
            elif node.name in written:
                values[node.name] = program.constants[written[node.name]]
            elif node.name == INPUT:
                values[node.name] = whole(TOKENS, 1, POSITIONS)
        else:
            arguments, named = torch.fx.map_arg((node.args, node.kwargs), lambda n: values[n.name])
            values[node.name] = rules.value(node, arguments, named)
    return Graph(tuple(rules.operators))


def _exported(network: Any) -> torch.export.ExportedProgram:
    """Return the model as PyTorch's operators for a few tokens."""
    device = next(network.parameters()).device
    if network.config._attn_implementation != "sdpa":
        try:
            network.set_attn_implementation("sdpa")
        except ValueError as error:
            raise ConfigError(f"the model has no attention that can be exported: {error}") from None
    buffers = [module._buffers for module in network.modules()]
    kept = [dict(some) for some in buffers]
    for some in buffers:  # with the parameters, wherever these are
        some.update({name: x.to(device) for name, x in some.items() if x is not None})
    tokens = torch.zeros((1, POSITIONS), dtype=torch.int64, device=device)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(
                network, (), {INPUT: tokens, "use_cache": False}, strict=False
            )
    except Exception as error:
        first = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(
            f"torch.export does not take the model: {first[0]}; its code must not depend on values"
        ) from None
    finally:
        for some, before in zip(buffers, kept, strict=True):
            some.update(before)
