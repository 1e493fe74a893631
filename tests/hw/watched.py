"""A block with an error output, for the player: each value that the error takes is a payload."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import Out

from hw.emit import add


class Watched(wiring.Component):
    """`block(*configuration)` with the stream `o_error` in the place of the level `error`."""

    def __init__(self, block, *configuration):
        self.made = block, *configuration
        inner = block(*configuration)
        members = dict(inner.signature.members)
        self.module_name = f"watched_{inner.module_name}"
        error = members.pop("error")
        self.passed = tuple(members)
        super().__init__({**members, "o_error": Out(stream.Signature(error.shape))})

    def elaborate(self, platform):
        m = Module()
        through = {name: getattr(self, name) for name in self.passed}
        block = add(m, platform, "block", *self.made, **through)
        before = Signal.like(block.error)
        m.d.sync += before.eq(block.error)
        m.d.comb += [
            self.o_error.payload.eq(block.error),
            self.o_error.valid.eq(block.error.as_value() != before.as_value()),
        ]
        return m
