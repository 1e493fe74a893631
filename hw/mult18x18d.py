"""The MULT18X18D multiplier of Lattice's ECP5 devices, as Nandu uses it: signed, all registers on.

`Mult18x18d` is a behavioural model that simulates everywhere; `Mult18x18dPrimitive` has the same
ports and is the cell itself, by the names that Yosys and nextpnr have for it. It simulates only in
Verilator, with `hw/primitives/MULT18X18D.v`.
"""

from typing import ClassVar

from amaranth.hdl import ClockSignal, Const, Instance, Module, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

FACTOR_BITS, PRODUCT_BITS = 18, 36


class Mult18x18dPrimitive(wiring.Component):
    """The cell itself, for the target `ecp5`.

    Throughput: one product per cycle. Latency: `cycles`; a reset clears all registers.

    Members:
        a, b: the factors, in two's complement.
        p: their product, in two's complement.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                # Signed, but declared as bits: for single bits of a signed wire Yosys' reader takes
                # the module up again when it knows the cell, and so undoes a flattening.
                "a": In(FACTOR_BITS),
                "b": In(FACTOR_BITS),
                "p": Out(PRODUCT_BITS),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name, the same for the model and the primitive."""
        return "mult18x18d"

    @staticmethod
    def cycles() -> int:
        """Return the cycles from the factors to their product."""
        return 3

    def elaborate(self, platform: object) -> Module:
        """One MULT18X18D with its input, pipeline and output registers; every pin is a port."""
        m = Module()
        registers = ("INPUTA", "INPUTB", "PIPELINE", "OUTPUT")
        parameters = {
            f"REG_{register}_{what}": f"{what}0"
            for register in registers
            for what in ("CLK", "CE", "RST")
        }
        # nextpnr's own choices for what it leaves open: no gated clock, no global reset.
        parameters |= {"MULT_BYPASS": "DISABLED", "RESETMODE": "SYNC", "GSR": "DISABLED"}
        controls = {"CLK0": ClockSignal(), "CE0": Const(1), "RST0": ResetSignal()}
        controls |= {"SIGNEDA": Const(1), "SIGNEDB": Const(1)}
        controls |= {"SOURCEA": Const(0), "SOURCEB": Const(0)}
        m.submodules.multiplier = Instance(
            "MULT18X18D",
            *(("p", name, value) for name, value in parameters.items()),
            *(("i", pin, value) for pin, value in controls.items()),
            *(("i", f"A{k}", self.a[k]) for k in range(FACTOR_BITS)),
            *(("i", f"B{k}", self.b[k]) for k in range(FACTOR_BITS)),
            *(("i", f"C{k}", Const(0)) for k in range(FACTOR_BITS)),
            *(("o", f"P{k}", self.p[k]) for k in range(PRODUCT_BITS)),
        )
        return m


class Mult18x18d(Mult18x18dPrimitive):
    """A model of the cell; ports and latency are those of `Mult18x18dPrimitive`."""

    primitives: ClassVar[dict[str, type[Mult18x18dPrimitive]]] = {"ecp5": Mult18x18dPrimitive}
    """What stands in its place, by target."""

    def elaborate(self, platform: object) -> Module:
        """Multiply between registers."""
        m = Module()
        a, b = Signal.like(self.a), Signal.like(self.b)
        product = Signal.like(self.p)
        m.d.sync += [
            a.eq(self.a),
            b.eq(self.b),
            product.eq(a.as_signed() * b.as_signed()),
            self.p.eq(product),
        ]
        return m
