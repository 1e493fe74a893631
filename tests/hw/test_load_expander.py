"""The expander in Verilator: the runs of every loop, to every channel, as golden counts them."""

import re
from itertools import product

import numpy as np
import pytest
from payload_rows import to_bytes
from proofs import broken

from golden.spec.axi import AxiConfig
from golden.spec.errors import ConfigError
from golden.spec.instruction import instruction
from golden.spec.isa import ADDRESS_BITS, BASES, FORMATS, Unit
from hw import cosim
from hw.emit import emit
from hw.isa import instruction_layout, run_layout
from hw.load_expander import LoadExpander, StridedRuns
from hw.player import Case, count_mismatches, play, random_pauses
from hw.random_programs import random_instruction

CONFIG = AxiConfig()
CHANNELS = 3
PORTS = [*(f"o__{k}" for k in range(CHANNELS)), "o_general"]


def runs(load, bases):
    """Return the runs of an instruction."""
    counts = [range(load[f"count_{level}"]) for level in (3, 2, 1)]
    found = [
        {
            "address": sum(
                (bases[load["base"]], load["offset"], i1 * load["stride_1"]),
                i2 * load["stride_2"] + i3 * load["stride_3"],
            )
            % (1 << ADDRESS_BITS),
            "more_words": load["length"] - 1,
            "last": 0,
        }
        for i3, i2, i1 in product(*counts)
    ]
    found[-1]["last"] = 1
    return found


class Job:
    """Instructions one behind the other, and the runs at each port."""

    def __init__(self, loads, random, share=0.0, **options):
        bases = random.integers(1 << ADDRESS_BITS, size=BASES).tolist()
        rows = {port: [] for port in PORTS}
        for load in loads:
            named = [k for k in range(CHANNELS) if load["channels"] >> k & 1]
            for port in [f"o__{k}" for k in named] or ["o_general"]:
                rows[port] += runs(load, bases)
        self.rows = {port: to_bytes(run_layout(CONFIG), found) for port, found in rows.items()}
        counts = {port: len(found) for port, found in self.rows.items()}
        fields = [
            {**dict(zip((f.name for f in load.format.fields), load.values, strict=True)), "pc": 0}
            for load in loads
        ]
        inputs = {"i": to_bytes(instruction_layout(Unit.LD), fields)}
        levels = {"bases": sum(base << (ADDRESS_BITS * k) for k, base in enumerate(bases))}
        pauses = random_pauses(random, dict.fromkeys(("i", *PORTS), 2000), share)
        self.case = Case(inputs, counts, pauses if share else {}, levels, **options)

    def wrong(self, trace):
        return sum(count_mismatches(trace.outputs[p], rows) for p, rows in self.rows.items())


def random_load(random, most=6, **fixed):
    counts = {f"count_{level}": int(random.integers(1, most)) for level in (1, 2, 3)}
    return random_instruction(random, Unit.LD, {**counts, **fixed}, CHANNELS)


@pytest.fixture(scope="module")
def design():
    return emit(LoadExpander, CONFIG, CHANNELS)


def test_random_loads_with_random_pauses(design):
    random = np.random.default_rng(0)
    jobs = [
        Job(
            [random_load(random) for _ in range(20)],
            random,
            (0, 0.3, 0.6)[k % 3],
            reset_after=100 * (k % 2),
        )
        for k in range(12)
    ]
    traces = play(design, [job.case for job in jobs])
    assert [job.wrong(trace) for job, trace in zip(jobs, traces, strict=True)] == [0] * len(jobs)


@pytest.mark.parametrize("level", [1, 2, 3])
def test_the_longest_loop(design, level):
    most = FORMATS[Unit.LD].field("count_1").allowed[-1]
    random = np.random.default_rng(level)
    strides = FORMATS[Unit.LD].field("stride_1").allowed
    loads = [
        random_load(random, 2, channels=7, **{f"count_{level}": most, f"stride_{level}": stride})
        for stride in (strides[0], strides[-1], -64)
    ]
    job = Job(loads, random)
    (trace,) = play(design, [job.case])
    assert job.wrong(trace) == 0
    assert len(trace.outputs["o__0"]) == 3 * most


@pytest.mark.parametrize("channels", [0, 1, 5, 7])
def test_a_run_per_cycle_from_instruction_to_instruction(design, channels):
    random = np.random.default_rng(channels)
    loads = [random_load(random, channels=channels) for _ in range(30)]
    job = Job(loads, random)
    (trace,) = play(design, [job.case])
    assert job.wrong(trace) == 0
    counts = [[load[f"count_{level}"] for level in (1, 2, 3)] for load in loads]
    last = max(trace.transfers(port)[-1] for port in PORTS if len(trace.transfers(port)))
    assert last - np.flatnonzero(trace.valid["i"])[0] + 1 == LoadExpander.cycles(counts)


def test_a_port_that_waits_keeps_only_the_next_run_from_the_others(design):
    load = instruction(Unit.LD, channels=3, count_1=10, stride_1=64)
    job = Job([load], np.random.default_rng(0))
    held = Case(job.case.inputs, job.case.outputs, {"o__0": np.ones(50, bool)}, job.case.levels)
    (trace,) = play(design, [held])
    assert job.wrong(trace) == 0
    first = trace.transfers("o__1")
    assert first[0] < 10 and first[1] > 50
    assert (np.diff(first[1:]) == 1).all()


@pytest.mark.full
@pytest.mark.parametrize(
    ("right", "wrong", "part"),
    [
        ("begins[1].eq(onward)", "begins[1].eq(begins[0])", StridedRuns),
        ("left[1].eq(job.count_2), ", "", StridedRuns),
        ("begins[2].eq(onward)", "begins[2].eq(begins[1])", StridedRuns),
        ("done & wanted", "served", None),
        ("& ~served[k]", "", None),
        ("~load.channels.any()", "0", None),
    ],
)
def test_a_broken_expander_is_seen(right, wrong, part):
    random = np.random.default_rng(1)
    jobs = [Job([random_load(random) for _ in range(20)], random, 0.3) for _ in range(4)]
    copy = emit(broken(LoadExpander, right, wrong, part), CONFIG, CHANNELS)
    traces = play(copy, [job.case for job in jobs])
    assert any(job.wrong(trace) for job, trace in zip(jobs, traces, strict=True))


def test_the_verilog_is_clean():
    assert cosim.lint(emit(LoadExpander, CONFIG, CHANNELS)) == []
    assert cosim.lint(emit(LoadExpander, CONFIG, 0)) == []


@pytest.mark.parametrize(
    ("config", "channels", "message"),
    [
        (CONFIG, 33, "channels is 33; allowed are 0 to 32"),
        (AxiConfig(address_bits=32), 1, "address_bits is 32; instructions have 34"),
        (AxiConfig(length_bits=19), 1, "length_bits is 19; instructions have 20"),
    ],
)
def test_what_does_not_fit_is_refused(config, channels, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        LoadExpander(config, channels)
