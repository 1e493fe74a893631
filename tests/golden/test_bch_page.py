"""Pages with their CRC: known values, and what BCH alone would let through."""

import re
import zlib

import numpy as np
import pytest

from golden.page_crc import ONES, POLYNOMIAL, RESIDUE, crc32c, read_page, store_page
from golden.spec.bch import BchConfig
from golden.spec.errors import ConfigError, ShapeError


def bytes_of(*values):
    return np.array(values, np.uint8)


@pytest.mark.parametrize(
    ("message", "crc"),
    [
        (b"123456789", 0xE3069283),
        # RFC 3720, appendix B.4
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(reversed(range(32))), 0x113FDB5C),
        (b"", 0),
    ],
)
def test_known_values(message, crc):
    assert int(crc32c(np.frombuffer(message, np.uint8))) == crc


def test_with_another_polynomial_it_is_zlibs(monkeypatch):
    import golden.page_crc

    golden.page_crc._position_table.cache_clear()
    monkeypatch.setattr(golden.page_crc, "POLYNOMIAL", 0xEDB88320)
    rows = np.random.default_rng(0).integers(0, 256, (3, 4, 777), dtype=np.uint8)
    found = crc32c(rows)
    golden.page_crc._position_table.cache_clear()
    assert found.shape == (3, 4)
    assert found.tolist() == [[zlib.crc32(row.tobytes()) for row in rows_] for rows_ in rows]


def test_the_residue():
    message = np.random.default_rng(1).integers(0, 256, 50, dtype=np.uint8)
    with_crc = np.concatenate([message, crc32c(message)[None].astype("<u4").view(np.uint8)])
    assert int(crc32c(with_crc)) ^ ONES == RESIDUE
    assert int(f"{0x1EDC6F41:032b}"[::-1], 2) == POLYNOMIAL


def pages_of(config, count, seed):
    random = np.random.default_rng(seed)
    data = random.integers(0, 256, (count, config.page_bytes), dtype=np.uint8)
    owner = random.integers(0, 256, (count, config.owner_bytes), dtype=np.uint8)
    return data, owner


@pytest.mark.parametrize(
    "config",
    [BchConfig(chunks=chunks) for chunks in (4, 8, 16)] + [BchConfig(tag_bytes=16, word_bits=128)],
    ids=str,
)
def test_a_page_comes_back(config):
    data, owner = pages_of(config, 3, seed=0)
    stored = store_page(config, data, owner)
    assert stored.shape == (3, config.stored_bytes)
    # t wrong bits in every chunk
    chunks = stored.reshape(3, config.chunks, config.chunk_bytes)
    chunks[..., 5 : 5 + 100 * config.t : 100] ^= 0x10
    page = read_page(config, stored)
    assert (page.data == data).all()
    assert (page.owner == owner).all()
    assert (page.corrected == config.t).all()
    assert not page.lost.any()


def test_where_tags_and_the_crc_stand():
    config = BchConfig(data_bytes=8, tag_bytes=8, t=1, chunks=2)
    data, owner = pages_of(config, 1, seed=2)
    chunks = store_page(config, data, owner).reshape(2, config.chunk_bytes)
    assert (chunks[:, :8].flatten() == data[0]).all()
    assert (chunks[0, 8:16] == owner[0, :8]).all()
    assert (chunks[1, 8:12] == owner[0, 8:]).all()
    whole = np.concatenate([chunks[0, :16], chunks[1, :12]])
    assert chunks[1, 12:16].view("<u4")[0] == crc32c(whole)


def with_errors(config, stored, random, most):
    """Return pages with 0 to `most` wrong bits in every chunk."""
    chunks = stored.reshape(-1, config.chunk_bytes).copy()
    bits = config.message_bits + config.parity_bits
    for chunk in chunks:
        wrong = random.choice(bits, size=int(random.integers(0, most + 1)), replace=False)
        np.bitwise_xor.at(chunk, wrong // 8, (1 << wrong % 8).astype(np.uint8))
    return chunks.reshape(stored.shape)


def test_the_crc_sees_all_that_bch_corrects_wrongly():
    """10,000 pages with up to t + 3 wrong bits in a chunk, and so small a t that many are wrong."""
    config = BchConfig(data_bytes=128, t=2, chunks=4)
    random = np.random.default_rng(3)
    lost = miscorrected = failed = wrong = 0
    for seed in range(10):
        data, owner = pages_of(config, 1000, seed)
        stored = with_errors(config, store_page(config, data, owner), random, config.t + 3)
        page = read_page(config, stored)
        right = ((page.data == data).all(axis=1)) & ((page.owner == owner).all(axis=1))
        believed = ~page.uncorrectable.any(axis=1)  # by BCH alone
        miscorrected += int((believed & ~right).sum())
        failed += int(page.uncorrectable.any(axis=1).sum())
        lost += int(page.lost.sum())
        wrong += int((~page.lost & ~right).sum())
    assert wrong == 0
    assert lost == failed + miscorrected
    assert failed > 8000
    assert miscorrected > 400


def test_without_tags_there_is_no_crc():
    config = BchConfig(tag_bytes=0)
    message = "tag_bytes is 0; a page's CRC needs 4 bytes or more"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        store_page(config, np.zeros(4096, np.uint8), np.zeros(0, np.uint8))
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        read_page(config, np.zeros(config.stored_bytes, np.uint8))


@pytest.mark.parametrize(
    ("data", "owner", "message"),
    [
        (4095, 28, "the data is uint8 of shape [4095]; rows of 4096 bytes (uint8) are needed"),
        (4096, 32, "the owner's bytes is uint8 of shape [32]; rows of 28 bytes (uint8) are needed"),
    ],
)
def test_other_sizes_are_refused(data, owner, message):
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        store_page(BchConfig(), np.zeros(data, np.uint8), np.zeros(owner, np.uint8))
