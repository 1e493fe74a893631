"""What the compiler takes of a decoder: models like LLaMA, whatever their modules are called.

The integer model is made of a LLaMA of `transformers`. A model of another class that computes the
same, as Mistral, becomes one: each weight goes where its part in the decoder says.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from golden.language_model import LanguageModel
from golden.spec.errors import ConfigError
from hls_gen.front_end_decoder import Decoder, DecoderLayer, Norm
from hls_gen.graph import Function, LayerNorm, Linear

_RATE = 1e-4
"""Rates of rotation may differ so far from those of a base, as parts of themselves."""


def check_llama(decoder: Decoder) -> None:
    """Refuse a decoder that the compiler does not take.

    Raises:
        ConfigError: an operator is not as in LLaMA; the message names it and its module's path.
    """
    if decoder.positions is not None:
        raise _refused(decoder.positions.path, "a learned table of positions")
    for layer in decoder.layers:
        _check_layer(layer)
    if isinstance(decoder.norm, LayerNorm):
        raise _refused(decoder.norm.path, "layer_norm")
    _check_bias(decoder.head)
    norms = [norm for layer in decoder.layers for norm in _norms(layer)]
    if len({norm.epsilon for norm in (*norms, decoder.norm)}) > 1:
        raise _refused(decoder.norm.path, "an epsilon of its own")
    rope_base(decoder)


def check_window(configuration: Any, positions: int) -> None:
    """Refuse more positions than an attention sees at once: of a window no program knows.

    Args:
        configuration: of `transformers`; the few tokens of a graph are inside of any window.

    Raises:
        ConfigError: there are more.
    """
    window = getattr(configuration, "sliding_window", None)
    if window is not None and positions > window:
        raise ConfigError(
            f"the cache has {positions} positions and the model's attention sees {window}, "
            f"sliding_window in its configuration; make --positions {window} or fewer"
        )


def _check_layer(layer: DecoderLayer) -> None:
    for norm in (layer.attention_norm, layer.feed_forward_norm):
        if isinstance(norm, LayerNorm):
            raise _refused(norm.path, "layer_norm")
    for linear in layer.linears.values():
        _check_bias(linear)
    if layer.gate is None:
        raise _refused(layer.up.path, "a feed-forward network without a gate")
    if layer.activation.function is not Function.SILU:
        raise _refused(layer.activation.path, layer.activation.function.value)
    attention = layer.attention
    if abs(attention.scale * attention.head_size**0.5 - 1) > _RATE:
        raise _refused(attention.path, f"an attention with the scale {attention.scale:g}")


def _check_bias(linear: Linear) -> None:
    if linear.bias is not None:
        raise _refused(linear.path, "linear with a bias")


def _refused(path: str, what: str) -> ConfigError:
    return ConfigError(f"{path}: {what} is not compiled yet; the compiler takes models like LLaMA")


def rope_base(decoder: Decoder) -> float:
    """Return the base of the rotary embedding: pair i has the rate base^(-2 i / head_size).

    Raises:
        ConfigError: the rates are of another kind, or layers have different ones.
    """
    rotations = [layer.rotary for layer in decoder.layers]
    first, path = rotations[0], decoder.layers[0].attention.path
    if first is None:
        raise _refused(path, "an attention without rotations")
    size = 2 * len(first.rates)
    # The last rate is the smallest, and says the most of the base.
    base = first.rates[-1] ** (-size / (size - 2)) if size > 2 else 1.0
    for rotary, layer in zip(rotations, decoder.layers, strict=True):
        if rotary is None or rotary.side_by_side:
            raise _refused(layer.attention.path, "rotary of pairs that lie side by side, or none")
        even = (base ** (-2 * i / size) for i in range(size // 2))
        if any(abs(mine / true - 1) > _RATE for mine, true in zip(rotary.rates, even, strict=True)):
            raise _refused(layer.attention.path, "rotary with rates that are not those of one base")
    return base


def as_llama(model: LanguageModel, decoder: Decoder) -> LanguageModel:
    """Return the same model as a LLaMA of `transformers`: the model itself, if it is one.

    Raises:
        ConfigError: as `check_llama`.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    check_llama(decoder)
    if type(model.network) is LlamaForCausalLM:
        return model
    shape = decoder.shape(model.name)
    configuration = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.feed_forward,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_size,
        rms_norm_eps=decoder.norm.epsilon,
        rope_parameters={"rope_theta": rope_base(decoder), "rope_type": "default"},
        tie_word_embeddings=shape.tied,
    )
    network = LlamaForCausalLM(configuration).to(torch.float32).eval()
    network.load_state_dict(
        {
            f"{name}.weight": model.network.get_parameter(weight).detach()
            for name, weight in _weights(decoder)
        }
    )
    return replace(model, network=network)


def _weights(decoder: Decoder) -> Iterator[tuple[str, str]]:
    """Yield the modules of a LLaMA, and the names of their weights in the float model."""
    yield "model.embed_tokens", decoder.embedding.weight
    yield "model.norm", decoder.norm.weight
    yield "lm_head", decoder.head.weight
    for number, layer in enumerate(decoder.layers):
        before, behind = _norms(layer)
        yield f"model.layers.{number}.input_layernorm", before.weight
        yield f"model.layers.{number}.post_attention_layernorm", behind.weight
        for name, linear in layer.linears.items():
            yield f"model.layers.{number}.{name}", linear.weight


def _norms(layer: DecoderLayer) -> tuple[Norm, Norm]:
    return layer.attention_norm, layer.feed_forward_norm
