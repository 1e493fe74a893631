"""Two INT8 products with a shared factor in one DSP48E2, and what splits their sums again.

`PackedMultiplier` adds to a cascade of packed sums, `LaneSplitter` takes the two lanes out of one.
`golden.packed_multiplier` says what they compute, and how many products a sum may have.
"""

from amaranth.hdl import Const, Module, Mux, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.spec.dsp48e2 import (
    LANE_BITS,
    OPERAND_BITS,
    P_BITS,
    PACKED_MULTIPLIER,
    Dsp48e2Config,
    ZSource,
)
from golden.spec.errors import ConfigError
from hw.dsp48e2 import Dsp48e2
from hw.emit import add


class PackedMultiplier(wiring.Component):
    """One slice: `(high * 2**18 + low) * shared`, added to the cascade or to 0.

    Throughput: one pair of products per cycle. Latency: `cycles`, for every port.

    Members:
        advance: all registers hold while it is low.
        high, low: the two factors; they share the factor `shared`.
        restart: a sum begins with this product; what comes from `pcin` is left out.
        pcin: the packed sum of the slices before, which must come from their `pcout`.
        p, pcout: the packed sum with this product, for the fabric and for the next slice.

    Raises:
        ConfigError: the slice has no adding pre-adder, cannot choose between 0 and `pcin`, takes a
            factor from a neighbour, or has paths of different length for the three factors.
    """

    def __init__(self, config: Dsp48e2Config = PACKED_MULTIPLIER) -> None:
        _check(config)
        self.config = config
        super().__init__(
            {
                "advance": In(1),
                "high": In(signed(OPERAND_BITS)),
                "low": In(signed(OPERAND_BITS)),
                "shared": In(signed(OPERAND_BITS)),
                "restart": In(1),
                "pcin": In(signed(P_BITS)),
                "p": Out(signed(P_BITS)),
                "pcout": Out(signed(P_BITS)),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"packed_multiplier_{self.config.name}"

    @staticmethod
    def cycles(port: str, config: Dsp48e2Config = PACKED_MULTIPLIER) -> int:
        """Return the cycles of `advance` from a value at the input `port` to its sum at `p`.

        The timing contract. A product and the `restart` and `pcin` that belong to it enter so many
        cycles before the same sum: by default 4, 2 and 1.
        """
        slice_port = {"high": "a", "low": "d", "shared": "b", "restart": "z", "pcin": "pcin"}[port]
        return Dsp48e2.cycles(config, slice_port)

    def elaborate(self, platform: object) -> Module:
        """Wire a slice: `high`, 18 bits up, and `low` to the pre-adder, `shared` to B."""
        m = Module()
        dsp = add(m, platform, "dsp", Dsp48e2, self.config)
        m.d.comb += [
            dsp.ce.eq(self.advance),
            dsp.a.eq(self.high << LANE_BITS),
            dsp.d.eq(self.low),
            dsp.b.eq(self.shared),
            dsp.z.eq(Mux(self.restart, Const(ZSource.ZERO, 3), Const(ZSource.PCIN, 3))),
            dsp.pcin.eq(self.pcin),
            self.p.eq(dsp.p),
            self.pcout.eq(dsp.pcout),
        ]
        return m


def _check(config: Dsp48e2Config) -> None:
    if config.pre_adder != "add":
        raise ConfigError(f"pre_adder is {config.pre_adder!r}; packing needs 'add'")
    if not {ZSource.ZERO, ZSource.PCIN} <= set(config.z):
        raise ConfigError(f"z is {config.z!r}; a cascade needs ZERO and PCIN")
    for field in ("a_cascade", "b_cascade", "add_c"):
        if getattr(config, field):
            raise ConfigError(f"{field} is True; a packed multiplier has no such input")
    a, d, b = (Dsp48e2.cycles(config, port) for port in "adb")
    if not a == d == b:
        raise ConfigError(
            f"areg, dreg and breg are {config.areg}, {config.dreg} and {config.breg}: the factors "
            f"meet after {a}, {d} and {b} cycles; the same number is needed"
        )


class LaneSplitter(wiring.Component):
    """Both lanes of a packed sum, without a register: `cycles` is 0.

    A negative low lane has borrowed 1 from the high one; its sign, P[17], pays that back.

    Members:
        p: P of a `PackedMultiplier`.
        high, low: the sums of the products with the high and with the low factor.

    Raises:
        ConfigError: `high_bits` is outside 1 to 30.
    """

    def __init__(self, high_bits: int = LANE_BITS) -> None:
        most = P_BITS - LANE_BITS
        if high_bits not in range(1, most + 1):
            raise ConfigError(f"high_bits is {high_bits!r}; allowed are 1 to {most} bits")
        self.high_bits = high_bits
        super().__init__(
            {
                "p": In(signed(P_BITS)),
                "high": Out(signed(high_bits)),
                "low": Out(signed(LANE_BITS)),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"lane_splitter_{self.high_bits}"

    @staticmethod
    def cycles() -> int:
        """Return the cycles from `p` to the lanes: none."""
        return 0

    def elaborate(self, platform: object) -> Module:
        """Cut P in two and pay the borrow back."""
        m = Module()
        m.d.comb += [
            self.low.eq(self.p[:LANE_BITS]),
            self.high.eq(self.p[LANE_BITS:] + self.p[LANE_BITS - 1]),
        ]
        return m
