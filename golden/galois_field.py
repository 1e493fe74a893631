"""The finite fields GF(2^m): their elements are polynomials over GF(2), written as bits."""

from functools import cache

import numpy as np

from golden.spec.bch import PRIMITIVE_POLYNOMIALS


class GaloisField:
    """GF(2^m) by its primitive polynomial, with tables of powers and logarithms.

    Attributes:
        m, order: the field has `order` = 2^m - 1 elements beside 0.
        powers: int64 [4 * order + 1]: a^k for k below 2 * order, and zeros above.
        logarithms: int64 [2^m]; that of 0 is 2 * order, so that a product with 0 is looked up as 0.
    """

    def __init__(self, m: int) -> None:
        self.m = m
        self.order = 2**m - 1
        elements = np.empty(self.order, np.int64)
        element = 1
        for k in range(self.order):
            elements[k] = element
            element <<= 1
            if element >> m:
                element ^= PRIMITIVE_POLYNOMIALS[m]
        self.powers = np.zeros(4 * self.order + 1, np.int64)
        self.powers[: 2 * self.order] = np.tile(elements, 2)
        self.logarithms = np.full(2**m, 2 * self.order, np.int64)
        self.logarithms[elements] = np.arange(self.order)

    def power(self, exponent: int) -> int:
        """Return a^exponent, for any integer."""
        return int(self.powers[exponent % self.order])

    def multiply(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the products of elements, int64, broadcast."""
        return self.powers[self.logarithms[a] + self.logarithms[b]]

    def minimal_polynomial(self, exponent: int) -> int:
        """Return the polynomial over GF(2) of least degree with the root a^exponent, as bits."""
        conjugates = {(exponent << shift) % self.order for shift in range(self.m)}
        polynomial = np.ones(1, np.int64)  # coefficient of x^k at [k]
        for k in conjugates:
            times_x = np.append(0, polynomial)
            times_root = np.append(self.multiply(polynomial, np.array(self.power(k))), 0)
            polynomial = times_x ^ times_root
        return sum(int(bit) << k for k, bit in enumerate(polynomial))


@cache
def galois_field(m: int) -> GaloisField:
    """Return GF(2^m), made once."""
    return GaloisField(m)
