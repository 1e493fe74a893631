"""Arithmetic of GF(2^m) in gates: linear maps and products, as expressions of Amaranth.

A map that is linear over GF(2) is given by its columns: what each input bit alone becomes.
"""

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Signal, Value

from golden.galois_field import GaloisField

_NEIGHBOURS = 3
"""Bits of which `linear` forms all sums first, four of two or three bits."""


def linear(m: Module, bits: Value, columns: Sequence[int], width: int, name: str) -> Signal:
    """Return the sum over GF(2) of the columns whose input bit is 1, `width` bits.

    The sums of neighbours in the input are formed once and shared by all output bits: for dense
    maps with many output bits that saves about a third of the look-up tables.
    """
    sums: list[Value] = []
    masks = [0] * width  # of the bits and, above them, of the sums that make an output bit
    for begin in range(0, len(columns), _NEIGHBOURS):
        some = columns[begin : begin + _NEIGHBOURS]
        places = {1 << k: begin + k for k in range(len(some))}
        for chosen in range(1, 1 << len(some)):
            if chosen not in places:
                places[chosen] = len(columns) + len(sums)
                sums.append(_selected(bits[begin : begin + len(some)], chosen).xor())
        for row in range(width):
            chosen = sum((column >> row & 1) << k for k, column in enumerate(some))
            masks[row] |= 1 << places[chosen] if chosen else 0
    # A sum may also be an output bit. Yosys then keeps the first of the two names in the alphabet:
    # it must be this one, or output bits would be made of each other, a loop to Verilator.
    shared = Signal(len(sums), name=f"{name}_part")
    m.d.comb += shared.eq(Cat(sums))
    return _masked_sums(m, Cat(bits, shared), masks, name)


def sparse_linear(m: Module, bits: Value, columns: Sequence[int], width: int, name: str) -> Signal:
    """Return the same as `linear`, each output bit as a sum of its own."""
    masks = [sum((c >> k & 1) << at for at, c in enumerate(columns)) for k in range(width)]
    return _masked_sums(m, bits, masks, name)


def multiplied_by_power(field: GaloisField, exponent: int) -> list[int]:
    """Return the columns of the map that multiplies an element with a^exponent."""
    return [field.power(exponent + k) for k in range(field.m)]


def squared(field: GaloisField) -> list[int]:
    """Return the columns of the map that squares an element."""
    return [field.power(2 * k) for k in range(field.m)]


def multiply(m: Module, field: GaloisField, a: Value, b: Value, name: str) -> Signal:
    """Return the product of two elements."""
    size = field.m
    backwards = Signal(size, name=f"{name}_backwards")
    product = Signal(2 * size - 1, name=f"{name}_unreduced")
    m.d.comb += backwards.eq(Cat(reversed(list(b))))
    for k in range(2 * size - 1):
        low, high = max(k - size + 1, 0), min(k + 1, size)
        pairs = a[low:high] & backwards[size - 1 - k + low : size - 1 - k + high]
        m.d.comb += product[k].eq(pairs.xor())
    columns = [field.power(k) for k in range(2 * size - 1)]
    return sparse_linear(m, product, columns, size, name)


def _masked_sums(m: Module, bits: Value, masks: Sequence[int], name: str) -> Signal:
    """Return for each mask the sum of the bits that it selects."""
    image = Signal(len(masks), name=f"{name}_whole")
    m.d.comb += image.eq(Cat(_selected(bits, mask).xor() for mask in masks))
    return image


def _selected(bits: Value, mask: int) -> Value:
    return Cat(bits[k] for k in range(mask.bit_length()) if mask >> k & 1)
