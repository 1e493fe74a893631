"""A lane's scores, sorted in runs: a cascade of merges, each of which doubles the runs' length."""

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.arg_top_k import ArgTopKConfig
from hw.emit import add
from storage_engine.bch_buffer import BchBuffer


def entry_layout(config: ArgTopKConfig) -> data.StructLayout:
    """A score of a lane, and the number of the beat in which it entered."""
    return data.StructLayout(
        {"score": signed(config.score_bits), "beat": unsigned(config.beat_bits)}
    )


def sorted_layout(config: ArgTopKConfig) -> data.StructLayout:
    """An entry within a sorted row.

    `last` stands at the row's last entry; `ends` stands at all entries of a run's last row, which
    may have to be merged with nothing.
    """
    return data.StructLayout({"entry": entry_layout(config), "last": 1, "ends": 1})


def configuration_name(config: ArgTopKConfig) -> str:
    """Return the configuration as a part of a module's name."""
    return f"{config.max_scores}x{config.max_k}_{config.score_bits}b_l{config.lanes}"


class MergeStage(wiring.Component):
    """Merges rows of `half` entries in pairs, the largest score first, equal ones in their order.

    Throughput: one entry per cycle, whatever the scores. The first row of a pair waits for the
    second, and the first entry of that leaves after `cycles`.

    A row that waits still leaves while the next one comes, so the first queue has room for more
    than one.

    Members:
        i, o: streams of `sorted_layout`.
    """

    def __init__(self, config: ArgTopKConfig, half: int) -> None:
        self.config = config
        self.half = half
        entry = stream.Signature(sorted_layout(config))
        super().__init__({"i": In(entry), "o": Out(entry)})

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"merge_stage_{self.half}_{configuration_name(self.config)}"

    @staticmethod
    def depths(half: int) -> tuple[int, int]:
        """Return the depths of both queues: half + 2, and half, up to a power of two."""
        return max(2 * half, 4), max(half, 2)

    @staticmethod
    def cycles() -> int:
        """Return the cycles from the second row's first entry taken to the first one offered."""
        return BchBuffer.cycles()

    def elaborate(self, platform: object) -> Module:
        """Two queues, and the larger of their heads."""
        m = Module()
        layout = sorted_layout(self.config)
        depths = self.depths(self.half)
        first, second = (
            add(m, platform, name, BchBuffer, layout.size, depth)
            for name, depth in zip(("first", "second"), depths, strict=True)
        )
        a, b = (data.View(layout, queue.o.payload) for queue in (first, second))

        fills_second = Signal()
        i = self.i.payload
        m.d.comb += [
            first.i.payload.eq(i.as_value()),
            second.i.payload.eq(i.as_value()),
            first.i.valid.eq(self.i.valid & ~fills_second),
            second.i.valid.eq(self.i.valid & fills_second),
            self.i.ready.eq(Mux(fills_second, second.i.ready, first.i.ready)),
        ]
        with m.If(self.i.valid & self.i.ready & i.last):
            m.d.sync += fills_second.eq(~fills_second & ~i.ends)

        # What is known of the pair that leaves: which rows are through, and the second one's end.
        a_done, b_done, b_ends = Signal(), Signal(), Signal()
        has_a, has_b, b_through, takes_a, takes_b = (Signal() for _ in range(5))
        fires, a_last, b_last, b_first = (Signal() for _ in range(4))
        m.d.comb += [
            has_a.eq(first.o.valid & ~a_done),
            has_b.eq(second.o.valid & ~b_done),
            b_through.eq(b_done | (has_a & a.ends)),
            b_first.eq(a.entry.score < b.entry.score),
            takes_a.eq(has_a & (b_through | (has_b & ~b_first))),
            takes_b.eq(has_b & ~b_through & (a_done | (has_a & b_first))),
            self.o.valid.eq(takes_a | takes_b),
            self.o.payload.entry.eq(Mux(takes_a, a.entry, b.entry)),
            self.o.payload.ends.eq(Mux(has_a & a.ends, 1, Mux(b_done, b_ends, b.ends))),
            self.o.payload.last.eq((takes_a & a.last & b_through) | (takes_b & b.last & a_done)),
            fires.eq(self.o.valid & self.o.ready),
            first.o.ready.eq(takes_a & self.o.ready),
            second.o.ready.eq(takes_b & self.o.ready),
            a_last.eq(takes_a & a.last),
            b_last.eq(takes_b & b.last),
        ]
        with m.If(fires):
            m.d.sync += [
                a_done.eq((a_done | a_last) & ~self.o.payload.last),
                b_done.eq((b_done | b_last) & ~self.o.payload.last),
            ]
            with m.If(takes_b):
                m.d.sync += b_ends.eq(b.ends)
        return m


class RunSorter(wiring.Component):
    """Sorts runs of up to `max_k` scores, each the largest first, equal ones in their order.

    Throughput: one entry per cycle, whatever the scores.

    Members:
        i: stream of `sorted_layout`, rows of one entry; a run's last one has `ends`.
        o: stream of `sorted_layout`: whole runs; all entries have `ends`.
    """

    def __init__(self, config: ArgTopKConfig) -> None:
        self.config = config
        entry = stream.Signature(sorted_layout(config))
        super().__init__({"i": In(entry), "o": Out(entry)})

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"run_sorter_{configuration_name(self.config)}"

    @staticmethod
    def cycles(config: ArgTopKConfig, entries: int) -> int:
        """Return the cycles from a run's first entry taken to the first one offered: the contract.

        Exact for a run of so many entries that no other one is before, and if no stream waits.
        """
        halves = [1 << stage for stage in range(config.stages)]
        return sum(MergeStage.cycles() + (half if half < entries else 0) for half in halves)

    def elaborate(self, platform: object) -> Module:
        """A chain."""
        m = Module()
        source = self.i
        for number in range(self.config.stages):
            stage = add(m, platform, f"merge_{number}", MergeStage, self.config, 1 << number)
            m.d.comb += [
                stage.i.payload.eq(source.payload),
                stage.i.valid.eq(source.valid),
                source.ready.eq(stage.i.ready),
            ]
            source = stage.o
        m.d.comb += [
            self.o.payload.eq(source.payload),
            self.o.valid.eq(source.valid),
            source.ready.eq(self.o.ready),
        ]
        return m
