"""The k largest of a stream of scores: their indices, in ascending order.

beats of scores -> a lane: runs sorted -> best ones so far -+-> the largest -> marks -> indices
                -> a lane: ...                             -+
"""

from typing import Any

import torch
from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.arg_top_k import arg_top_k
from golden.spec.arg_top_k import ArgTopKConfig
from hw.emit import add
from hw.fifo import Fifo
from storage_engine.arg_top_k_bitmap import WORD_BITS, KeptBitmap, kept_layout
from storage_engine.arg_top_k_list import TopList
from storage_engine.arg_top_k_sorter import RunSorter, configuration_name
from storage_engine.arg_top_k_tree import BestOfLanes

OPEN_JOBS = 4
"""Jobs of which some scores have entered or may enter, and not all that are kept are known."""


def job_layout(config: ArgTopKConfig) -> data.StructLayout:
    """How many scores a job has, at least one, and how many of them are kept, at least one.

    `k` may be above `count`; then all are kept.
    """
    return data.StructLayout({"count": range(config.max_scores + 1), "k": range(config.max_k + 1)})


def scores_layout(config: ArgTopKConfig) -> data.ArrayLayout:
    """A beat of scores: lane l of beat b has score `b * lanes + l`; beyond `count` they are any."""
    return data.ArrayLayout(signed(config.score_bits), config.lanes)


class ArgTopK(wiring.Component):
    """Finds the k largest of a job's scores; of equal ones the lower index comes first.

    Throughput: a beat per cycle, whatever the scores, where jobs have as many scores as whole runs
    of `lanes * max_k`; else a job whose last run is shorter than what is kept takes as much longer.
    Jobs follow each other without a gap. Latency: `cycles`.

    Members:
        i_job: stream of `job_layout`; the scores follow.
        i: stream of `scores_layout`, ceil(count / lanes) beats a job.
        o: stream of `kept_layout`: the indices of those that are kept, ascending.
    """

    def __init__(self, config: ArgTopKConfig) -> None:
        self.config = config
        super().__init__(
            {
                "i_job": In(stream.Signature(job_layout(config))),
                "i": In(stream.Signature(scores_layout(config))),
                "o": Out(stream.Signature(kept_layout(config))),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"arg_top_k_{configuration_name(self.config)}"

    @staticmethod
    def cycles(config: ArgTopKConfig, scores: torch.Tensor, k: int) -> int:
        """Return the cycles from the first score taken to the last index given: the contract.

        Exact for a job that no other one is before, and if no stream waits. The marks are given
        from a memory, so their places count.

        Raises:
            ConfigError, ShapeError: as in `golden.arg_top_k`.
        """
        kept = arg_top_k(config, scores, k)
        runs, beats = config.runs(len(scores)), config.beats(len(scores))
        first_run = beats if runs == 1 else config.max_k
        begin = RunSorter.cycles(config, first_run) + (runs - 1) * config.max_k
        begin += TopList.cycles() + BestOfLanes.cycles(config)
        marks = torch.bincount(kept // WORD_BITS).clamp(min=1)
        return begin + len(kept) - 1 + KeptBitmap.cycles() + int(marks.sum())

    def elaborate(self, platform: object) -> Module:
        """Lanes, what leads them, and what becomes of their best scores."""
        m = Module()
        config = self.config
        entering, chosen = self._jobs(m, platform)
        best = add(m, platform, "best", BestOfLanes, config)
        entries = []
        for lane, source in enumerate(best.i):
            sorter = add(m, platform, f"sorter_{lane}", RunSorter, config)
            top = add(m, platform, f"list_{lane}", TopList, config, lane)
            entries.append(sorter.i)
            m.d.comb += [
                top.i.payload.eq(sorter.o.payload),
                top.i.valid.eq(sorter.o.valid),
                sorter.o.ready.eq(top.i.ready),
                top.last_run.eq(data.View(_chosen_layout(config), chosen.o.payload).last_run),
                top.done.eq(best.done),
                source.best.payload.eq(top.o.payload),
                source.best.valid.eq(top.o.valid),
                top.o.ready.eq(source.best.ready),
                source.none.eq(top.none),
            ]
        self._enter(m, entering, entries)
        self._keep(m, platform, chosen, best)
        return m

    def _jobs(self, m: Module, platform: object) -> tuple[Any, Any]:
        """Return two queues of jobs: whose scores enter, and of which the best are looked for."""
        config, asked = self.config, self.i_job.payload
        layouts = _entering_layout(config), _chosen_layout(config)
        entering = add(m, platform, "entering", Fifo, layouts[0].size, 2)
        chosen = add(m, platform, "chosen", Fifo, layouts[1].size, OPEN_JOBS)
        enters, chooses = Signal(layouts[0]), Signal(layouts[1])
        last = Signal(config.index_bits)
        m.d.comb += [
            last.eq(asked.count - 1),
            enters.last_beat.eq(last >> config.lane_bits),
            enters.last_lane.eq(last[: config.lane_bits]),
            chooses.last_run.eq(last >> (config.lane_bits + config.stages)),
            chooses.last_kept.eq(Mux(asked.k < asked.count, asked.k, asked.count) - 1),
            entering.i.payload.eq(enters.as_value()),
            chosen.i.payload.eq(chooses.as_value()),
            entering.i.valid.eq(self.i_job.valid & chosen.i.ready),
            chosen.i.valid.eq(self.i_job.valid & entering.i.ready),
            self.i_job.ready.eq(entering.i.ready & chosen.i.ready),
        ]
        return entering, chosen

    def _enter(self, m: Module, entering: Any, entries: list[Any]) -> None:
        """Give each beat to all lanes at once."""
        config = self.config
        job = data.View(_entering_layout(config), entering.o.payload)
        beat, is_last, takes = Signal(config.beat_bits), Signal(), Signal()
        ready = Cat(entry.ready for entry in entries).all()
        m.d.comb += [
            is_last.eq(beat == job.last_beat),
            self.i.ready.eq(entering.o.valid & ready),
            takes.eq(self.i.valid & self.i.ready),
            entering.o.ready.eq(takes & is_last),
        ]
        with m.If(takes):
            m.d.sync += beat.eq(Mux(is_last, 0, beat + 1))
        for lane, (entry, score) in enumerate(zip(entries, self.i.payload, strict=True)):
            # What is beyond the job counts as a least score with the highest index: never kept.
            beyond = is_last & (lane > job.last_lane) if lane else 0
            m.d.comb += [
                entry.valid.eq(takes),
                entry.payload.entry.score.eq(Mux(beyond, -1 << (config.score_bits - 1), score)),
                entry.payload.entry.beat.eq(beat),
                entry.payload.last.eq(1),
                entry.payload.ends.eq(is_last | beat[: config.stages].all()),
            ]

    def _keep(self, m: Module, platform: object, chosen: Any, best: Any) -> None:
        """Mark the best ones until they are enough, job by job in one of two bitmaps."""
        config = self.config
        job = data.View(_chosen_layout(config), chosen.o.payload)
        number = Signal(config.stages)
        marking, giving, is_last = Signal(), Signal(), Signal()
        bitmaps = [add(m, platform, f"bitmap_{n}", KeptBitmap, config) for n in range(2)]
        for n, bitmap in enumerate(bitmaps):
            m.d.comb += [
                bitmap.i.payload.index.eq(best.o.payload.index),
                bitmap.i.payload.last.eq(is_last),
                bitmap.i.valid.eq(best.o.valid & (marking == n)),
                bitmap.o.ready.eq(self.o.ready & (giving == n)),
            ]
        first, second = bitmaps
        m.d.comb += [
            is_last.eq(number == job.last_kept),
            best.o.ready.eq(Mux(marking, second.i.ready, first.i.ready)),
            best.done.eq(best.o.valid & best.o.ready & is_last),
            chosen.o.ready.eq(best.done),
            self.o.valid.eq(Mux(giving, second.o.valid, first.o.valid)),
            self.o.payload.eq(Mux(giving, second.o.payload, first.o.payload)),
        ]
        with m.If(best.o.valid & best.o.ready):
            m.d.sync += number.eq(Mux(is_last, 0, number + 1))
        m.d.sync += [
            marking.eq(marking ^ best.done),
            giving.eq(giving ^ (self.o.valid & self.o.ready & self.o.payload.last)),
        ]


def _entering_layout(config: ArgTopKConfig) -> data.StructLayout:
    """A job's last beat, and the last lane that has a score in it."""
    return data.StructLayout(
        {"last_beat": unsigned(config.beat_bits), "last_lane": range(max(config.lanes, 2))}
    )


def _chosen_layout(config: ArgTopKConfig) -> data.StructLayout:
    """The numbers of a job's last run, and of the last score that is kept."""
    return data.StructLayout(
        {"last_run": range(max(config.max_runs, 2)), "last_kept": range(config.max_k)}
    )
