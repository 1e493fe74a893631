"""Where cores wait for each other."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.spec.errors import ConfigError


class Barrier(wiring.Component):
    """Releases all cores in one cycle, as soon as every one of them has arrived.

    1. A core that comes to a BARRIER raises its bit of `arrived`, and keeps it up to and with the
       cycle in which its bit of `released` is high.
    2. All bits of `released` are equal. They are high for one cycle, `cycles` after the one in
       which the last core has arrived.
    3. If a core's bit of `arrived` is still high in the cycle after its release, that is its next
       arrival; it is released two cycles after the one before, at the earliest.
    4. A core whose program is broken off takes its bit back, and does not look at `released`.

    Every core takes part in every barrier: one that runs no program, or has stopped with an error,
    keeps the others waiting until the host breaks their programs off too.

    Members:
        arrived, released: a bit for each core.

    Raises:
        ConfigError: `cores` is not positive.
    """

    def __init__(self, cores: int) -> None:
        if cores < 1:
            raise ConfigError(f"cores is {cores!r}; a barrier has 1 core or more")
        self.cores = cores
        super().__init__({"arrived": In(cores), "released": Out(cores)})

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"barrier_{self.cores}"

    @staticmethod
    def cycles() -> int:
        """Return the cycles from the last arrival to the release: the timing contract, exact."""
        return 1

    def elaborate(self, platform: object) -> Module:
        """One register: no path leads from a core to another one within a cycle."""
        m = Module()
        release = Signal()
        m.d.sync += release.eq(self.arrived.all() & ~release)
        m.d.comb += self.released.eq(release.replicate(self.cores))
        return m
