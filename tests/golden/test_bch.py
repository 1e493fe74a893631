"""The code of the drive's chunks: against brute force, textbook polynomials and injected errors."""

import re
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golden.bch import bch_code, generator_polynomial
from golden.galois_field import galois_field
from golden.spec.bch import PRIMITIVE_POLYNOMIALS, BchConfig
from golden.spec.errors import ConfigError, ShapeError

SMALL = BchConfig(data_bytes=1, tag_bytes=0, t=2, word_bits=8, chunks=1)
DEFAULT = BchConfig()
STRONG = BchConfig(t=40)


def refuses(error, message):
    return pytest.raises(error, match=f"^{re.escape(message)}$")


def message_of(config, seed, count=1):
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (count, config.message_bytes), dtype=np.uint8)


def with_wrong_bits(chunks, wrong):
    """Return chunks with each one's bits of those numbers inverted."""
    chunks = chunks.copy()
    for chunk, bits in zip(chunks, wrong, strict=True):
        for bit in bits:
            chunk[bit // 8] ^= 1 << bit % 8
    return chunks


def divides(divisor, dividend):
    """Whether one polynomial over GF(2) divides another one; both as bits."""
    while dividend.bit_length() >= divisor.bit_length():
        dividend ^= divisor << dividend.bit_length() - divisor.bit_length()
    return dividend == 0


@pytest.mark.parametrize("m", PRIMITIVE_POLYNOMIALS)
def test_every_polynomial_is_primitive(m):
    field = galois_field(m)
    assert sorted(field.powers[: field.order]) == list(range(1, 2**m))


@pytest.mark.parametrize("m", [3, 4, 8])
def test_the_field_multiplies_as_polynomials_do(m):
    field, elements = galois_field(m), np.arange(2**m)
    for a in elements:
        product = np.zeros_like(elements)
        for k in range(m):
            product ^= np.where(elements >> k & 1, a << k, 0)
        for k in reversed(range(m, 2 * m)):
            product ^= np.where(product >> k & 1, PRIMITIVE_POLYNOMIALS[m] << k - m, 0)
        assert (field.multiply(a, elements) == product).all()


@pytest.mark.parametrize(
    ("m", "t", "generator"),
    # Lin and Costello, Error Control Coding, appendix C, in octal.
    [(5, 1, 0o45), (5, 2, 0o3551), (5, 3, 0o107657), (6, 2, 0o12471), (6, 3, 0o1701317)],
)
def test_generators_are_the_textbooks(m, t, generator):
    config = BchConfig(data_bytes=1, tag_bytes=0, t=t, word_bits=8, field_bits=m)
    assert generator_polynomial(config) == generator
    assert config.parity_bits == generator.bit_length() - 1


def test_the_format_is_the_documents():
    """A chunk is a polynomial that the generator divides; its bits begin with the highest power."""
    config = BchConfig(data_bytes=16, tag_bytes=4, t=3, word_bits=32)
    (chunk,) = bch_code(config).encode(message_of(config, 0))
    assert len(chunk) == config.chunk_bytes
    bits = np.unpackbits(chunk, bitorder="little")
    used = config.message_bits + config.parity_bits
    assert not bits[used:].any()
    polynomial = int("".join(map(str, bits[:used])), 2)
    assert divides(generator_polynomial(config), polynomial)
    assert not divides(generator_polynomial(config), polynomial ^ 2)


def test_all_words_of_a_small_code_are_decoded_as_by_brute_force():
    """All 2^18 words: the codeword within t bits, if there is one, and else a failure."""
    config, code = SMALL, bch_code(SMALL)
    messages = np.arange(256, dtype=np.uint8)[:, None]
    size = config.message_bits + config.parity_bits
    chunks = np.zeros(256, np.int64)
    for k, byte in enumerate(code.encode(messages).T):
        chunks |= byte.astype(np.int64) << 8 * k
    nearest = np.full(2**size, -1)
    wrong_bits = np.zeros(2**size, np.int64)
    for count in range(config.t + 1):
        for bits in combinations(range(size), count):
            reached = chunks ^ sum(1 << bit for bit in bits)
            assert (nearest[reached] == -1).all()
            nearest[reached] = messages[:, 0]
            wrong_bits[reached] = count
    words = np.arange(2**size, dtype="<u4")[:, None].view(np.uint8)[:, : config.chunk_bytes]
    decoded = code.decode(words)
    lost = nearest == -1
    assert (decoded.uncorrectable == lost).all()
    assert (decoded.message[~lost, 0] == nearest[~lost]).all()
    assert (decoded.corrected == wrong_bits).all()


CONFIGS = [
    DEFAULT,
    STRONG,
    BchConfig(t=1),
    BchConfig(field_bits=15),
    BchConfig(data_bytes=4096, tag_bytes=64, t=16, word_bits=128),
    BchConfig(data_bytes=512, tag_bytes=4, t=4, word_bits=32),
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@given(data=st.data())
@settings(max_examples=10)
def test_up_to_t_errors_are_corrected(config, data):
    bits = st.integers(0, config.message_bits + config.parity_bits - 1)
    wrong = data.draw(st.lists(st.sets(bits, max_size=config.t), min_size=1, max_size=4))
    message = message_of(config, data.draw(st.integers(0, 9)), len(wrong))
    decoded = bch_code(config).decode(with_wrong_bits(bch_code(config).encode(message), wrong))
    assert (decoded.message == message).all()
    assert decoded.corrected.tolist() == [len(bits) for bits in wrong]
    assert not decoded.uncorrectable.any()


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_t_errors_in_a_row_at_every_border_are_corrected(config):
    last = config.message_bits + config.parity_bits - config.t
    begins = [0, 1, config.message_bits - config.t, config.message_bits - 1, last]
    wrong = [range(begin, min(begin + config.t, last + config.t)) for begin in begins]
    message = message_of(config, 1, len(wrong))
    decoded = bch_code(config).decode(with_wrong_bits(bch_code(config).encode(message), wrong))
    assert (decoded.message == message).all()
    assert decoded.corrected.tolist() == list(map(len, wrong))


def test_one_error_too_many_is_seen():
    """A miscorrection of random errors has about a chance of 1 in 10^7 with t = 8."""
    random = np.random.default_rng(0)
    bits = DEFAULT.message_bits + DEFAULT.parity_bits
    wrong = [random.choice(bits, DEFAULT.t + 1 + k % 3, replace=False) for k in range(200)]
    code = bch_code(DEFAULT)
    decoded = code.decode(with_wrong_bits(code.encode(message_of(DEFAULT, 2, 200)), wrong))
    assert decoded.uncorrectable.all()
    assert not decoded.corrected.any()


def test_padding_is_ignored():
    config = DEFAULT
    padding = range(8 * config.chunk_bytes - config.padding_bits, 8 * config.chunk_bytes)
    assert len(padding) == 16
    message = message_of(config, 3)
    decoded = bch_code(config).decode(
        with_wrong_bits(bch_code(config).encode(message), [[7, *padding]])
    )
    assert (decoded.message == message).all()
    assert decoded.corrected.tolist() == [1]


def test_leading_dimensions_stay():
    message = message_of(DEFAULT, 4, 6).reshape(2, 3, -1)
    code = bch_code(DEFAULT)
    chunks = code.encode(message)
    assert chunks.shape == (2, 3, DEFAULT.chunk_bytes)
    decoded = code.decode(chunks)
    assert (decoded.message == message).all()
    assert (
        decoded.corrected.shape == decoded.uncorrectable.shape == decoded.searched.shape == (2, 3)
    )


def test_sizes_of_the_default():
    assert (DEFAULT.m, DEFAULT.parity_bits, DEFAULT.chunk_bytes) == (14, 112, 1048)
    assert (DEFAULT.page_bytes, DEFAULT.stored_bytes, DEFAULT.spare_bytes) == (4096, 4192, 96)
    assert DEFAULT.owner_bytes == 28
    assert DEFAULT.chunk_words == 131


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"word_bits": 24}, "word_bits is 24; allowed are 8, 16, 32, 64 and 128"),
        (
            {"data_bytes": 1028},
            "data_bytes is 1028; words of 64 bits need a multiple of 8, at most 4096",
        ),
        (
            {"data_bytes": 0},
            "data_bytes is 0; words of 64 bits need a multiple of 8, at most 4096",
        ),
        (
            {"tag_bytes": 4},
            "tag_bytes is 4; allowed are 0, and the multiples of 8 from 8 to 64",
        ),
        (
            {"tag_bytes": 2, "word_bits": 16},
            "tag_bytes is 2; allowed are 0, and the multiples of 2 from 4 to 64",
        ),
        (
            {"search_bits": 128},
            "search_bits is 128; allowed are 0, and 8, 16 ... up to word_bits, which is 64",
        ),
        ({"t": 41}, "t is 41; allowed are 1 to 40 bits"),
        ({"t": 0}, "t is 0; allowed are 1 to 40 bits"),
        ({"chunks": 65}, "chunks is 65; allowed are 1 to 64"),
        ({"field_bits": 17}, "field_bits is 17; allowed are 0 and 3 to 16"),
        (
            {"field_bits": 13},
            "a chunk of 1032 bytes with t = 8 does not fit into GF(2^13), which has room for "
            "8191 bits; take a smaller data_bytes or t",
        ),
    ],
)
def test_other_configurations_are_refused(fields, message):
    with refuses(ConfigError, message):
        BchConfig(**fields)


def test_other_bytes_are_refused():
    code = bch_code(DEFAULT)
    with refuses(
        ShapeError,
        "the message is uint8 of shape [2, 5]; rows of 1032 bytes (uint8) are needed",
    ):
        code.encode(np.zeros((2, 5), np.uint8))
    with refuses(
        ShapeError,
        "the chunk is int64 of shape [1048]; rows of 1048 bytes (uint8) are needed",
    ):
        code.decode(np.zeros(1048, np.int64))
