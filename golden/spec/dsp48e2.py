"""How a DSP48E2 slice is set up: its registers, its pre-adder, and what its adder may add.

Names, widths and codes are those of AMD's UG579 (UltraScale Architecture DSP Slice).
"""

from dataclasses import dataclass
from enum import IntEnum

from golden.spec.errors import ConfigError

A_BITS, B_BITS, C_BITS, D_BITS, P_BITS = 30, 18, 48, 27, 48
"""Widths of the slice's data ports (UG579, table of ports)."""

MULTIPLIER_A_BITS = 27
"""The multiplier's first factor: AD, or the low bits of A. The second is B."""


class ZSource(IntEnum):
    """What the adder adds to the product: the codes of OPMODE[6:4] that are used here."""

    ZERO = 0b000
    PCIN = 0b001
    P = 0b010
    C = 0b011


PRE_ADDERS = ("none", "add", "subtract")
_MOST_REGISTERS = {
    **{"areg": 2, "breg": 2, "creg": 1, "dreg": 1},
    **{"adreg": 1, "mreg": 1, "preg": 1, "opmodereg": 1},
}


@dataclass(frozen=True)
class Dsp48e2Config:
    """One slice that computes P = Z + AD * B, with C added on request.

    Attributes:
        areg, breg: registers behind A and B, 0 to 2.
        creg, dreg: registers behind C and D, 0 or 1.
        adreg, mreg, preg: registers behind the pre-adder, the multiplier and the adder, 0 or 1.
        opmodereg: registers behind the choice of Z, 0 or 1.
        pre_adder: "none" (AD is A), "add" (AD = D + A) or "subtract" (AD = D - A).
        z: the sources of Z that are chosen from at run time.
        add_c: C is added beside Z in every cycle.
        a_cascade, b_cascade: A (B) comes from the neighbour's ACOUT (BCOUT), not from the fabric.

    Raises:
        ConfigError: a field is outside its range, or does not go with another.
    """

    areg: int = 1
    breg: int = 1
    creg: int = 0
    dreg: int = 0
    adreg: int = 0
    mreg: int = 1
    preg: int = 1
    opmodereg: int = 0
    pre_adder: str = "none"
    z: tuple[ZSource, ...] = (ZSource.ZERO, ZSource.PCIN)
    add_c: bool = False
    a_cascade: bool = False
    b_cascade: bool = False

    def __post_init__(self) -> None:
        for field, most in _MOST_REGISTERS.items():
            registers = getattr(self, field)
            if registers not in range(most + 1):
                raise ConfigError(f"{field} is {registers!r}; allowed are 0 to {most} registers")
        if self.pre_adder not in PRE_ADDERS:
            raise ConfigError(
                f"pre_adder is {self.pre_adder!r}; allowed are {', '.join(PRE_ADDERS)}"
            )
        if not self.z or list(self.z) != sorted({ZSource(s) for s in self.z if s in set(ZSource)}):
            raise ConfigError(
                f"z is {self.z!r}; one or more of ZSource are allowed, each once, by their codes"
            )
        self._check_unused()
        self._check_order()

    def _check_unused(self) -> None:
        """Refuse registers behind what is not there."""
        for field in ("dreg", "adreg"):
            if self.pre_adder == "none" and getattr(self, field):
                raise ConfigError(f"{field} is 1; without a pre-adder only 0 is allowed")
        if self.creg and not self.uses_c:
            raise ConfigError("creg is 1; where nothing adds C only 0 is allowed")

    def _check_order(self) -> None:
        """Refuse loops, and an OPMODE that comes out of reset after the data it governs."""
        if ZSource.P in self.z and not self.preg:
            raise ConfigError("preg is 0; where P is added to itself only 1 is allowed")
        if self.opmodereg and not self.mreg:
            raise ConfigError("opmodereg is 1; without mreg only 0 is allowed")
        if self.opmodereg and self.add_c and not self.creg:
            raise ConfigError("opmodereg is 1; with add_c and without creg only 0 is allowed")

    @property
    def uses_c(self) -> bool:
        """True when port C can reach the adder."""
        return self.add_c or ZSource.C in self.z

    @property
    def name(self) -> str:
        """A part of a Verilog identifier that tells this configuration from every other."""
        registers = f"a{self.areg}b{self.breg}c{self.creg}d{self.dreg}ad{self.adreg}"
        sources = "".join(str(int(source)) for source in self.z)
        flags = {"c": self.add_c, "acin": self.a_cascade, "bcin": self.b_cascade}
        parts = [f"{registers}m{self.mreg}p{self.preg}o{self.opmodereg}", self.pre_adder]
        return "_".join([*parts, f"z{sources}", *(name for name, on in flags.items() if on)])


OPERAND_BITS = 8
"""Bits of each signed factor of a packed multiplication."""

LANE_BITS = 18
"""The distance of a packed sum's two lanes, and the width of the low lane's signed sum."""

RESTART = (ZSource.PCIN, ZSource.C)
"""A chain's slice adds the cascade or, where a sum begins, C, which is 0 there.

The codes of PCIN and C differ in one bit, so that bit is `restart` itself; the code of 0 would take
an inverter.
"""

PACKED_MULTIPLIER = Dsp48e2Config(
    areg=1, dreg=1, adreg=1, breg=2, opmodereg=1, pre_adder="add", z=RESTART
)
"""Two products in one slice, every register used that a clock of several hundred MHz needs."""

ONE_PRODUCT_MULTIPLIER = Dsp48e2Config(areg=2, breg=2, opmodereg=1, z=RESTART)
"""One product in a slice, with the same latency."""
