"""A whole decoder layer of one token as an HLS kernel, composed of the others.

One kernel does all layers of a model, which differ in their numbers and in what lies in memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from golden.integer_linear import ENGINE, IntegerLinear
from golden.model_shapes import ModelShape
from golden.spec.errors import ConfigError
from golden.spec.matrix_engine import MatrixEngineConfig
from golden.spec.special_function_unit import FACTOR_BITS
from golden.special_functions.functions import rope_table
from golden.transformer import Cache, IntegerTransformer, Layer
from hls_gen.hls import decode_attention, matrix_engine
from hls_gen.hls.decode_attention import DecodeAttentionConfig, cache_words, slots
from hls_gen.hls.kernel import Argument, Kernel, Memory, Port, Stream, header, read
from hls_gen.hls.products import Product, product_of
from hls_gen.hls.random_layers import GATE_FRACTIONS, HIDDEN_FRACTION, RandomLayers
from hls_gen.hls.vectors import Vectors

HEADER = "layer_config.hpp"

SOURCES = (
    *matrix_engine.SOURCES,
    *(name for name in decode_attention.SOURCES if name not in matrix_engine.SOURCES),
    "weight_words.hpp",
    "vector_functions.hpp",
    "product.hpp",
    "linear.hpp",
)

MATRICES = ("query", "key", "value", "output", "gate", "up", "down")
"""The linear layers, in the order of the kernel's memories."""

THETA = 10000.0
"""Base of the rotary embedding of random layers."""

POSITIONS = ("first", "some", "last")
"""The first token of a text, one in it, and the last one that the cache has room for."""


@dataclass(frozen=True)
class DecoderLayerConfig:
    """A decoder layer for one token at a time.

    Attributes:
        hidden, heads, kv_heads, head_size, feed_forward: the model's shape.
        max_positions, probability_bits: as in `DecodeAttentionConfig`.
        bits, group_size: of the weights: as in `golden.recipe.Recipe`.
        chains, m, strips, activation_depth: of the engine, as in `MatrixEngineConfig`. Each linear
            layer has units of its own.

    Raises:
        ConfigError: a field is outside its range.
    """

    hidden: int = 64
    heads: int = 4
    kv_heads: int = 2
    head_size: int = 16
    feed_forward: int = 90
    max_positions: int = 64
    probability_bits: int = 14
    bits: int = 8
    group_size: int = 32
    chains: int = 2
    m: int = 16
    strips: int = 16
    activation_depth: int = 2048

    def __post_init__(self) -> None:
        for field in ("hidden", "feed_forward"):
            if (value := getattr(self, field)) < 1:
                raise ConfigError(f"{field} is {value}; 1 is the least")
        if self.group_size < self.m or self.group_size % self.m:
            raise ConfigError(
                f"group_size is {self.group_size}; a multiple of m = {self.m} is needed"
            )
        _ = self.attention, self.engine

    @property
    def shape(self) -> ModelShape:
        """The shape of a model with one such layer."""
        return ModelShape(
            name="one layer",
            source="a kernel's configuration",
            layers=1,
            hidden=self.hidden,
            heads=self.heads,
            kv_heads=self.kv_heads,
            head_size=self.head_size,
            feed_forward=self.feed_forward,
            vocabulary=self.max_positions,
        )

    @property
    def attention(self) -> DecodeAttentionConfig:
        """The configuration of the attention."""
        return DecodeAttentionConfig(
            self.heads, self.kv_heads, self.head_size, self.max_positions, self.probability_bits
        )

    @property
    def engine(self) -> MatrixEngineConfig:
        """The configuration of a linear layer's units; the numbers are golden's."""
        return MatrixEngineConfig(
            chains=self.chains,
            m=self.m,
            strips=self.strips,
            activation_depth=self.activation_depth,
            scale_bits=ENGINE.scale_bits,
            scale_shift=ENGINE.scale_shift,
            output_bits=ENGINE.output_bits,
            zero_fraction_bits=ENGINE.zero_fraction_bits,
        )


def config_of(
    model: IntegerTransformer, max_positions: int, engine: MatrixEngineConfig = ENGINE
) -> DecoderLayerConfig:
    """Return the configuration of a model's layers."""
    shape, attention = model.shape, model.layers[0].attention
    return DecoderLayerConfig(
        shape.hidden,
        shape.heads,
        shape.kv_heads,
        shape.head_size,
        shape.feed_forward,
        max_positions,
        attention.probability_bits,
        attention.query.bits,
        attention.query.group_size,
        engine.chains,
        engine.m,
        engine.strips,
        engine.activation_depth,
    )


@dataclass(frozen=True, eq=False)
class Text:
    """A layer and what it makes of a text: everything that its cases have in common.

    Attributes:
        inputs, outputs: wide [tokens, hidden]. cache: behind the last token.
        products: the linear layers, by the names in `MATRICES`.
    """

    config: DecoderLayerConfig
    layer: Layer
    theta: float
    inputs: torch.Tensor
    outputs: torch.Tensor
    cache: Cache
    products: dict[str, Product]


@dataclass(frozen=True, eq=False)
class Case:
    """One token of a text."""

    name: str
    text: Text
    position: int

    @property
    def config(self) -> DecoderLayerConfig:
        """The layer's configuration."""
        return self.text.config


def text_of(
    config: DecoderLayerConfig, layer: Layer, inputs: torch.Tensor, theta: float = THETA
) -> Text:
    """Return what golden makes of a layer's inputs, wide [tokens, hidden]."""
    rows = inputs.to(torch.int32)
    model = IntegerTransformer(
        config.shape,
        rows,
        (layer,),
        layer.attention_norm,
        layer.attention.query,
        0,
        theta,
        config.max_positions,
    )
    cache = Cache()
    outputs = model.hidden(torch.arange(len(rows)), cache)
    return Text(config, layer, theta, inputs, outputs, cache, products_of(config, layer))


def kernel(config: DecoderLayerConfig) -> Kernel:
    """Return the kernel of a layer with the configuration's weights, all dense."""
    return kernel_of(config, products_of(config, _layers(config, 0).layer()))


def kernel_of(config: DecoderLayerConfig, products: dict[str, Product]) -> Kernel:
    """Return the kernel for linear layers as these are."""
    numbers = _numbers(_layers(config, 0).layer())
    ports: list[Port] = [
        Argument("position"),
        *(
            Argument(name, kind="long long" if name.endswith("epsilon") else "int")
            for name in numbers
        ),
        Stream("i", "slot_t"),
        *(Memory(name, "slot_t") for name in ("attention_gamma", "feed_forward_gamma")),
        *(Memory(name, "slot_t") for name in ("query_rotation", "key_rotation")),
        *(Memory(name, "memory_word_t") for name in MATRICES),
        Memory("keys", "head_word_t", written=True),
        Memory("values", "head_word_t", written=True),
        Stream("o", "slot_t", output=True),
    ]
    headers = {
        **matrix_engine.headers(config.engine),
        **decode_attention.headers(config.attention),
        HEADER: _header(config, products),
    }
    sources = read((*SOURCES, "decoder_layer_top.hpp", "decoder_layer.cpp"))
    lanes = len(MATRICES) * config.engine.lanes
    return Kernel("decoder_layer", ports, headers, sources, lanes)


def products_of(config: DecoderLayerConfig, layer: Layer) -> dict[str, Product]:
    """Return the linear layers of a layer."""
    return {name: product_of(linear, config.engine) for name, linear in _linears(layer).items()}


def crosses(_: DecoderLayerConfig) -> int:
    """Return how many kinds of cases there are."""
    return len(POSITIONS)


def coverage(cases: Sequence[Case]) -> float:
    """Return the share of the kinds that the cases hit."""
    last = cases[0].config.max_positions - 1
    kinds = {0: "first", last: "last"}
    return len({kinds.get(case.position, "some") for case in cases}) / len(POSITIONS)


def random_cases(config: DecoderLayerConfig, count: int, seed: int) -> list[Case]:
    """Return `count` random cases of two layers; three or more hit every kind."""
    layers = _layers(config, seed)
    shape = (config.max_positions, config.hidden)
    texts = []
    for fraction in GATE_FRACTIONS:
        layer = layers.layer(fraction)
        inputs = torch.randn(shape, generator=layers.random) * 2.0**HIDDEN_FRACTION
        texts.append(text_of(config, layer, inputs.long()))
    some = torch.randint(1, config.max_positions - 1, (count,), generator=layers.random).tolist()
    positions = [0, config.max_positions - 1, *some][:count]
    return [Case(f"random {n}: position {p}", texts[n % 2], p) for n, p in enumerate(positions)]


def vectors(case: Case) -> Vectors:
    """Return what the kernel's bench reads of a case."""
    text, layer, position = case.text, case.text.layer, case.position
    rotation = rope_table(torch.tensor([position]), case.config.head_size, text.theta)
    data = {
        "i": slots(text.inputs[position]),
        "o": slots(text.outputs[position]),
        "attention_gamma": _factors(layer.attention_norm.gamma),
        "feed_forward_gamma": _factors(layer.feed_forward_norm.gamma),
        "query_rotation": slots(rotation),
        "key_rotation": slots(rotation),
        **{name: product.words for name, product in text.products.items()},
    }
    before, after = {}, {}
    room = case.config.max_positions
    for name, cached in (("keys", text.cache.keys[0]), ("values", text.cache.values[0])):
        before[name] = cache_words(cached[:position], room)
        after[name] = cache_words(cached[: position + 1], room)
    return Vectors(case.name, {"position": position} | _numbers(layer), data | before, after)


def _layers(config: DecoderLayerConfig, seed: int) -> RandomLayers:
    random = torch.Generator().manual_seed(seed)
    return RandomLayers(
        config.shape,
        random,
        config.max_positions,
        config.probability_bits,
        config.bits,
        config.group_size,
    )


def _linears(layer: Layer) -> dict[str, IntegerLinear]:
    attention, network = layer.attention, layer.feed_forward
    linears = [getattr(attention, name) for name in MATRICES[:4]]
    linears += [getattr(network, name) for name in MATRICES[4:]]
    return dict(zip(MATRICES, linears, strict=True))


def _numbers(layer: Layer) -> dict[str, int]:
    """Return the kernel's numbers, in the order of its parameters."""
    attention, network = layer.attention, layer.feed_forward
    first, second = layer.attention_residual, layer.feed_forward_residual
    return {
        "attention_epsilon": layer.attention_norm.epsilon,
        "query_shift": attention.query.shift,
        "key_shift": attention.key.shift,
        "value_shift": attention.value.shift,
        **{name: getattr(attention, name) for name in decode_attention.NUMBERS},
        "attention_output_shift": attention.output.shift,
        "attention_first": first.first,
        "attention_second": first.second,
        "attention_shift": first.shift,
        "feed_forward_epsilon": layer.feed_forward_norm.epsilon,
        "gate_linear_shift": network.gate.shift,
        "up_linear_shift": network.up.shift,
        "gate_shift": network.gate_shift,
        "product_first": network.product_first,
        "down_shift": network.down.shift,
        "feed_forward_first": second.first,
        "feed_forward_second": second.second,
        "feed_forward_shift": second.shift,
    }


def _header(config: DecoderLayerConfig, products: dict[str, Product]) -> str:
    sizes = {"HIDDEN": config.hidden, "FEED_FORWARD": config.feed_forward}
    words = {f"{name.upper()}_WORDS": len(product.words) for name, product in products.items()}
    constants = "\n".join(product.constant(n.upper()) for n, product in products.items())
    text = header(HEADER, config, sizes | words)
    text = text.replace("\nnamespace", '\n#include "product.hpp"\n\nnamespace', 1)
    return text.replace("\n\n}", f"\n{constants}\n\n}}", 1)


def _factors(gamma: torch.Tensor) -> np.ndarray:
    most = 2 ** (FACTOR_BITS - 1) - 1
    return slots(gamma.clamp(-most, most))
