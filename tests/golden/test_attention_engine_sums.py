"""Sums of powers in bins: exact, whatever the order; and how far from real ones."""

import math
from fractions import Fraction
from itertools import pairwise

import attention_by_hand as by_hand
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golden.attention_engine_sums import (
    LOWEST_BIN,
    Sums,
    add_up,
    collapse,
    divide,
    logits,
    lower,
    mass,
    merge,
    mixture,
    powers,
)
from golden.spec.attention_engine import AttentionConfig, KvFormat
from golden.special_functions.scalars import Scalar

FP16 = AttentionConfig(head_size=16)
INT8 = AttentionConfig(head_size=16, kv_format=KvFormat.INT8)
WIDE = st.integers(-(2**26), 2**26 - 1)


def tensor(values):
    return torch.tensor(values, dtype=torch.int64)


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(("bits", "most"), [(16, 3.2e-5), (12, 2.8e-4), (8, 4e-3)])
def test_powers_of_every_fraction(bits, most):
    config = AttentionConfig(head_size=16, probability_bits=bits)
    t = torch.arange(-(8 << 16), 0)
    got = powers(config, t)
    assert got.bin.unique().tolist() == [-1]
    real = 2 ** (t.double() / 2**16 + 8 + 15)
    assert float((got.power / real - 1).abs().max()) < most
    assert int(got.power.max()) < 1 << 23
    assert int(got.power.min()) >= 1 << 15
    assert not int((got.power & ((1 << (16 - bits)) - 1)).sum())
    # A higher bin is the same again.
    assert torch.equal(powers(config, t + (5 * 8 << 16)).power, got.power)


@given(st.lists(WIDE, min_size=1, max_size=40), st.integers(8, 16))
def test_sums_are_those_by_hand(t, bits):
    config = AttentionConfig(head_size=16, probability_bits=bits)
    terms = [by_hand.power(config, x) for x in t]
    sums = add_up(powers(config, tensor(t)), torch.ones(len(t), dtype=torch.bool))
    assert int(sums.top) == max(b for b, _ in terms)
    assert int(mass(sums)) == by_hand.summed(terms)


LOGITS = st.one_of(WIDE, st.integers(-(40 << 16), 40 << 16))


@st.composite
def sequences(draw):
    t = draw(st.lists(LOGITS, min_size=1, max_size=24))
    seed = draw(st.integers(0, 2**32))
    random = torch.Generator().manual_seed(seed)
    values = torch.randint(-(2**15), 2**15, (len(t), 3), generator=random)
    order = torch.randperm(len(t), generator=random)
    cuts = draw(st.lists(st.integers(0, len(t)), max_size=4))
    return tensor(t), values, order, sorted(cuts)


@given(sequences(), st.booleans())
def test_neither_order_nor_grouping_matters(sequence, from_the_right):
    t, values, order, cuts = sequence
    every = torch.ones(len(t), dtype=torch.bool)
    whole = add_up(powers(FP16, t), every, values)
    t, values = t[order], values[order]
    ends = [0, *cuts, len(t)]
    parts = [add_up(powers(FP16, t[a:b]), every[a:b], values[a:b]) for a, b in pairwise(ends)]
    if from_the_right:
        parts.reverse()
    merged = parts[0]
    for part in parts[1:]:
        merged = merge(merged, part) if from_the_right else merge(part, merged)
    assert equal(merged, whole)


def test_what_is_not_seen_does_not_count():
    t = tensor([5 << 16, 900 << 16, -(900 << 16)])
    values = tensor([[1], [2], [3]])
    seen = torch.tensor([True, False, False])
    assert equal(
        add_up(powers(FP16, t), seen, values), add_up(powers(FP16, t[:1]), seen[:1], values[:1])
    )
    lowest = tensor([-(2**26)])
    nothing = add_up(powers(FP16, lowest), torch.tensor([False]), values[:1])
    assert (int(nothing.top), int(mass(nothing))) == (LOWEST_BIN, 0)
    assert mixture(FP16, nothing).tolist() == [0]
    assert int(mass(add_up(powers(FP16, lowest), torch.tensor([True])))) == 1 << 15


def test_four_bins_are_kept():
    every = torch.ones(2, dtype=torch.bool)
    for distance, kept in ((31, True), (32, False)):
        t = tensor([(8 + 7 << 16) - (distance << 16), 8 + 7 << 16])
        assert bool(add_up(powers(FP16, t), every).mass[3]) is kept


def test_what_is_dropped_is_less_than_a_24_millionth():
    """The highest logit is at its bin's lower end, and all others just below the lowest bin."""
    t = torch.full((1000,), -(24 << 16) - 1)
    t[0] = 0
    values = torch.full((1000, 1), 2**15 - 1)
    values[0] = 0
    error = mixture(FP16, add_up(powers(FP16, t), torch.ones(1000, dtype=torch.bool), values))
    assert int(error) == 0
    assert 999 * 2.0**-24 * 2**15 * 2**8 / (2**15 * 2**8) < 6.0e-5


def test_sums_fit_in_their_bits():
    for config in (FP16, INT8, AttentionConfig(head_size=16, probability_bits=10)):
        config = AttentionConfig(
            head_size=16,
            kv_format=config.kv_format,
            probability_bits=config.probability_bits,
            context_bits=10,
        )
        t = torch.full((1024,), (8 << 16) - 1)
        values = torch.full((1024, 1), -(2 ** (config.element_bits - 1)))
        sums = add_up(powers(config, t), torch.ones(1024, dtype=torch.bool), values)
        unit = 16 - config.probability_bits
        most, least = int(sums.mass.max()) >> unit, int(sums.mixed.min()) >> unit
        assert most.bit_length() == config.mass_bits
        assert (-least - 1).bit_length() + 1 == config.mixed_bits


@given(st.lists(st.integers(-(2**53), 2**53), min_size=4, max_size=4))
def test_a_collapse_is_off_by_half_a_unit(bins):
    real = sum(Fraction(x, 256**k) for k, x in enumerate(bins))
    assert abs(int(collapse(tensor(bins))) - real) < Fraction(502, 1000)


@given(
    st.integers(2**15, 2**38),
    st.fractions(-1, 1, max_denominator=2**20),
    st.sampled_from([FP16, INT8]),
)
def test_a_quotient_is_off_by_2_to_the_minus_15(mass_, share, config):
    mixed = round(share * mass_ * 2 ** (config.element_bits - 1))
    got = int(divide(config, tensor([mixed]), tensor(mass_))[0])
    real = Fraction(mixed, mass_) * 2**config.output_fraction_bits
    assert got == by_hand.divided(config, mixed, mass_)
    assert abs(got - real) <= Fraction(1, 2**15) * 2**23


@pytest.mark.parametrize("config", [FP16, INT8])
def test_quotients_at_the_ends(config):
    most = 2 ** (config.element_bits - 1)
    for mass_ in (2**15, 2**16 - 1, 2**16, 2**38 - 1, 3 * 2**20 + 1):
        for value in (most - 1, -most):
            got = int(divide(config, tensor([value * mass_]), tensor(mass_))[0])
            assert abs(got - value * 2**config.output_fraction_bits) <= 2**8
    assert divide(config, tensor([0]), tensor(0)).tolist() == [0]


@given(st.integers(-(2**37), 2**37), st.integers(2**15, 2**16), st.integers(-80, 20))
def test_logits(score, value, exponent):
    got = logits(tensor([score]), Scalar(tensor(value), tensor(exponent)))
    assert int(got[0]) == by_hand.logit(score, value, exponent)
    if -60 <= exponent <= 0:
        real = max(-(2**26), min(2**26 - 1, Fraction(score * value) * Fraction(2) ** exponent))
        assert abs(int(got[0]) - real) <= Fraction(1, 2)


def test_a_long_shift_of_a_large_score():
    for exponent in (-47, -48, -53, -60, -61, -80):
        got = logits(tensor([2**37]), Scalar(tensor(2**16), tensor(exponent)))
        assert int(got[0]) == by_hand.logit(2**37, 2**16, exponent)


def test_lower_bins_fall_out():
    sums = Sums(tensor(2), tensor([1, 2, 3, 4]), tensor([[1], [2], [3], [4]]))
    assert lower(sums, tensor(4)).mass.tolist() == [0, 0, 1, 2]
    assert lower(sums, tensor(4)).mixed.flatten().tolist() == [0, 0, 1, 2]
    assert lower(sums, tensor(100)).mass.tolist() == [0, 0, 0, 0]
    assert equal(lower(sums, tensor(2)), sums)


def test_the_scale_by_hand():
    for size in (16, 64, 80, 128, 256):
        mantissa, place = by_hand.scale(size)
        assert mantissa * 2.0 ** (place - 16) == pytest.approx(
            math.log2(math.e) / math.sqrt(size), rel=2**-16
        )
        assert 2**15 <= mantissa <= 2**16
