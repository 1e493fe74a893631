"""The reduction node of a DSP group: takes the sums of its rows off the cascade."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.sparse_chain import SparseChainConfig
from hw.chain_control import beat_layout, name
from hw.chain_slice import LaneSplitter, cascade_layout
from hw.emit import add
from hw.layouts import copy_common, row_sum_layout, unstoppable
from hw.mux import select


class ReductionNode(wiring.Component):
    """The node of DSP group `group`: rows `group * group_length` and those that follow.

    With n beats, a row spans n / group_length groups and leaves the cascade at the last of them; so
    a node chooses among as many taps as a pass has codes. Its rows come in their order: a pass of
    fewer beats leaves the cascade earlier, but its rows also come later in their pass.

    Members:
        group: the number of the group, constant.
        beats: for each code, the beat whose sum comes to this node's tap in the next cycle.
        taps: for each code, the cascade at this node's tap.
        o: the rows' sums, split into lanes, two cycles after they stood at the tap.
    """

    def __init__(self, config: SparseChainConfig) -> None:
        self.config = config
        codes = len(config.beats_of_pass)
        sums = unstoppable(row_sum_layout(config))
        super().__init__(
            {
                "group": In(max((config.groups - 1).bit_length(), 1)),
                "beats": In(data.ArrayLayout(beat_layout(config), codes)),
                "taps": In(data.ArrayLayout(cascade_layout(config), codes)),
                "o": Out(sums),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"reduction_node_{name(self.config)}"

    def elaborate(self, platform: object) -> Module:
        """Find the code at whose tap a row of this node arrives, take its sum, and split it."""
        m = Module()
        config = self.config
        row_bits = (config.group_length - 1).bit_length()
        codes = range(len(config.beats_of_pass))
        mine = Signal(len(codes))
        code = Signal(config.code_bits, reset_less=True)
        valid = Signal(2)
        for number, beat in zip(codes, self.beats, strict=True):
            # Each span of 2**code groups has one row; it is that of the group whose turn it is.
            turn = beat.beat[row_bits:] == (self.group & (2**number - 1))
            m.d.comb += mine[number].eq(beat.valid & (beat.code == number) & turn)
        # At most one is set, so a code's bit is that of all codes that have it.
        bits = (Cat(mine[c] for c in codes if c >> bit & 1).any() for bit in range(len(code)))
        m.d.sync += [code.eq(Cat(bits)), valid.eq(Cat(mine.any(), valid[0]))]

        arriving = [
            Signal(beat_layout(config), name=f"arriving_{c}", reset_less=True) for c in codes
        ]
        tag = Signal(beat_layout(config), reset_less=True)
        m.d.sync += [now.eq(next_) for now, next_ in zip(arriving, self.beats, strict=True)]
        m.d.sync += tag.eq(select(code, dict(enumerate(arriving))))
        taken = Signal(cascade_layout(config), reset_less=True)
        given = Signal(row_sum_layout(config), reset_less=True)
        splitter = add(m, platform, "splitter", LaneSplitter, config)
        m.d.comb += [splitter.i.eq(taken), self.o.payload.eq(given)]
        m.d.sync += [
            taken.eq(select(code, dict(enumerate(self.taps)))),
            given.row.eq(tag.beat[:row_bits]),
            *copy_common(given, tag),
            given.sums.eq(splitter.sums),
            self.o.valid.eq(valid[1]),
        ]
        return m
