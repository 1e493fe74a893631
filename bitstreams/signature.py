"""Signatures: 32 bits that stand for a long row of payloads, in hardware and in Python.

A multiple-input signature register: a linear-feedback shift register that takes a payload in each
step. Rows of payloads that differ in one bit never have the same signature; those that differ at
random, with a chance of one in 2**32.
"""

from collections.abc import Iterable

from amaranth.hdl import Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.spec.errors import ConfigError

BITS = 32
POLYNOMIAL = 0x04C11DB7
"""That of the CRC of IEEE 802.3, which is primitive."""

FIRST = 0xFFFFFFFF
"""What a signature is before the first payload."""


class Signature(wiring.Component):
    """The signature of the payloads since `restart`.

    Throughput: one payload per cycle. Latency: a cycle.

    Members:
        restart: begin anew. valid: take `payload`. value: the signature.

    Raises:
        ConfigError: a payload has more than 32 bits.
    """

    def __init__(self, width: int) -> None:
        if not 1 <= width <= BITS:
            raise ConfigError(f"width is {width!r}; a signature takes payloads of 1 to {BITS} bits")
        self.width = width
        super().__init__(
            {"restart": In(1), "valid": In(1), "payload": In(width), "value": Out(BITS, init=FIRST)}
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"signature_{self.width}"

    def elaborate(self, platform: object) -> Module:
        """Shift, feed back, and take the payload."""
        m = Module()
        feedback = Mux(self.value[-1], POLYNOMIAL, 0)
        with m.If(self.restart):
            m.d.sync += self.value.eq(FIRST)
        with m.Elif(self.valid):
            m.d.sync += self.value.eq((self.value << 1)[:BITS] ^ feedback ^ self.payload)
        return m


def signature_of(payloads: Iterable[int]) -> int:
    """Return the signature of payloads of up to 32 bits, as `Signature` computes it."""
    value = FIRST
    for payload in payloads:
        feedback = POLYNOMIAL if value >> (BITS - 1) else 0
        value = (value << 1) % (1 << BITS) ^ feedback ^ payload
    return value
