"""A memory on the chip: one port that writes, and some that read."""

from amaranth.hdl import Module, unsigned
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.word_mover import address_bits, write_layout


def read_signature(width: int, depth: int) -> wiring.Signature:
    """A read port, as its user has it: the word comes a cycle later and stays until the next."""
    return wiring.Signature(
        {"enable": Out(1), "address": Out(address_bits(depth)), "word": In(width)}
    )


class WordMemory(wiring.Component):
    """A memory of `depth` words of `lanes` parts of `width` bits.

    A word that is read while it is written is the old one.

    Args:
        depth: words, 16 to 65536. readers: ports that read.

    Members:
        i: stream of `hw.word_mover.write_layout` of one part; always taken.
        lane: beside it, the part of the word that is written.
        read: ports of `read_signature`, seen from the memory.

    Raises:
        ConfigError: `depth` is outside its range.
    """

    def __init__(self, width: int, depth: int, readers: int, lanes: int = 1) -> None:
        self.width = width
        self.depth = depth
        self.readers = readers
        self.lanes = lanes
        super().__init__(
            {
                "i": In(stream.Signature(write_layout(width, depth))),
                "lane": In(range(lanes)) if lanes > 1 else In(1),
                "read": In(read_signature(width * lanes, depth)).array(readers),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"word_memory_{self.lanes}x{self.width}x{self.depth}_r{self.readers}"

    @staticmethod
    def cycles() -> int:
        """Return the cycles from a word offered to the first one in which it can be read."""
        return 1

    def elaborate(self, platform: object) -> Module:
        """Amaranth's memory, written by lanes."""
        m = Module()
        m.submodules.memory = store = memory.Memory(
            shape=unsigned(self.width * self.lanes), depth=self.depth, init=[]
        )
        write = store.write_port(granularity=self.width)
        m.d.comb += [
            self.i.ready.eq(1),
            write.addr.eq(self.i.payload.address),
            write.data.eq(self.i.payload.word.replicate(self.lanes)),
            write.en.eq(self.i.valid << self.lane if self.lanes > 1 else self.i.valid),
        ]
        for port in self.read:
            read = store.read_port()
            m.d.comb += [
                read.en.eq(port.enable),
                read.addr.eq(port.address),
                port.word.eq(read.data),
            ]
        return m
