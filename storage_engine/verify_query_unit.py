"""Verifies the query unit: rows, channels and scales against golden, a job's cycles by contract."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from golden.attention_engine import choose_channels, logit_scales, temperature
from golden.attention_engine_formats import to_queries
from golden.bit_packing import pack_fields
from golden.spec.drive_engine import DriveEngineConfig
from hw import player
from hw.emit import Design, add, emit
from hw.payloads import of_struct
from hw.verify_chain import one_configuration
from storage_engine.engine_layouts import (
    half_layout,
    query_job_layout,
    query_layout,
    query_scales_layout,
)
from storage_engine.query_unit import QueryUnit
from storage_engine.slice_jobs import of_array


@dataclass(frozen=True)
class Job:
    """A job's queries, float16 [queries, head_size], and how its keys are stored."""

    queries: np.ndarray
    sparf: bool
    key_fraction: int = 0


@dataclass(frozen=True)
class Case:
    """Successive jobs.

    Attributes:
        name: what a person calls it.
        config: of the engine. jobs: one after the other.
        idle: the sources pause at random; stall: the sinks do.
        reset_after: cycles after which a first try is broken off by a reset; 0 for no such try.
    """

    name: str
    config: DriveEngineConfig
    jobs: tuple[Job, ...]
    idle: bool = False
    stall: bool = False
    reset_after: int = 0


@dataclass(frozen=True)
class CaseResult:
    """What happened in one case, beside golden and the contract.

    Attributes:
        cycles, contract_cycles: from a job taken to its last row taken, of all jobs; the contract
            is exact where no stream waits.
        mismatches: rows, bitmaps and scales that differ.
    """

    name: str
    cycles: int
    contract_cycles: int
    mismatches: int

    @property
    def passed(self) -> bool:
        """True when all is golden's."""
        return self.mismatches == 0


def expected(config: DriveEngineConfig, job: Job) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a job's rows, its bitmap of channels if it is SparF, and its scales, as payloads."""
    attention = config.attention
    given = to_queries(attention, torch.from_numpy(job.queries))
    channels = choose_channels(attention, given)
    some = torch.where(channels, given.values, 0)
    both = [given.values, some] if job.sparf else [given.values]
    rows = np.concatenate([_rows(config, each) for each in both])
    number = np.arange(len(rows))
    packed = of_struct(
        query_layout(config),
        values=rows,
        row=number % config.rows,
        masked=number // config.rows,
        last=number == len(rows) - 1,
    )
    bits = channels[:1].numpy().astype(np.int64) if job.sparf else np.zeros((0, config.head_size))
    scales = [logit_scales(attention, given, job.key_fraction)]
    if job.sparf:
        factor = temperature(attention, given.values, some)
        scales.append(logit_scales(attention, given, job.key_fraction, factor))
    values = np.stack([torch.stack([each.value, each.exponent], -1).numpy() for each in scales])
    return packed, pack_fields((bits.astype(np.int64), 1)), values


def run_cases(
    cases: Sequence[Case], *, design: Design | None = None, seed: int = 0
) -> list[CaseResult]:
    """Run the cases, all of one configuration, on the unit in Verilator.

    Args:
        design: the Verilog to run; the unit of the cases' configuration by default.
        seed: of the random pauses.
    """
    config = one_configuration(case.config for case in cases)
    random = np.random.default_rng(seed)
    played = [_streams(case, random) for case in cases]
    traces = player.play(design or emit(WatchedQueryUnit, config), played)
    return [_judge(case, trace) for case, trace in zip(cases, traces, strict=True)]


class WatchedQueryUnit(wiring.Component):
    """The unit, and its scales as a stream without ready: what they are behind a job's rows."""

    def __init__(self, config: DriveEngineConfig) -> None:
        self.config = config
        watched = wiring.Signature({"payload": Out(query_scales_layout(config)), "valid": Out(1)})
        members = dict(QueryUnit(config).signature.members)
        super().__init__({**members, "o_scales": Out(watched)})

    module_name = "watched_query_unit"

    def elaborate(self, platform: object) -> Module:
        """Wire it through."""
        m = Module()
        names = ("i_job", "i", "o_query", "o_channels")
        through = {name: getattr(self, name) for name in names}
        unit = add(m, platform, "unit", QueryUnit, self.config, **through)
        rows = self.o_query
        m.d.sync += self.o_scales.valid.eq(rows.valid & rows.ready & rows.payload.last)
        m.d.comb += self.o_scales.payload.eq(unit.o_scales)
        return m


def _streams(case: Case, random: np.random.Generator) -> player.Case:
    config, jobs = case.config, case.jobs
    layout = query_job_layout(config)
    halves = [job.queries.view(np.int16).reshape(-1, config.lanes) for job in jobs]
    inputs = {
        "i_job": of_struct(
            layout,
            sparf=np.array([job.sparf for job in jobs]),
            key_fraction=np.array([job.key_fraction for job in jobs]),
        ),
        "i": of_array(half_layout(config), np.concatenate(halves).astype(np.int64)),
    }
    sparf = sum(job.sparf for job in jobs)
    outputs = {
        "o_query": (len(jobs) + sparf) * config.rows,
        "o_channels": sparf,
        "o_scales": len(jobs),
    }
    counts = {name: len(each) for name, each in inputs.items()} if case.idle else {}
    counts |= {"o_query": outputs["o_query"], "o_channels": sparf} if case.stall else {}
    pauses = player.random_pauses(random, counts)
    return player.Case(inputs, outputs, pauses, reset_after=case.reset_after)


def _judge(case: Case, trace: player.Trace) -> CaseResult:
    config = case.config
    wanted = [expected(config, job) for job in case.jobs]
    mismatches = 0
    for name, place in (("o_query", 0), ("o_channels", 1)):
        each = np.concatenate([found[place] for found in wanted if len(found[place])] or [_NONE])
        mismatches += player.count_mismatches(trace.outputs[name], each)
    layout = query_scales_layout(config)
    for job, (_, _, scales), row in zip(case.jobs, wanted, trace.outputs["o_scales"], strict=True):
        view = layout.from_bits(int.from_bytes(row.tobytes(), "little"))
        mismatches += view.not_finite != int(not np.isfinite(job.queries).all())
        for number, each in enumerate(scales):
            found = view.approximate_scale if number else view.scale
            for query in range(config.queries):
                given = found[query].value, found[query].exponent
                mismatches += given != tuple(each[query])
    began, ended = trace.transfers("i_job")[0], trace.transfers("o_query")[-1]
    contract = sum(QueryUnit.cycles(config, sparf=job.sparf) for job in case.jobs)
    return CaseResult(case.name, int(ended + 1 - began), contract, mismatches)


_NONE = np.zeros((0, 1), np.uint8)


def _rows(config: DriveEngineConfig, values: torch.Tensor) -> np.ndarray:
    """Return queries [queries, head_size] as rows [rows, queries * lanes]."""
    by_row = values.numpy().reshape(config.queries, config.rows, config.lanes).transpose(1, 0, 2)
    return by_row.reshape(config.rows, -1)
