"""The accumulators behind one reduction node: sums of passes become sums of scale groups."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.matrix_engine import MatrixEngineConfig
from hw.emit import add
from hw.fifo import Fifo
from hw.layouts import group_sums_layout, row_sum_layout, unstoppable


class AccumulatorBank(wiring.Component):
    """One LUT memory that adds, and a queue for what is finished.

    Throughput: one row per cycle. The row of one strip may come again 2 cycles later, not earlier.
    Latency: `cycles`. Both memories have room for every row of the strips; whoever starts a strip's
    last pass must know that fewer than `strips` strips are then unread, since nothing waits here.

    Members:
        i: stream of `row_sum_layout`; each is taken in the cycle in which it is offered.
        o: stream of `group_sums_layout`, one beat for each beat of `i` with `last`, in that order.
    """

    def __init__(self, config: MatrixEngineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "i": In(unstoppable(row_sum_layout(config.chain))),
                "o": Out(stream.Signature(group_sums_layout(config))),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        chain, bits = self.config.chain, self.config.accumulator_bits
        lanes = f"{chain.sum_bits}to{bits}x{chain.products_per_dsp}"
        return f"accumulator_bank_g{chain.group_length}_s{chain.strips}_{lanes}"

    @staticmethod
    def cycles() -> int:
        """Return the cycles from a `last` row's sums at `i` to its group's sums at `o`.

        The timing contract: exact where no row before it is still unread.
        """
        return 1 + Fifo.cycles()

    def elaborate(self, platform: object) -> Module:
        """Read, then add and write; a register between the two."""
        m = Module()
        row = self.i.payload
        sums_layout = group_sums_layout(self.config)
        rows = self.config.strips * self.config.group_length
        m.submodules.memory = sums = memory.Memory(shape=sums_layout, depth=rows, init=[])
        read, write = sums.read_port(domain="comb"), sums.write_port()
        queue = add(m, platform, "queue", Fifo, sums_layout.size, rows)

        # Only `valid` needs a reset: the others count beside it.
        valid, last = Signal(), Signal(reset_less=True)
        address = Signal.like(read.addr, reset_less=True)
        added = Signal(row.sums.shape(), reset_less=True)
        before = Signal(sums_layout, reset_less=True)
        m.d.comb += read.addr.eq(Cat(row.row, row.strip))
        m.d.sync += [
            *(valid.eq(self.i.valid), last.eq(row.last)),
            *(added.eq(row.sums), address.eq(read.addr)),
            before.as_value().eq(Mux(row.first, 0, read.data.as_value())),
        ]
        m.d.comb += [
            *(new.eq(a + b) for new, a, b in zip(write.data, before, added, strict=True)),
            *(write.en.eq(valid), write.addr.eq(address)),
            queue.i.valid.eq(valid & last),
            queue.i.payload.eq(write.data.as_value()),
            self.o.valid.eq(queue.o.valid),
            self.o.payload.as_value().eq(queue.o.payload),
            queue.o.ready.eq(self.o.ready),
        ]
        return m
