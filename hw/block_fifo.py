"""A first-in, first-out queue in block RAM, with the cycles of one in LUT memory."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory

from hw.fifo import Fifo


class BlockFifo(Fifo):
    """A `Fifo` whose memory gives what it reads a cycle later: no cycle of its streams is another.

    The head is read while the payload in front of it leaves. One that comes to the head in the
    cycle in which it enters cannot be read there yet: a register has it.
    """

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"block_fifo_{self.width}x{self.depth}"

    def elaborate(self, platform: object) -> Module:
        """A memory, a register for the payload that entered last, and how many lie in both."""
        m = Module()
        m.submodules.memory = rows = memory.Memory(shape=self.width, depth=self.depth, init=[])
        write, read = rows.write_port(), rows.read_port()
        head, level = Signal(range(self.depth)), Signal(range(self.depth + 1))
        entered, is_entered = Signal(self.width, reset_less=True), Signal()
        enters = self.i.valid & self.i.ready
        leaves = self.o.valid & self.o.ready
        m.d.comb += [
            self.i.ready.eq(level != self.depth),
            self.o.valid.eq(level != 0),
            write.en.eq(enters),
            write.data.eq(self.i.payload),
            read.addr.eq(Mux(leaves, self._following(head), head)),
            self.o.payload.eq(Mux(is_entered, entered, read.data)),
        ]
        m.d.sync += [
            level.eq(level + enters - leaves),
            head.eq(read.addr),
            is_entered.eq(enters & (level == leaves)),
        ]
        with m.If(enters):
            m.d.sync += [write.addr.eq(self._following(write.addr)), entered.eq(self.i.payload)]
        return m

    def _following(self, address: Signal) -> Mux:
        """Return the place behind one; behind the last one is the first one."""
        return Mux(address == self.depth - 1, 0, address + 1)
