"""CRC-32C, and pages that are stored with it: the check that sees what BCH corrects wrongly.

Beyond t errors a BCH decoder sometimes finds another codeword and calls it corrected. The CRC goes
over the page's data and tags as they leave the decoder. CRC-32C has the Castagnoli polynomial of
RFC 3720 (its appendix B.4 has test vectors). In pages of any size here it sees any three wrong bits
(Koopman, "32-bit cyclic redundancy codes for Internet applications", DSN 2002), and of random
patterns all but one in 2^32.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from golden.bch import bch_code
from golden.spec.bch import CRC_BYTES, BchConfig
from golden.spec.errors import ConfigError, ShapeError

CRC_BITS = 8 * CRC_BYTES
POLYNOMIAL = 0x82F63B78
"""The Castagnoli polynomial without x^32; bit 31 is the coefficient of x^0."""

RESIDUE = 0xB798B438
"""What the register holds after a message with its CRC behind it, whatever the message."""

ONES = 0xFFFFFFFF
"""What the register begins with, and what its end is inverted with."""


@dataclass(frozen=True)
class ReadPage:
    """What is read of a page.

    Attributes:
        data: uint8 [..., page_bytes]; owner: uint8 [..., owner_bytes].
        corrected: int64 [..., chunks], bits; uncorrectable: bool [..., chunks].
        crc_wrong: bool [...]. A page of which it is set, or a chunk is uncorrectable, is lost.
    """

    data: np.ndarray
    owner: np.ndarray
    corrected: np.ndarray
    uncorrectable: np.ndarray
    crc_wrong: np.ndarray

    @property
    def lost(self) -> np.ndarray:
        """Pages that must not be used, bool [...]."""
        return self.crc_wrong | self.uncorrectable.any(axis=-1)


def crc32c(message: np.ndarray) -> np.ndarray:
    """Return the CRC-32C of messages, uint32 [...], of bytes [..., length].

    Its bytes stand behind the message with the lowest first.

    Raises:
        ShapeError: the messages are no bytes.
    """
    if message.dtype != np.uint8 or message.ndim == 0:
        raise ShapeError(
            f"the message is {message.dtype} of shape {list(message.shape)}; "
            "rows of bytes (uint8) are needed"
        )
    rows = message.reshape(int(np.prod(message.shape[:-1])), message.shape[-1])
    table, begin = _position_table(rows.shape[1])
    at = np.arange(rows.shape[1])
    found = np.array([np.bitwise_xor.reduce(table[at, row]) for row in rows], np.uint32)
    return (found ^ begin ^ np.uint32(ONES)).reshape(message.shape[:-1])


def store_page(config: BchConfig, data: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Return pages as they stand in flash, uint8 [..., stored_bytes].

    Args:
        data: uint8 [..., page_bytes].
        owner: what the tags hold before the CRC, uint8 [..., owner_bytes].

    Raises:
        ConfigError: the configuration has no tags, so no room for the CRC.
        ShapeError: bytes of another type or number.
    """
    _check_room(config)
    _check(data, config.page_bytes, "data")
    _check(owner, config.owner_bytes, "owner's bytes")
    tags = np.concatenate([owner, np.zeros((*owner.shape[:-1], CRC_BYTES), np.uint8)], axis=-1)
    messages = np.concatenate(
        [
            data.reshape(*data.shape[:-1], config.chunks, config.data_bytes),
            tags.reshape(*tags.shape[:-1], config.chunks, config.tag_bytes),
        ],
        axis=-1,
    )
    whole = messages.reshape(*data.shape[:-1], -1)
    crc = crc32c(whole[..., :-CRC_BYTES])
    messages[..., -1, -CRC_BYTES:] = crc.astype("<u4")[..., None].view(np.uint8)
    return bch_code(config).encode(messages).reshape(*data.shape[:-1], config.stored_bytes)


def read_page(config: BchConfig, stored: np.ndarray) -> ReadPage:
    """Return what pages hold, corrected and checked, of uint8 [..., stored_bytes].

    Raises:
        ConfigError: the configuration has no tags, so no room for the CRC.
        ShapeError: bytes of another type or number.
    """
    _check_room(config)
    _check(stored, config.stored_bytes, "page")
    shape = stored.shape[:-1]
    decoded = bch_code(config).decode(stored.reshape(*shape, config.chunks, config.chunk_bytes))
    whole = decoded.message.reshape(*shape, -1)
    crc = np.ascontiguousarray(whole[..., -CRC_BYTES:]).view("<u4")[..., 0]
    tags = decoded.message[..., config.data_bytes :].reshape(*shape, -1)
    return ReadPage(
        data=decoded.message[..., : config.data_bytes].reshape(*shape, config.page_bytes),
        owner=tags[..., :-CRC_BYTES],
        corrected=decoded.corrected,
        uncorrectable=decoded.uncorrectable,
        crc_wrong=crc32c(whole[..., :-CRC_BYTES]) != crc,
    )


@cache
def _position_table(length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what each byte adds to the register, uint32 [length, 256], and what its start adds."""
    table = np.empty((length, 256), np.uint32)
    values: np.ndarray = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        values = (values >> 1) ^ (values & 1) * np.uint32(POLYNOMIAL)
    last = values
    begin = np.array(ONES, np.uint32)
    for position in reversed(range(length)):
        table[position] = values
        values = (values >> 8) ^ last[values & 0xFF]
        begin = (begin >> 8) ^ last[begin & 0xFF]
    return table, begin


def _check_room(config: BchConfig) -> None:
    if config.tag_bytes < CRC_BYTES:
        raise ConfigError(
            f"tag_bytes is {config.tag_bytes}; a page's CRC needs {CRC_BYTES} bytes or more"
        )


def _check(given: np.ndarray, size: int, name: str) -> None:
    if given.dtype != np.uint8 or given.ndim == 0 or given.shape[-1] != size:
        raise ShapeError(
            f"the {name} is {given.dtype} of shape {list(given.shape)}; "
            f"rows of {size} bytes (uint8) are needed"
        )
