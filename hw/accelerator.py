"""Cores side by side, which share their strips: the work of one larger core."""

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from golden.spec.control import SPACE_BITS
from golden.spec.core import CoreConfig
from hw.axi_lite import axi_lite_ports
from hw.barrier import Barrier
from hw.core import Core
from hw.core_ports import memory_ports
from hw.core_units import connect, core_name
from hw.emit import add
from hw.fifo import Fifo
from hw.load_unit import vector_write_layout
from hw.strip_timing import PATH_DEPTH


def core_prefix(core: int) -> str:
    """Return what the names of a core's ports begin with."""
    return f"core_{core}_"


class Accelerator(wiring.Component):
    """`config.cores` cores: each runs programs of its own, from memories of its own.

    1. A strip of a core's product is written to the vector buffers of all cores, whatever they are
       doing. A short queue leads to each of the others, so no path goes from core to core within a
       cycle; a strip leaves the core when its own vector buffer and all queues have taken it.
    2. A BARRIER of a core ends when every core is at one and no strip waits in a queue. Strips of
       products that had ended in front of it are in all vector buffers then.
    3. Nothing else is shared. Between two barriers a word to which a core gives a strip must not be
       used by another one; see `golden.accelerator_interpreter`.
    4. A core that is stopped, or has come to its END, still takes the others' strips, but for the
       cycle of its reset: so a program has a barrier behind its last product.

    Members, for each core k:
        core_<k>_s_axi_*, core_<k>_irq, core_<k>_m_axi_*: see `hw.core.Core`.
    """

    def __init__(self, config: CoreConfig) -> None:
        self.config = config
        super().__init__(
            {
                f"{core_prefix(core)}{name}": member
                for core in range(config.cores)
                for name, member in _outer_ports(config).items()
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"accelerator_{self.config.cores}x{core_name(self.config)}"

    def elaborate(self, platform: object) -> Module:
        """Every core's strips lead to all others, in the order of their numbers."""
        m = Module()
        count, width = self.config.cores, vector_write_layout(self.config).size
        cores = []
        for number in range(count):
            prefix = core_prefix(number)
            outer: dict[str, Any] = {
                name: getattr(self, f"{prefix}{name}") for name in _outer_ports(self.config)
            }
            cores.append(add(m, platform, f"core_{number}", Core, self.config, count - 1, **outer))
        barrier = add(m, platform, "barrier", Barrier, count)
        for number, core in enumerate(cores):
            others = [other for other in range(count) if other != number]
            on_the_way = Signal(len(others), name=f"on_the_way_{number}")
            for way, other in enumerate(others):
                path = add(m, platform, f"path_{number}_{other}", Fifo, width, PATH_DEPTH)
                # This core is one of the other's others.
                back = number - (number > other)
                connect(m, core.o_strips[way], path.i)
                connect(m, path.o, cores[other].i_strips[back])
                m.d.comb += on_the_way[way].eq(path.o.valid)
            m.d.comb += [
                barrier.arrived[number].eq(core.arrived & ~on_the_way.any()),
                core.released.eq(barrier.released[number]),
            ]
        return m


def _outer_ports(config: CoreConfig) -> Mapping[str, wiring.Member]:
    """Return the ports of a core that are the accelerator's own, by their names there."""
    return {**axi_lite_ports(SPACE_BITS), "irq": Out(1), **memory_ports(config)}
