"""One multiplier of the sparse chain, and what splits the packed sum behind it.

`ChainSlice` adds one product, or two that share a factor, to the sum that comes down the cascade;
`LaneSplitter` takes the lanes out of a sum. `golden.packed_multiplier` says what they compute.
On UltraScale+ the multiplier and the cascade are a DSP48E2 with its cascade pins. An ECP5 has no
such pins: there the lanes are added side by side, in plain logic behind one MULT18X18D each.
"""

from typing import ClassVar

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.dsp48e2 import (
    LANE_BITS,
    ONE_PRODUCT_MULTIPLIER,
    OPERAND_BITS,
    P_BITS,
    PACKED_MULTIPLIER,
    ZSource,
)
from golden.spec.sparse_chain import SparseChainConfig
from hw.dsp48e2 import Dsp48e2
from hw.emit import add
from hw.mult18x18d import Mult18x18d

ECP5_LANE_BITS = P_BITS // 2
"""The distance of the two lanes on an ECP5, where nothing passes from one to the other."""


def cascade_layout(config: SparseChainConfig) -> data.StructLayout:
    """What goes from slice to slice, and from a slice to a reduction node.

    Fields:
        p: the sum, its lanes packed.
        residue: the high lane's sum modulo 2**residue_bits; only where `residue_bits` is not 0.
    """
    fields: dict[str, object] = {"p": signed(P_BITS)}
    if config.residue_bits:
        fields["residue"] = unsigned(config.residue_bits)
    return data.StructLayout(fields)


class ChainSlice(wiring.Component):
    """One slice: `low * shared` and, in the high lane, `high * shared`, added to the cascade or 0.

    Throughput: one product per lane and cycle; nothing ever waits. Latency: `cycles`, for every
    port and on every target.

    Members:
        high, low: the factors of the two lanes; `high` only with two products per multiplier.
        shared: the factor of both lanes. Narrower factors come sign-extended.
        restart: a sum begins with this product; what comes from `pcin` is left out.
        pcin: the sum of the slices before, from their `pcout`; 0 for the first slice.
        pcout, o: the sum with this product, for the next slice and for the fabric.
    """

    primitives: ClassVar[dict[str, type["ChainSlice"]]] = {}
    """What stands in its place, by target; set below."""

    def __init__(self, config: SparseChainConfig) -> None:
        self.config = config
        layout = cascade_layout(config)
        high = {"high": In(signed(OPERAND_BITS))} if config.products_per_dsp == 2 else {}
        super().__init__(
            {
                **high,
                "low": In(signed(OPERAND_BITS)),
                "shared": In(signed(OPERAND_BITS)),
                "restart": In(1),
                "pcin": In(layout),
                "pcout": Out(layout),
                "o": Out(layout),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"chain_slice_{_suffix(self.config)}"

    @staticmethod
    def cycles(port: str) -> int:
        """Return the cycles from a value at the input `port` to its sum at `o`.

        The timing contract: a product and the `restart` and `pcin` that belong to it enter so many
        cycles before the same sum.
        """
        return {"high": 4, "low": 4, "shared": 4, "restart": 2, "pcin": 1}[port]

    def elaborate(self, platform: object) -> Module:
        """Wire a DSP48E2; beside it, add up the residue."""
        m = Module()
        packed = self.config.products_per_dsp == 2
        slice_config = PACKED_MULTIPLIER if packed else ONE_PRODUCT_MULTIPLIER
        dsp = add(m, platform, "dsp", Dsp48e2, slice_config)
        m.d.comb += [
            dsp.ce.eq(1),
            dsp.b.eq(self.shared),
            dsp.z.eq(Mux(self.restart, Const(ZSource.C, 3), Const(ZSource.PCIN, 3))),
            dsp.c.eq(0),
            dsp.pcin.eq(self.pcin.p),
            *(self.o.p.eq(dsp.p), self.pcout.p.eq(dsp.pcout)),
        ]
        if packed:
            m.d.comb += [dsp.a.eq(self.high << LANE_BITS), dsp.d.eq(self.low)]
        else:
            m.d.comb += dsp.a.eq(self.low)
        if self.config.residue_bits:
            self._add_residue(m)
        return m

    def _add_residue(self, m: Module) -> None:
        """The high lane's sum modulo 2**residue_bits, in step with P."""
        bits = self.config.residue_bits
        # Written out, so that no tool takes it for a multiplication.
        product: Value = Const(0, bits)
        for k in range(bits):
            shifted = Cat(Const(0, k), self.high[: bits - k])
            product = (product + Mux(self.shared[k], shifted, 0))[:bits]
        for k in range(self.cycles("high") - 1):
            stage = Signal(bits, name=f"residue_{k}")
            m.d.sync += stage.eq(product)
            product = stage
        restart = Signal(init=1)
        residue = Signal(bits)
        m.d.sync += [
            restart.eq(self.restart),
            residue.eq(product + Mux(restart, 0, self.pcin.residue)),
        ]
        m.d.comb += [self.o.residue.eq(residue), self.pcout.residue.eq(residue)]


class Ecp5ChainSlice(ChainSlice):
    """A slice for the target `ecp5`: one MULT18X18D for each lane, and an adder behind it.

    Each lane has a half of P, of which it uses `sum_bits`; the residue is not needed and 0.
    """

    def elaborate(self, platform: object) -> Module:
        """Multiply in each lane, and add to the cascade or to 0."""
        m = Module()
        restart = Signal(init=1)
        m.d.sync += restart.eq(self.restart)
        factors = [self.low, self.high] if self.config.products_per_dsp == 2 else [self.low]
        for lane, factor in enumerate(factors):
            multiplier = add(m, platform, f"multiplier_{lane}", Mult18x18d)
            field = _ecp5_field(self.config, lane)
            total = Signal(signed(self.config.sum_bits), name=f"sum_{lane}")
            before = self.pcin.p[field].as_signed()
            m.d.sync += total.eq(multiplier.p.as_signed() + Mux(restart, 0, before))
            m.d.comb += [
                *(multiplier.a.eq(factor), multiplier.b.eq(self.shared)),
                *(self.o.p[field].eq(total), self.pcout.p[field].eq(total)),
            ]
        return m


class LaneSplitter(wiring.Component):
    """The lanes of a packed sum. It has no register.

    Members:
        i: `o` of a `ChainSlice`.
        sums: the sum of each lane, the low lane first.
    """

    primitives: ClassVar[dict[str, type["LaneSplitter"]]] = {}
    """What stands in its place, by target; set below."""

    def __init__(self, config: SparseChainConfig) -> None:
        self.config = config
        sums = data.ArrayLayout(signed(config.sum_bits), config.products_per_dsp)
        super().__init__({"i": In(cascade_layout(config)), "sums": Out(sums)})

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"lane_splitter_{_suffix(self.config)}"

    @staticmethod
    def cycles() -> int:
        """Return the cycles from `i` to the lanes: none."""
        return 0

    def elaborate(self, platform: object) -> Module:
        """Find the low lane's sum, and take what it has spilt from the high one."""
        m = Module()
        p, bits = self.i.p, self.config.residue_bits
        if self.config.products_per_dsp == 1:
            m.d.comb += self.sums[0].eq(p)
            return m
        above = p[LANE_BITS:]
        spilt = (above[:bits] - self.i.residue)[:bits] if bits else Const(0, 0)
        word = Cat(p[:LANE_BITS], spilt)
        low = Cat(word, self._is_negative(word)).as_signed()
        m.d.comb += [
            self.sums[0].eq(low),
            self.sums[1].eq(above - (low >> LANE_BITS)),
        ]
        return m

    def _is_negative(self, word: Value) -> Value:
        """Whether the low lane's sum is negative, of which `word` holds the low bits."""
        top = len(word) - 1
        if self.config.largest_sum < 1 << top:
            return word[top]
        # The largest sum is just 2**top. The lowest is -2**top and a bit more: one of the bits
        # below the sign is set, as many as the wider operand has beside its sign.
        wider = max(self.config.activation_bits, self.config.weight_bits)
        return word[top] & word[top - wider + 1 : top].any()


class Ecp5LaneSplitter(LaneSplitter):
    """The lanes of an `Ecp5ChainSlice`: nothing has passed from one to the other."""

    def elaborate(self, platform: object) -> Module:
        """Cut P."""
        m = Module()
        for lane in range(self.config.products_per_dsp):
            m.d.comb += self.sums[lane].eq(self.i.p[_ecp5_field(self.config, lane)])
        return m


ChainSlice.primitives = {"ecp5": Ecp5ChainSlice}
LaneSplitter.primitives = {"ecp5": Ecp5LaneSplitter}


def _ecp5_field(config: SparseChainConfig, lane: int) -> slice:
    """Where the sum of a lane stands in P."""
    return slice(lane * ECP5_LANE_BITS, lane * ECP5_LANE_BITS + config.sum_bits)


def _suffix(config: SparseChainConfig) -> str:
    """What tells one configuration's modules from another's."""
    wider = max(config.activation_bits, config.weight_bits)
    return f"x{config.products_per_dsp}_r{config.residue_bits}_s{config.sum_bits}_a{wider}"
