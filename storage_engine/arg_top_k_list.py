"""A lane's best scores so far: each sorted run is merged with them, and the best stay.

All runs of a job but the last have `max_k` scores, so behind the first one the list always has the
best `max_k` scores before. Runs and list lie in memories of two banks: one is read while the other
is written. What is not among the best is left behind by going on to the other bank.
"""

from dataclasses import dataclass, field

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.arg_top_k import ArgTopKConfig
from storage_engine.arg_top_k_sorter import configuration_name, entry_layout, sorted_layout


def best_layout(config: ArgTopKConfig) -> data.StructLayout:
    """A score and its index."""
    return data.StructLayout(
        {"score": entry_layout(config)["score"].shape, "index": unsigned(config.index_bits)}
    )


@dataclass(frozen=True)
class _Head:
    """The first entry of a row that has not been taken: its word, if it is there."""

    word: Value
    there: Signal = field(default_factory=Signal)
    taken: Signal = field(default_factory=Signal)


class _Now:
    """What happens in a cycle.

    Attributes:
        entry: that leaves; stored: it goes to the list; number: of those in this run.
        is_first, final: the run is a job's first or last one. finishes: no more of it leaves.
        run_done: all entries of the run have left.
    """

    def __init__(self, config: ArgTopKConfig) -> None:
        self.entry = Signal(entry_layout(config))
        self.number = Signal(range(config.max_k))
        self.stored, self.finishes, self.run_done = Signal(), Signal(), Signal()
        self.is_first, self.final = Signal(init=1), Signal()


class TopList(wiring.Component):
    """Merges a lane's runs; the best of the job's last one leave, until they are enough.

    Throughput: a run of `max_k` entries in as many cycles.

    Members:
        i: stream of `sorted_layout`: sorted runs.
        last_run: number of the job's last run, held while the job lasts.
        done: strobe: the job ends with this cycle; what is left of it is dropped.
        o: stream of `best_layout`: the job's best scores of this lane, the largest first. It is
            broken off by `done`.
        none: no more of them will come in this job.
    """

    def __init__(self, config: ArgTopKConfig, lane: int) -> None:
        self.config = config
        self.lane = lane
        super().__init__(
            {
                "i": In(stream.Signature(sorted_layout(config))),
                "last_run": In(range(max(config.max_runs, 2))),
                "done": In(1),
                "o": Out(stream.Signature(best_layout(config))),
                "none": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"top_list_{self.lane}_{configuration_name(self.config)}"

    @staticmethod
    def cycles() -> int:
        """Return the cycles from a single run's first entry taken to the first best one offered."""
        return 3

    def elaborate(self, platform: object) -> Module:
        """Two rows, the larger of their heads, and where it goes."""
        m = Module()
        config, o = self.config, self.o
        now = _Now(config)
        best, runs = self._list(m, now), self._runs(m, now)
        a, b = (
            data.View(entry_layout(config), best.word),
            data.View(sorted_layout(config), runs.word),
        )
        run = Signal.like(self.last_run)
        free, fires, b_first = Signal(), Signal(), Signal()
        m.d.comb += [
            now.final.eq(run == self.last_run),
            free.eq(~now.final | ~o.valid | o.ready),
            b_first.eq(a.score < b.entry.score),
            best.taken.eq(free & best.there & (now.run_done | (runs.there & ~b_first))),
            runs.taken.eq(free & runs.there & (now.is_first | (best.there & b_first))),
            fires.eq(best.taken | runs.taken),
            now.entry.eq(Mux(best.taken, best.word, b.entry.as_value())),
            now.stored.eq(fires & ~now.final),
            now.finishes.eq(self.done | (now.stored & (now.number == config.max_k - 1))),
            self.none.eq(now.final & now.is_first & now.run_done & ~o.valid),
        ]
        m.d.sync += now.run_done.eq(~now.finishes & (now.run_done | (runs.taken & b.last)))
        with m.If(fires):
            m.d.sync += now.number.eq(now.number + 1)  # wraps around by itself
        with m.If(free):
            m.d.sync += o.valid.eq(fires & now.final)
        with m.If(fires & now.final):
            lane = Const(self.lane, config.lane_bits)
            m.d.sync += [
                o.payload.score.eq(now.entry.score),
                o.payload.index.eq(Cat(lane, now.entry.beat)),
            ]
        with m.If(now.finishes):
            m.d.sync += [now.is_first.eq(now.final), run.eq(Mux(now.final, 0, run + 1))]
        with m.If(self.done):
            m.d.sync += [o.valid.eq(0), now.number.eq(0)]
        return m

    def _runs(self, m: Module, now: _Now) -> _Head:
        """The runs: one is read, while it is still written or the next one is."""
        config, i = self.config, self.i
        layout = sorted_layout(config)
        m.submodules.runs = rows = memory.Memory(
            shape=unsigned(layout.size), depth=2 * config.max_k, init=[]
        )
        write, read = rows.write_port(), rows.read_port()
        # Numbers of runs, modulo 4, and how many entries of those are written or read.
        written, reading = Signal(2), Signal(2)
        level, at = Signal(range(config.max_k)), Signal(range(config.max_k + 1))
        m.d.comb += [
            i.ready.eq((written - reading)[:2] != 2),
            write.en.eq(i.valid & i.ready),
            write.addr.eq(Cat(level, written[0])),
            write.data.eq(i.payload.as_value()),
        ]
        with m.If(write.en):
            m.d.sync += level.eq(Mux(i.payload.last, 0, level + 1))
            m.d.sync += written.eq(written + i.payload.last)

        head = _Head(read.data)
        run, ahead, offset = Signal(2), Signal(2), Signal.like(at)
        has_more, ended = Signal(), Signal()
        m.d.comb += [
            run.eq(reading + now.finishes),
            offset.eq(Mux(now.finishes, 0, at)),
            # The writer is up to two runs ahead. Or one behind: a job may be done before that.
            has_more.eq(Mux(ahead == 0, offset < level, ahead != 3)),
            ahead.eq(written - run),
            ended.eq(now.run_done | (head.there & data.View(layout, head.word).last)),
            read.en.eq(has_more & (now.finishes | (~ended & (~head.there | head.taken)))),
            read.addr.eq(Cat(offset[:-1], run[0])),
        ]
        m.d.sync += [
            reading.eq(run),
            at.eq(offset + read.en),
            head.there.eq(read.en | (head.there & ~head.taken & ~now.finishes)),
        ]
        return head

    def _list(self, m: Module, now: _Now) -> _Head:
        """The best ones of the runs before: all there, unless the run is a job's first one."""
        config, depth = self.config, self.config.max_k
        m.submodules.best = rows = memory.Memory(
            shape=unsigned(entry_layout(config).size), depth=2 * depth, init=[]
        )
        write, read = rows.write_port(), rows.read_port()
        head = _Head(read.data)
        reading, bank, at = Signal(), Signal(), Signal(range(depth + 1))
        offset, has_more = Signal.like(at), Signal()
        m.d.comb += [
            bank.eq(reading ^ now.finishes),
            offset.eq(Mux(now.finishes, 0, at)),
            has_more.eq(~now.is_first & (at != depth)),
            read.en.eq(Mux(now.finishes, ~now.final, has_more & (~head.there | head.taken))),
            read.addr.eq(Cat(offset[:-1], bank)),
            write.en.eq(now.stored),
            write.addr.eq(Cat(now.number, ~reading)),
            write.data.eq(now.entry.as_value()),
        ]
        m.d.sync += [
            reading.eq(bank),
            at.eq(offset + read.en),
            head.there.eq(read.en | (head.there & ~head.taken & ~now.finishes)),
        ]
        return head
