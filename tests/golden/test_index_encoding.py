import re
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.index_encoding import IndexEncoding, block_bytes, decode, encode, row_bits
from golden.spec.errors import ShapeError

EXPLICIT, MASK, RANKED = IndexEncoding


@pytest.mark.parametrize("encoding", IndexEncoding)
@given(st.sampled_from((4, 8, 16, 32)), st.data())
def test_decoding_gives_the_indices_back(encoding, m, data):
    n = data.draw(st.integers(0, min(m, 12)))
    row = st.lists(st.integers(0, m - 1), min_size=n, max_size=n, unique=True).map(sorted)
    drawn = data.draw(st.lists(row, min_size=1, max_size=5))
    rows = np.array(drawn, np.uint8).reshape(len(drawn), n)
    codes = encode(encoding, rows, m)
    bits = row_bits(encoding, n, m)
    assert all(int(code) < 2**bits for code in codes)
    found = decode(encoding, codes, n, m)
    assert found.dtype == np.uint8 and found.tolist() == rows.tolist()


@pytest.mark.parametrize("n", [2, 4, 8])
def test_ranks_count_all_choices_without_a_gap(n):
    choices = np.array(list(combinations(range(16), n)), np.uint8)
    codes = encode(RANKED, choices)
    assert sorted(codes.tolist()) == list(range(len(choices)))
    assert (decode(RANKED, codes, n) == choices).all()


def test_codes_by_hand():
    row = np.array([[1, 4, 15]], np.uint8)
    assert encode(EXPLICIT, row).tolist() == [0xF41]
    assert encode(MASK, row).tolist() == [0x8012]
    assert encode(RANKED, row).tolist() == [1 + 6 + 455]  # C(1, 1) + C(4, 2) + C(15, 3)


@pytest.mark.parametrize(
    ("encoding", "bits"),
    [(EXPLICIT, [0, 8, 16, 32, 0]), (MASK, [0, 16, 16, 16, 0]), (RANKED, [0, 7, 11, 14, 0])],
)
def test_bits_of_a_row(encoding, bits):
    assert [row_bits(encoding, n) for n in (0, 2, 4, 8, 16)] == bits


def test_half_of_the_weights_save_nothing_with_explicit_indices_but_a_quarter_with_a_mask():
    dense = block_bytes(MASK, 16, 4)
    assert dense == 128
    assert block_bytes(EXPLICIT, 8, 4) / dense == 1
    assert block_bytes(MASK, 8, 4) / dense == 0.75


def test_a_row_of_too_many_indices():
    message = "16 explicit indices of 32 take 80 bits; a code has at most 64"
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        encode(EXPLICIT, np.arange(16, dtype=np.uint8)[None], 32)
