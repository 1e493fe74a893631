import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golden.bit_packing import pack_bits, pack_fields, packed_bytes, unpack_bits
from golden.numbers import signed_range
from golden.spec.errors import ConfigError, ShapeError
from golden.spec.expansion import WEIGHT_WIDTHS, ExpansionConfig

widths = st.sampled_from(WEIGHT_WIDTHS)
words = st.sampled_from((8, 16, 64, 128, 512))


def refuses(error, message):
    return pytest.raises(error, match=f"^{re.escape(message)}$")


@st.composite
def rows(draw):
    """A width and a row of weights of it."""
    bits = draw(widths)
    low, high = signed_range(bits)
    row = draw(st.lists(st.integers(low, high), max_size=70))
    return bits, torch.tensor(row, dtype=torch.int64)


@given(rows(), words)
def test_what_is_packed_comes_back(row, word_bits):
    bits, weights = row
    unpacked = unpack_bits(pack_bits(weights, bits, word_bits), bits, len(weights))
    assert unpacked.dtype == torch.int8
    assert unpacked.tolist() == weights.tolist()


@given(rows(), words)
def test_the_bits_lie_where_the_format_says(row, word_bits):
    bits, weights = row
    packed = pack_bits(weights, bits, word_bits)
    string = sum((weight % 2**bits) << (n * bits) for n, weight in enumerate(weights.tolist()))
    assert packed.dtype == torch.uint8
    assert bytes(packed.tolist()) == string.to_bytes(len(packed), "little")


@given(widths, st.integers(0, 1000), words)
def test_a_segment_takes_its_bits_and_no_more_than_the_rest_of_a_word(bits, count, word_bits):
    size = packed_bytes(count, bits, word_bits)
    assert len(pack_bits(torch.zeros(count, dtype=torch.int8), bits, word_bits)) == size
    assert 0 <= 8 * size - count * bits < word_bits
    assert 8 * size % word_bits == 0


@pytest.mark.parametrize(
    ("bits", "weights", "data"),
    [
        (2, [1, -1, -2, 0, 1], "2d 01"),  # 00 10 11 01, then 01
        (3, [1, -1, -4, 3, 0, 2, -3, -2], "39 07 d5"),
        (4, [1, -1, -8], "f1 08"),
        (5, [1, -1, -16, 15], "e1 c3 07"),
        (6, [1, -1, -32, 31], "c1 0f 7e"),
        (8, [1, -1, -128], "01 ff 80"),
    ],
)
def test_by_hand(bits, weights, data):
    packed = pack_bits(torch.tensor(weights), bits)
    assert bytes(packed.tolist()).hex(" ") == data
    assert unpack_bits(packed, bits, len(weights)).tolist() == weights


@pytest.mark.parametrize("bits", WEIGHT_WIDTHS)
def test_a_thousand_weights_take_a_thousand_times_their_width(bits):
    weights = torch.full((1000,), signed_range(bits)[0])
    assert len(pack_bits(weights, bits)) == 125 * bits
    assert packed_bytes(1000, bits, 512) == 64 * -(-1000 * bits // 512)


def test_rows_are_packed_each_by_itself():
    matrix = torch.arange(-4, 4).repeat(3, 2, 1)
    packed = pack_bits(matrix[..., :5], 3, 16)
    assert packed.shape == (3, 2, 2)
    assert packed[2, 1].tolist() == pack_bits(matrix[0, 0, :5], 3, 16).tolist()
    assert torch.equal(unpack_bits(packed, 3, 5), matrix[..., :5].to(torch.int8))


def test_padding_is_not_read():
    packed = pack_bits(torch.tensor([1, -2, 3]), 3, 64)
    packed[1] |= 0xFE
    packed[2:] = 0xFF
    assert unpack_bits(packed, 3, 3).tolist() == [1, -2, 3]


def test_all_values_of_every_width():
    for bits in WEIGHT_WIDTHS:
        low, high = signed_range(bits)
        every = torch.arange(low, high + 1)
        assert unpack_bits(pack_bits(every, bits), bits, len(every)).tolist() == every.tolist()


def test_fields_of_several_widths_share_a_row():
    values = np.array([[3, -1], [-4, 2]]), 3
    flag = np.array([[1], [0]]), 1
    wide = np.array([[-(2**40)], [2**40]]), 48
    packed = pack_fields(values, flag, wide)
    assert packed.shape == (2, 7)
    first, second = (int.from_bytes(row.tobytes(), "little") for row in packed)
    assert first == 0b1_111_011 | ((2**48 - 2**40) << 7)
    assert second == 0b0_010_100 | (2**40 << 7)


@pytest.mark.parametrize("bits", [0, 1, 7, 9, -2])
def test_other_widths_are_refused(bits):
    message = f"the width of a weight is {bits}; allowed are 2, 3, 4, 5, 6 or 8 bits"
    with refuses(ConfigError, message):
        pack_bits(torch.zeros(4, dtype=torch.int8), bits)
    with refuses(ConfigError, message):
        unpack_bits(torch.zeros(4, dtype=torch.uint8), bits, 1)
    with refuses(ConfigError, message):
        packed_bytes(4, bits)


@pytest.mark.parametrize("word_bits", [0, -8, 12])
def test_other_words_are_refused(word_bits):
    message = f"the width of a word is {word_bits}; whole bytes are needed"
    with refuses(ConfigError, message):
        pack_bits(torch.zeros(4, dtype=torch.int8), 2, word_bits)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (torch.tensor([3, -5]), "the row of weights spans -5 to 3; 3 signed bits hold -4 to 3"),
        (torch.ones(2), "the row of weights is torch.float32; integers of 3 bits are needed"),
        (torch.tensor(1), "the weights are a single number; a row of them is needed"),
    ],
)
def test_weights_that_do_not_fit_are_refused(weights, message):
    with refuses(ShapeError, message):
        pack_bits(weights, 3)


@pytest.mark.parametrize(
    ("data", "count", "message"),
    [
        (
            torch.zeros(2, dtype=torch.uint8),
            6,
            "the packed weights have 2 bytes; 6 weights of 3 bits take 3",
        ),
        (
            torch.zeros(2, dtype=torch.int8),
            1,
            "the packed weights are torch.int8 of shape [2]; rows of torch.uint8 are needed",
        ),
        (
            torch.tensor(2, dtype=torch.uint8),
            1,
            "the packed weights are torch.uint8 of shape []; rows of torch.uint8 are needed",
        ),
        (
            torch.zeros(2, dtype=torch.uint8),
            -1,
            "-1 weights are asked for; none or more can be had",
        ),
    ],
)
def test_data_that_do_not_fit_are_refused(data, count, message):
    with refuses(ShapeError, message):
        unpack_bits(data, 3, count)


def test_the_expansion_unit_reads_whole_words():
    config = ExpansionConfig(word_bits=512, lanes=16)
    assert (config.chunk_bits, config.chunks, config.max_beats) == (128, 4, 65536)
    assert [config.words(3, beats) for beats in (1, 10, 11, 32, 33)] == [1, 1, 2, 3, 4]
    for bits in WEIGHT_WIDTHS:
        for beats in range(1, 70):
            size = packed_bytes(beats * config.lanes, bits, config.word_bits)
            assert size == config.words(bits, beats) * 64


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"lanes": 12}, "lanes is 12; allowed are 1, 2, 4, 8, 16, 32 and 64"),
        ({"word_bits": 64}, "word_bits is 64; 16 lanes need a multiple of 128, at most 1024"),
        ({"word_bits": 0}, "word_bits is 0; 16 lanes need a multiple of 128, at most 1024"),
        ({"word_bits": 1152}, "word_bits is 1152; 16 lanes need a multiple of 128, at most 1024"),
        (
            {"word_bits": 96, "lanes": 8},
            "word_bits is 96; 8 lanes need a multiple of 64, at most 1024",
        ),
        ({"beat_bits": 0}, "beat_bits is 0; allowed are 1 to 32 bits"),
        ({"beat_bits": 33}, "beat_bits is 33; allowed are 1 to 32 bits"),
    ],
)
def test_expansion_units_that_are_refused(changed, message):
    with refuses(ConfigError, message):
        ExpansionConfig(**changed)
