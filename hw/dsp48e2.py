"""The DSP48E2 slice of AMD's UltraScale+ devices, as Nandu uses it.

`Dsp48e2` is a behavioural model, written from UG579's description: it simulates everywhere, and is
plain RTL for every target without such a slice. `Dsp48e2Primitive` has the same ports and is the
slice itself: it maps to exactly one DSP on the device, and simulates only in Verilator, with
`hw/primitives/DSP48E2.v`.

              +-----+                              PCIN
    D --dreg->|     |                               |
    A --areg->| +/- |--adreg--> AD --+              v
              +-----+                | x |--mreg--> (+)--preg--> P, PCOUT
    B --breg------------------> B ---+            Z, C
"""

from typing import ClassVar

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Mux, ResetSignal, Signal, signed
from amaranth.hdl import Value as HdlValue
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.spec.dsp48e2 import (
    A_BITS,
    B_BITS,
    C_BITS,
    D_BITS,
    MULTIPLIER_A_BITS,
    P_BITS,
    Dsp48e2Config,
    ZSource,
)


class Dsp48e2Primitive(wiring.Component):
    """The slice itself, for the target `ultrascale+`.

    Members:
        ce: all registers hold while it is low; a reset wins over it.
        a, b, c, d: the data ports. acin, bcin: A and B from the slice before.
        z: what is added to the product, a code of `ZSource` that the configuration names; what
            another one gives is undefined.
        pcin: P of the slice before.
        p: the sum; 48 bits, beyond which it wraps around.
        pcout, acout, bcout: P and the registered A and B, for the next slice.
    """

    def __init__(self, config: Dsp48e2Config) -> None:
        self.config = config
        super().__init__(
            {
                "ce": In(1),
                "a": In(signed(A_BITS)),
                "b": In(signed(B_BITS)),
                "c": In(signed(C_BITS)),
                "d": In(signed(D_BITS)),
                "z": In(3),
                "acin": In(signed(A_BITS)),
                "bcin": In(signed(B_BITS)),
                "pcin": In(signed(P_BITS)),
                "p": Out(signed(P_BITS)),
                "pcout": Out(signed(P_BITS)),
                "acout": Out(signed(A_BITS)),
                "bcout": Out(signed(B_BITS)),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name, the same for the model and the primitive."""
        return f"dsp48e2_{self.config.name}"

    @staticmethod
    def cycles(config: Dsp48e2Config, port: str) -> int:
        """Return the cycles, with `ce` high, from a value at the input `port` to its sum at P.

        The timing contract; a new value may enter in every cycle.
        """
        to_multiplier = {
            **{"a": config.areg + config.adreg, "acin": config.areg + config.adreg},
            **{"b": config.breg, "bcin": config.breg, "d": config.dreg + config.adreg},
        }
        to_adder = {"c": config.creg, "z": config.opmodereg, "pcin": 0}
        if port in to_multiplier:
            return to_multiplier[port] + config.mreg + config.preg
        return to_adder[port] + config.preg

    def elaborate(self, platform: object) -> Module:
        """One DSP48E2, every parameter and every input pin given."""
        m = Module()
        m.submodules.slice = Instance(
            "DSP48E2",
            *(("p", name, value) for name, value in _parameters(self.config).items()),
            *(("i", name, value) for name, value in _modes(self.config, self.z).items()),
            *(("i", pin, self.ce) for pin in _CLOCK_ENABLES),
            *(("i", pin, ResetSignal()) for pin in _RESETS),
            *(("i", pin, 0) for pin in ("CARRYIN", "CARRYCASCIN", "MULTSIGNIN")),
            i_CLK=ClockSignal(),
            i_A=self.a,
            i_B=self.b,
            i_C=self.c,
            i_D=self.d,
            i_ACIN=self.acin,
            i_BCIN=self.bcin,
            i_PCIN=self.pcin,
            o_P=self.p,
            o_PCOUT=self.pcout,
            o_ACOUT=self.acout,
            o_BCOUT=self.bcout,
        )
        return m


class Dsp48e2(Dsp48e2Primitive):
    """A model of the slice; ports and timing contract are those of `Dsp48e2Primitive`."""

    primitives: ClassVar[dict[str, type[Dsp48e2Primitive]]] = {"ultrascale+": Dsp48e2Primitive}
    """What stands in its place, by target."""

    def elaborate(self, platform: object) -> Module:
        """Pre-add, multiply and add, with a register wherever the configuration has one."""
        m = Module()
        config = self.config

        def behind(name: str, value: HdlValue, registers: int) -> HdlValue:
            for k in range(registers):
                register = Signal(value.shape(), name=f"{name}_{k}")
                with m.If(self.ce):
                    m.d.sync += register.eq(value)
                value = register
            return value

        a = behind("a", self.acin if config.a_cascade else self.a, config.areg)
        b = behind("b", self.bcin if config.b_cascade else self.b, config.breg)
        c = behind("c", self.c, config.creg)
        d = behind("d", self.d, config.dreg)
        z = behind("z", self.z, config.opmodereg)

        ad = Signal(signed(MULTIPLIER_A_BITS))
        factor = a[:MULTIPLIER_A_BITS].as_signed()
        sums = {"none": factor, "add": d + factor, "subtract": d - factor}
        m.d.comb += ad.eq(sums[config.pre_adder])
        product = behind("m", behind("ad", ad, config.adreg) * b, config.mreg)

        p, total = Signal(signed(P_BITS)), Signal(signed(P_BITS))
        sources = {ZSource.ZERO: Const(0), ZSource.PCIN: self.pcin, ZSource.P: p, ZSource.C: c}
        addend: HdlValue = Const(0)
        for source in config.z:
            addend = Mux(z == int(source), sources[source], addend)
        m.d.comb += [
            total.eq(addend + product + c if config.add_c else addend + product),
            p.eq(behind("p", total, config.preg)),
            *(self.p.eq(p), self.pcout.eq(p), self.acout.eq(a), self.bcout.eq(b)),
        ]
        return m


_CLOCK_ENABLES = (
    *("CEA1", "CEA2", "CEB1", "CEB2", "CEC", "CED", "CEAD", "CEM", "CEP"),
    *("CECTRL", "CEALUMODE", "CEINMODE", "CECARRYIN"),
)
_RESETS = (
    *("RSTA", "RSTB", "RSTC", "RSTD", "RSTM", "RSTP"),
    *("RSTCTRL", "RSTALUMODE", "RSTINMODE", "RSTALLCARRYIN"),
)


def _parameters(config: Dsp48e2Config) -> dict[str, object]:
    """Return every parameter of the primitive."""
    inverted = {"ALUMODE": 4, "CARRYIN": 1, "CLK": 1, "INMODE": 5, "OPMODE": 9}
    inverted |= dict.fromkeys(_RESETS, 1)
    return {
        **{"AREG": config.areg, "ACASCREG": config.areg},
        **{"BREG": config.breg, "BCASCREG": config.breg},
        **{"CREG": config.creg, "DREG": config.dreg, "ADREG": config.adreg},
        **{"MREG": config.mreg, "PREG": config.preg, "OPMODEREG": config.opmodereg},
        **dict.fromkeys(("ALUMODEREG", "INMODEREG", "CARRYINREG", "CARRYINSELREG"), 0),
        "A_INPUT": "CASCADE" if config.a_cascade else "DIRECT",
        "B_INPUT": "CASCADE" if config.b_cascade else "DIRECT",
        "AMULTSEL": "A" if config.pre_adder == "none" else "AD",
        **{"BMULTSEL": "B", "PREADDINSEL": "A", "USE_MULT": "MULTIPLY", "USE_SIMD": "ONE48"},
        **{"USE_WIDEXOR": "FALSE", "XORSIMD": "XOR24_48_96", "RND": Const(0, P_BITS)},
        **{"USE_PATTERN_DETECT": "NO_PATDET", "SEL_MASK": "MASK", "SEL_PATTERN": "PATTERN"},
        **{"AUTORESET_PATDET": "NO_RESET", "AUTORESET_PRIORITY": "RESET"},
        **{"MASK": Const(2 ** (P_BITS - 2) - 1, P_BITS), "PATTERN": Const(0, P_BITS)},
        **{f"IS_{pin}_INVERTED": Const(0, width) for pin, width in inverted.items()},
    }


def _modes(config: Dsp48e2Config, z: HdlValue) -> dict[str, HdlValue]:
    """Return the slice's mode pins: all constant but OPMODE[6:4], which chooses Z."""
    product, added_c = 0b01_01, 0b11 if config.add_c else 0b00
    use_d, negate_a = config.pre_adder != "none", config.pre_adder == "subtract"
    return {
        # W, Z, Y and X from the high bits down; Y and X both take the product.
        "OPMODE": Cat(Const(product, 4), z, Const(added_c, 2)),
        # INMODE[2] lets D in, INMODE[3] makes it D - A; 0 elsewhere: the last A and B registers.
        "INMODE": Const(use_d << 2 | negate_a << 3, 5),
        "ALUMODE": Const(0b0000, 4),  # Z + W + X + Y + CARRYIN
        "CARRYINSEL": Const(0, 3),
    }
