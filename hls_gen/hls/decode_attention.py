"""Decode attention over an INT8 cache as an HLS kernel: `attend` of `golden.transformer`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch

from golden.bit_packing import pack_fields
from golden.model_shapes import ModelShape
from golden.spec.errors import ConfigError
from golden.spec.special_function_unit import (
    EXPONENT_BITS,
    SUM_BITS,
    WIDE_BITS,
    SpecialFunctionUnitConfig,
)
from golden.special_functions import functions, scalars
from golden.transformer import Attention, attend
from hls_gen.hls import special_functions
from hls_gen.hls.kernel import Argument, Kernel, Memory, Port, Stream, header, read
from hls_gen.hls.random_layers import RandomLayers
from hls_gen.hls.vectors import Vectors

HEADER = "attention_config.hpp"

SOURCES = (*special_functions.SOURCES, "decode_attention.hpp")
"""What a kernel with attention in it needs of `cpp/`."""

NUMBERS = ("score_shift", "score_fraction", "sum_shift", "output_shift")
"""What the kernel is told of an `Attention`."""

LENGTHS = ("first", "few", "all")
"""Positions of a case: of the first token, some, and as many as the kernel has."""

ELEMENTS = ("any", "extremes")


@dataclass(frozen=True)
class DecodeAttentionConfig:
    """Attention of one token at a time.

    Attributes:
        heads, kv_heads: of queries, and of keys and values; heads is a multiple of kv_heads.
        head_size: elements of a head, an even number up to 256.
        max_positions: tokens of the longest cache, a power of two from 64 to 4096.
        probability_bits: 7, or 14 in two halves.
        table_bits: a function's table has 2**table_bits segments, 5 to 10.

    Raises:
        ConfigError: a field is outside its range.
    """

    heads: int = 9
    kv_heads: int = 3
    head_size: int = 64
    max_positions: int = 1024
    probability_bits: int = 14
    table_bits: int = 8

    def __post_init__(self) -> None:
        if not 1 <= self.kv_heads <= self.heads or self.heads % self.kv_heads:
            raise ConfigError(
                f"there are {self.heads} heads and {self.kv_heads} kv_heads; heads is a multiple "
                "of kv_heads"
            )
        for field, allowed in (
            ("head_size", range(2, 257, 2)),
            ("max_positions", [2**i for i in range(6, 13)]),
            ("probability_bits", [7, 14]),
        ):
            if (value := getattr(self, field)) not in allowed:
                names = f"even, 2 to {allowed[-1]}" if isinstance(allowed, range) else f"{allowed}"
                raise ConfigError(f"{field} is {value!r}; allowed are {names}")
        SpecialFunctionUnitConfig(table_bits=self.table_bits)

    @property
    def shape(self) -> ModelShape:
        """The shape of a model with such heads, as small as it can be otherwise."""
        return ModelShape(
            name="random",
            source="random numbers",
            layers=1,
            hidden=16,
            heads=self.heads,
            kv_heads=self.kv_heads,
            head_size=self.head_size,
            feed_forward=16,
            vocabulary=16,
        )


@dataclass(frozen=True, eq=False)
class Case:
    """One new token and a cache.

    Attributes:
        queries: wide [heads, head_size]. keys, values: INT8 [positions, kv_heads, head_size], the
            last ones the token's own.
        length, elements: the cross that it was made for.
    """

    name: str
    config: DecodeAttentionConfig
    attention: Attention
    queries: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor
    length: str
    elements: str


def kernel(config: DecodeAttentionConfig) -> Kernel:
    """Return the kernel of an attention."""
    ports: list[Port] = [
        Argument("position"),
        *(Argument(name, kind="int") for name in NUMBERS),
        Stream("i_query", "head_word_t"),
        Stream("i_scale", "scalar_payload_t"),
        Stream("i_key", "head_word_t"),
        Stream("i_value", "head_word_t"),
        Memory("keys", "head_word_t", written=True),
        Memory("values", "head_word_t", written=True),
        Stream("o", "slot_t", output=True),
    ]
    sources = (*SOURCES, "decode_attention_top.hpp", "decode_attention.cpp")
    lanes = config.heads // config.kv_heads * config.head_size
    return Kernel("decode_attention", ports, headers(config), read(sources), lanes)


def headers(config: DecodeAttentionConfig) -> dict[str, str]:
    """Return the constants of an attention and of its functions."""
    unit = SpecialFunctionUnitConfig(table_bits=config.table_bits)
    constants = {name.upper(): value for name, value in asdict(config).items()}
    del constants["TABLE_BITS"]
    constants["CACHE_WORDS"] = config.max_positions * config.kv_heads
    return {
        special_functions.HEADER: special_functions.functions_header(unit),
        HEADER: header(HEADER, config, constants),
    }


def crosses(_: DecodeAttentionConfig) -> int:
    """Return how many combinations there are of what a case may have."""
    return len(LENGTHS) * len(ELEMENTS)


def coverage(cases: Sequence[Case]) -> float:
    """Return the share of the crosses that the cases hit."""
    return len({(case.length, case.elements) for case in cases}) / crosses(cases[0].config)


def random_cases(config: DecodeAttentionConfig, count: int, seed: int) -> list[Case]:
    """Return `count` random cases; as many as there are crosses hit each of them."""
    random = torch.Generator().manual_seed(seed)
    layers = RandomLayers(config.shape, random, config.max_positions, config.probability_bits)
    every = [(length, elements) for length in LENGTHS for elements in ELEMENTS]
    return [_case(config, layers, n, *every[n % len(every)]) for n in range(count)]


def _case(
    config: DecodeAttentionConfig, layers: RandomLayers, number: int, length: str, elements: str
) -> Case:
    def integers(low: int, high: int, *shape: int) -> torch.Tensor:
        if elements == "extremes":
            return torch.tensor([low, high])[torch.randint(2, shape, generator=layers.random)]
        return torch.randint(low, high + 1, shape, generator=layers.random)

    some = int(torch.randint(2, 30, (1,), generator=layers.random))
    positions = {"first": 1, "few": some, "all": config.max_positions}[length]
    cached = (positions, config.kv_heads, config.head_size)
    attention = layers.attention(20)
    more = int(torch.randint(-3, 4, (1,), generator=layers.random))
    return Case(
        f"random {number}: {length}, {elements}",
        config,
        replace(attention, score_shift=attention.score_shift + more),
        integers(-(2**22), 2**22, config.heads, config.head_size),
        integers(-128, 127, *cached),
        integers(-128, 127, *cached),
        length,
        elements,
    )


def vectors(case: Case) -> Vectors:
    """Return what the kernel's bench reads of a case."""
    config, last = case.config, len(case.keys) - 1
    queries = case.queries[None]
    magnitude = functions.magnitude(queries)
    query_bytes = functions.quantise(queries, scalars.quantiser(magnitude))
    scale = scalars.normalise(magnitude)
    outputs = attend(case.attention, query_bytes, scale, case.keys, case.values)
    before, after = {}, {}
    for name, cached in (("keys", case.keys), ("values", case.values)):
        before[name] = cache_words(cached[:last], config.max_positions)
        after[name] = cache_words(cached, config.max_positions)
    data = {
        "i_query": _heads(query_bytes[0].numpy()),
        "i_scale": pack_fields(
            (scale.value[0][:, None].numpy(), SUM_BITS),
            (scale.exponent[0][:, None].numpy(), EXPONENT_BITS),
        ),
        "i_key": _heads(case.keys[last].numpy()),
        "i_value": _heads(case.values[last].numpy()),
        "o": slots(outputs),
    }
    numbers = {name: getattr(case.attention, name) for name in NUMBERS}
    return Vectors(case.name, {"position": last, **numbers}, data | before, after)


def slots(values: torch.Tensor) -> np.ndarray:
    """Return wide elements as payloads of 32 bits, uint8 [elements, 4]."""
    assert int(values.abs().max()) <= 2 ** (WIDE_BITS - 1)
    return values.reshape(-1, 1).numpy().astype("<i4").view(np.uint8)


def cache_words(cached: torch.Tensor, room: int) -> np.ndarray:
    """Return the memory of a cache of `room` positions, uint8 [room * heads, head_size].

    Args:
        cached: INT8 [positions, heads, head_size]; behind them there are zeros.
    """
    memory = np.zeros((room, *cached.shape[1:]), np.int8)
    memory[: len(cached)] = cached.numpy()
    return _heads(memory)


def _heads(values: np.ndarray) -> np.ndarray:
    """Return INT8 heads [..., head_size] as words, uint8 [words, head_size]."""
    words = np.ascontiguousarray(values, np.int8).view(np.uint8)
    return words.reshape(-1, values.shape[-1])
