"""Puts any block without a handshake behind the ports of the bench `hw.benches.vectors`."""

import numpy as np
from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.emit import add


class OnePort(wiring.Component):
    """A block whose inputs are the fields of `i`, and whose outputs are those of `o`."""

    def __init__(self, block, *configuration):
        self.block, self.configuration = block, configuration
        members = dict(block(*configuration).signature.members.items())
        shapes = {
            flow: data.StructLayout({n: m.shape for n, m in members.items() if m.flow == flow})
            for flow in (In, Out)
        }
        super().__init__({"i": In(shapes[In]), "o": Out(shapes[Out])})

    @property
    def module_name(self):
        return f"one_port_{self.block.__name__.lower()}"

    def elaborate(self, platform):
        m = Module()
        block = add(m, platform, "block", self.block, *self.configuration)
        m.d.comb += [getattr(block, name).eq(self.i[name]) for name in self.i.shape().members]
        m.d.comb += [self.o[name].eq(getattr(block, name)) for name in self.o.shape().members]
        return m


def pack(layout, values):
    """Return the words, uint8 [vectors, bytes], with int64 [vectors] for each field."""
    at = {name: (field.offset, field.width) for name, field in layout}
    rows = []
    for k in range(len(next(iter(values.values())))):
        fields = values.items()
        word = sum((int(v[k]) % (1 << at[name][1])) << at[name][0] for name, v in fields)
        rows.append(np.frombuffer(word.to_bytes((layout.size + 7) // 8, "little"), np.uint8))
    return np.stack(rows)
