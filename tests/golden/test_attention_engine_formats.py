import math
import re
import struct
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from golden.attention_engine_formats import (
    KvHead,
    channel_scales,
    fraction_for,
    from_bytes,
    from_half,
    is_finite,
    to_bytes,
    to_fixed,
    to_half,
    to_queries,
)
from golden.spec.attention_engine import AttentionConfig, KvFormat
from golden.spec.errors import ShapeError

EVERY = torch.arange(-(2**15), 2**15).to(torch.int16).view(torch.float16)
FP16 = AttentionConfig(head_size=16, queries=2)
INT8 = AttentionConfig(head_size=16, queries=2, kv_format=KvFormat.INT8)
HALVES = st.floats(width=16, allow_nan=False, allow_infinity=False)


def test_which_are_finite():
    assert torch.equal(is_finite(EVERY), EVERY.isfinite())


@pytest.mark.parametrize("fraction", [-8, 0, 7, 15, 24, 39])
def test_every_finite_number_is_rounded_once(fraction):
    real = EVERY.double() * 2.0**fraction
    expected = torch.round(real).clamp(-(2**15), 2**15 - 1)
    finite = EVERY.isfinite()
    got = to_fixed(EVERY, fraction, 16)
    assert torch.equal(got[finite], expected[finite].long())


@given(HALVES, st.integers(-30, 50), st.integers(8, 16))
def test_a_number_in_fixed_point(x, fraction, bits):
    expected = round(Fraction(x) * Fraction(2) ** fraction)
    expected = max(-(2 ** (bits - 1)), min(2 ** (bits - 1) - 1, expected))
    assert int(to_fixed(torch.tensor([x], dtype=torch.float16), fraction, bits)[0]) == expected


def test_infinities_and_nans_count_as_their_fields_say():
    words = [0x7C00, 0xFC00, 0x7E00, 0x7FFF]
    x = torch.tensor([struct.unpack("<h", struct.pack("<H", w))[0] for w in words])
    x = x.to(torch.int16).view(torch.float16)
    assert to_fixed(x, -2, 16).tolist() == [16384, -16384, 24576, 32752]
    assert to_fixed(x, 15, 16).tolist() == [32767, -32768, 32767, 32767]


def test_the_largest_of_a_group_has_all_bits():
    q = torch.tensor([[1.0] * 16, [-4.0] * 16]).half()[None]
    queries = to_queries(FP16, q)
    assert queries.fraction.tolist() == [12]
    assert queries.values[0, :, 0].tolist() == [4096, -16384]


@settings(max_examples=50)
@given(st.lists(HALVES, min_size=4, max_size=4), st.integers(8, 16))
def test_queries_share_the_best_exponent(some, bits):
    config = AttentionConfig(head_size=16, queries=2, query_bits=bits)
    numbers = [0.0] * 14 + some + [0.0] * 14
    x = torch.tensor(numbers, dtype=torch.float16).reshape(1, 2, 16)
    queries = to_queries(config, x)
    fraction, largest = int(queries.fraction), float(x.abs().max())
    most = 2 ** (bits - 1) - 1
    if largest:
        assert 2 ** (bits - 2) <= largest * 2.0**fraction < 2 ** (bits - 1)
    exact = [Fraction(n) * Fraction(2) ** fraction for n in numbers]
    expected = [max(-most, min(most, round(n))) for n in exact]
    assert queries.values.flatten().tolist() == expected


def test_queries_of_zeros_and_of_the_smallest_number():
    zeros = to_queries(FP16, torch.zeros(1, 2, 16).half())
    assert not zeros.values.any()
    small = torch.zeros(1, 2, 16).half()
    small[0, 1, 3] = 2.0**-24
    assert to_queries(FP16, small).values[0, 1, 3] == 2**14


def test_a_query_that_rounds_up_saturates():
    config = AttentionConfig(head_size=16, queries=1, query_bits=8)
    x = torch.zeros(1, 16).half()
    x[0, :2] = torch.tensor([-2047.0, 2047.0]) / 2048
    queries = to_queries(config, x)
    assert (int(queries.fraction), queries.values[0, :3].tolist()) == (7, [-127, 127, 0])


def test_queries_are_checked():
    message = "queries are [3, 16]; the last two must be [2, 16]"
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        to_queries(FP16, torch.zeros(3, 16).half())
    message = "the numbers are torch.float32; the engine takes torch.float16"
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        to_queries(FP16, torch.zeros(2, 16))


@given(st.floats(1e-6, 1e6))
def test_a_cache_s_fraction_is_the_largest(largest):
    fraction = fraction_for(largest)
    assert largest * 2.0**fraction <= 2**15 - 1 < largest * 2.0 ** (fraction + 1)


def test_a_cache_of_zeros():
    assert fraction_for(0.0) == 16
    assert channel_scales(torch.zeros(3, 2)).tolist() == [1, 1]


def test_a_cache_of_fp16():
    keys, values = torch.tensor([[1.5, -2.0]]).half(), torch.tensor([[0.25, 64.0]]).half()
    kv = from_half(keys, values, 13, 8)
    assert kv.keys.tolist() == [[12288, -16384]]
    assert kv.values.tolist() == [[64, 16384]]
    assert (kv.key_fraction, kv.value_fraction) == (13, 8)
    part = kv.part(slice(0, 0))
    assert (len(part.keys), part.value_fraction) == (0, 8)


def test_a_cache_of_int8():
    x = torch.tensor([[1.0, -8.0], [-2.0, 4.0], [3.0, 0.0]])
    scales = channel_scales(x, headroom=1.27)
    stored = to_bytes(x, scales)
    assert stored.dtype is torch.int8
    assert stored.tolist() == [[33, -100], [-67, 50], [100, 0]]
    assert to_bytes(10 * x, scales).tolist() == [[127, -128], [-128, 127], [127, 0]]
    assert isinstance(from_bytes(stored, stored), KvHead)
    message = "values is torch.float32; integers of 8 bits are needed"
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        from_bytes(stored, x)


@given(st.integers(-(2**24), 2**24), st.integers(-1, 39), st.sampled_from([FP16, INT8]))
def test_an_output_is_rounded_once(output, value_fraction, config):
    got = to_half(config, torch.tensor([output]), value_fraction)
    assert got.dtype is torch.float16
    real = math.ldexp(output, -config.output_fraction_bits - value_fraction)
    real = max(-65504.0, min(65504.0, real))
    assert float(got[0]) == struct.unpack("<e", struct.pack("<e", real))[0]
