"""BCH: the encoder and the decoder of the drive's chunks. The format is in `golden/spec/bch.py`.

Everything works on many chunks at once. A chunk whose parity is right costs one table look-up per
byte; only the others are decoded: Berlekamp-Massey without inversions, then a Chien search. Source:
Lin and Costello, Error Control Coding, chapter 6; without inversions: Burton, "Inversionless
decoding of binary BCH codes", IEEE Trans. Information Theory, 1971.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from golden.galois_field import galois_field
from golden.spec.bch import BchConfig
from golden.spec.errors import ShapeError

_SEARCHED_AT_ONCE = 64  # chunks: a few MB of positions


@dataclass(frozen=True)
class Decoded:
    """What a decoder gives.

    Attributes:
        message: uint8 [..., message_bytes]. That of an uncorrectable chunk is worthless; it is what
            the hardware gives: received, with the bits inverted that were found before the failure
            was known.
        corrected: int64 [...], inverted bits of a chunk, those of its parity too; 0 if it is
            uncorrectable.
        uncorrectable: bool [...].
        searched: bool [...], a locator polynomial was found; else there is no error, or too many.
    """

    message: np.ndarray
    corrected: np.ndarray
    uncorrectable: np.ndarray
    searched: np.ndarray


@dataclass(frozen=True)
class ErrorLocators:
    """What Berlekamp-Massey finds.

    Attributes:
        coefficients: int64 [chunks, t + 1] of x^0 to x^t, up to a factor; its roots are the
            inverses of a^e, for errors at the coefficients of x^e.
        errors: int64 [chunks], how many errors it stands for; above t there are too many.
    """

    coefficients: np.ndarray
    errors: np.ndarray


class BchCode:
    """The code of a configuration.

    Attributes:
        config: the configuration.
        field: the finite field.
        generator: the generator polynomial as bits.
    """

    def __init__(self, config: BchConfig) -> None:
        self.config = config
        self.field = galois_field(config.m)
        self.generator = generator_polynomial(config)
        self._parities = _byte_table(self._parity_rows())
        self._syndromes = _byte_table(self._syndrome_rows())

    def encode(self, message: np.ndarray) -> np.ndarray:
        """Return chunks as they stand in flash, uint8 [..., chunk_bytes].

        Args:
            message: data and tag, uint8 [..., message_bytes].

        Raises:
            ShapeError: a message has another type or length.
        """
        _check_bytes(message, self.config.message_bytes, "message")
        return np.concatenate([message, self._parity(message)], axis=-1)

    def decode(self, chunks: np.ndarray) -> Decoded:
        """Correct chunks that were read, uint8 [..., chunk_bytes].

        Raises:
            ShapeError: a chunk has another type or length.
        """
        config = self.config
        _check_bytes(chunks, config.chunk_bytes, "chunk")
        rows = chunks.reshape(-1, config.chunk_bytes)
        message = rows[:, : config.message_bytes].copy()
        remainders = self._parity(message) ^ rows[:, config.message_bytes :] & self._parity_mask
        corrected = np.zeros(len(rows), np.int64)
        uncorrectable = np.zeros(len(rows), bool)
        searched = np.zeros(len(rows), bool)
        dirty = np.flatnonzero(remainders.any(axis=1))
        if len(dirty):
            locators = self.locate(self.syndromes(remainders[dirty]))
            flips, found = self._search(locators)
            message[dirty] ^= flips
            failed = found != locators.errors
            uncorrectable[dirty] = failed
            corrected[dirty] = np.where(failed, 0, found)
            searched[dirty] = locators.errors <= config.t
        shape = chunks.shape[:-1]
        return Decoded(
            message.reshape(*shape, config.message_bytes),
            corrected.reshape(shape),
            uncorrectable.reshape(shape),
            searched.reshape(shape),
        )

    def syndromes(self, remainders: np.ndarray) -> np.ndarray:
        """Return S_1, S_3 ... S_(2t-1), int64 [chunks, t], of polynomials in the parity's format.

        S_j is the value at a^j of what was received; the remainder by the generator has the same.
        """
        at = np.arange(remainders.shape[1])
        return np.bitwise_xor.reduce(self._syndromes[at, remainders], axis=1).astype(np.int64)

    def locate(self, odd: np.ndarray) -> ErrorLocators:
        """Return the error locator polynomials of odd syndromes, int64 [chunks, t].

        Berlekamp-Massey for a binary code, in t steps: the discrepancies of even syndromes are 0.
        Coefficients above x^t are dropped: then there are more than t errors.
        """
        t, multiply = self.config.t, self.field.multiply
        count = len(odd)
        syndromes = np.zeros((count, 2 * t + 1), np.int64)  # S_k at [k]
        syndromes[:, 1::2] = odd
        for k in range(2, 2 * t + 1, 2):
            syndromes[:, k] = multiply(syndromes[:, k // 2], syndromes[:, k // 2])
        locator = np.zeros((count, t + 1), np.int64)
        locator[:, 0] = 1
        auxiliary = np.zeros_like(locator)  # times x^2 in each step; it begins with x
        auxiliary[:, 1] = 1
        last, errors = np.ones(count, np.int64), np.zeros(count, np.int64)
        for step in range(t):
            window = syndromes[:, max(2 * step + 1 - t, 0) : 2 * step + 2][:, ::-1]
            terms = multiply(locator[:, : window.shape[1]], window)
            discrepancy = np.bitwise_xor.reduce(terms, axis=1)
            updated = multiply(locator, last[:, None]) ^ multiply(auxiliary, discrepancy[:, None])
            longer = (discrepancy != 0) & (errors <= step)
            auxiliary[longer] = locator[longer]
            auxiliary = np.concatenate([np.zeros((count, 2), np.int64), auxiliary], 1)[:, : t + 1]
            errors = np.where(longer, 2 * step + 1 - errors, errors)
            last = np.where(longer, discrepancy, last)
            locator = updated
        return ErrorLocators(locator, errors)

    def _search(self, locators: ErrorLocators) -> tuple[np.ndarray, np.ndarray]:
        """Return the bits to invert, uint8 [chunks, message_bytes], and how many roots there are.

        Where there are more than t errors nothing is searched.
        """
        config = self.config
        flips = np.zeros((len(locators.errors), config.message_bytes), np.uint8)
        found = np.zeros(len(locators.errors), np.int64)
        by_errors = np.argsort(locators.errors, kind="stable")
        by_errors = by_errors[locators.errors[by_errors] <= config.t]
        for start in range(0, len(by_errors), _SEARCHED_AT_ONCE):
            some = by_errors[start : start + _SEARCHED_AT_ONCE]
            degree = int(locators.errors[some].max())
            roots = self._roots(locators.coefficients[some, : degree + 1])
            found[some] = roots.sum(axis=1)
            bits = roots[:, : config.message_bits]
            flips[some] = np.packbits(bits, axis=1, bitorder="little")
        return flips, found

    def _roots(self, coefficients: np.ndarray) -> np.ndarray:
        """Return where a polynomial's roots say that a bit is wrong, bool [chunks, bits]."""
        config, field = self.config, self.field
        bits = config.message_bits + config.parity_bits
        exponents = np.arange(1 - bits, 1)  # of the inverse of bit s's power
        logarithms = field.logarithms[coefficients].astype(np.int32)
        powers = field.powers.astype(np.uint16)
        values = np.zeros((len(coefficients), bits), np.uint16)
        for k in range(coefficients.shape[1]):
            if coefficients[:, k].any():
                steps = (k * exponents % field.order).astype(np.int32)
                values ^= powers[logarithms[:, k, None] + steps]
        return values == 0

    def _parity(self, message: np.ndarray) -> np.ndarray:
        """Return the parity field, uint8 [..., bytes], of messages [..., message_bytes]."""
        rows = message.reshape(-1, message.shape[-1])
        at = np.arange(message.shape[-1])
        # A chunk at a time stays in the processor's cache.
        found = np.empty((len(rows), self._parities.shape[-1]), self._parities.dtype)
        for number, row in enumerate(rows):
            found[number] = np.bitwise_xor.reduce(self._parities[at, row], axis=0)
        field_bytes = self.config.chunk_bytes - self.config.message_bytes
        parity = found.view(np.uint8)[:, :field_bytes]
        return parity.reshape(*message.shape[:-1], field_bytes)

    @property
    def _parity_mask(self) -> np.ndarray:
        """Ones where the parity field holds parity, uint8 [bytes]."""
        bits = np.arange(self.config.parity_words * self.config.word_bits) < self.config.parity_bits
        return np.packbits(bits, bitorder="little")

    def _parity_rows(self) -> np.ndarray:
        """Return for every message bit the parity field that it alone has, uint64 [bits, words]."""
        config = self.config
        field_bytes = config.chunk_bytes - config.message_bytes
        rows = np.zeros((config.message_bits, -(-field_bytes // 8) * 64), bool)
        remainder = self.generator ^ 1 << config.parity_bits  # of x^parity_bits
        for bit in reversed(range(config.message_bits)):
            text = f"{remainder:0{config.parity_bits}b}"  # the highest power first
            rows[bit, : config.parity_bits] = np.frombuffer(text.encode(), np.uint8) == ord("1")
            remainder <<= 1
            if remainder >> config.parity_bits:
                remainder ^= self.generator
        return np.packbits(rows, axis=1, bitorder="little").view("<u8")

    def _syndrome_rows(self) -> np.ndarray:
        """Return for every bit of the parity field its odd syndromes, uint16 [bits, t]."""
        config = self.config
        rows = np.zeros((config.parity_words * config.word_bits, config.t), np.uint16)
        odd = np.arange(1, 2 * config.t, 2)
        for bit in range(config.parity_bits):
            exponents = odd * (config.parity_bits - 1 - bit) % self.field.order
            rows[bit] = self.field.powers[exponents]
        return rows


@cache
def bch_code(config: BchConfig) -> BchCode:
    """Return the code of `config`, made once."""
    return BchCode(config)


def generator_polynomial(config: BchConfig) -> int:
    """Return the generator as bits: the product of the minimal polynomials of a, a^3 ... a^(2t-1).

    A polynomial that several of them share counts once.
    """
    field = galois_field(config.m)
    polynomials = {field.minimal_polynomial(k): None for k in range(1, 2 * config.t, 2)}
    product = 1
    for polynomial in polynomials:
        product = _multiply(product, polynomial)
    return product


def _multiply(a: int, b: int) -> int:
    """Return the product of two polynomials over GF(2), as bits."""
    product = 0
    for k in range(b.bit_length()):
        if b >> k & 1:
            product ^= a << k
    return product


def _byte_table(rows: np.ndarray) -> np.ndarray:
    """Return [bytes, 256, columns], of [bits, columns]: the sum of the rows of a byte's bits."""
    rows = rows.reshape(-1, 8, rows.shape[1])
    table = np.zeros((len(rows), 256, rows.shape[2]), rows.dtype)
    for bit in range(8):
        table[:, 1 << bit : 2 << bit] = table[:, : 1 << bit] ^ rows[:, bit, None]
    return table


def _check_bytes(given: np.ndarray, size: int, name: str) -> None:
    if given.dtype != np.uint8 or given.ndim == 0 or given.shape[-1] != size:
        raise ShapeError(
            f"the {name} is {given.dtype} of shape {list(given.shape)}; "
            f"rows of {size} bytes (uint8) are needed"
        )
