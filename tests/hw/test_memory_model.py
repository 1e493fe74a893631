"""The behavioural memory: the same jobs as in front of cocotbext-axi, its timing and its counts."""

import re
from fractions import Fraction

import numpy as np
import pytest
from axi_copy import PREFIX, AxiCopy
from axi_trials import make_case, quick, random_jobs, random_memory, read_words, run, written

from golden.spec.axi import AxiConfig
from golden.spec.errors import ConfigError
from hw import cosim
from hw.axi import AxiError
from hw.axi_reader import AxiReader
from hw.axi_writer import AxiWriter
from hw.emit import Design, Port, emit
from hw.memory_model import MemoryTiming, with_memory

CONFIG = AxiConfig(
    data_bits=64, address_bits=16, burst_beats=8, outstanding=4, buffer_words=24, length_bits=12
)
SIZE = 1 << 14
TIMINGS = [
    MemoryTiming(latency=20),
    MemoryTiming(),
    MemoryTiming(latency=60),
    MemoryTiming(latency=3, extra_latency=30, words_per_cycle=Fraction(3, 7), seed=5),
]


def run_jobs(master, jobs, timing, **options):
    """Run jobs on a memory of random bytes; return what was logged, counted and written."""
    memory = random_memory(SIZE)
    case, arrays = make_case(CONFIG, master, jobs, None, **options)
    design = with_memory(emit(master, CONFIG), {"m_axi": SIZE})
    (result,), readings = run(design, [(case, arrays)], {"m_axi": memory}, timing)
    counts, (low, content) = readings["m_axi"]
    after = memory.copy()
    after[low : low + len(content)] = content
    return result, counts, arrays, memory, after


def cycles_of(log, end):
    """Return the cycles from the first job offered to the last `end`."""
    first = re.search("[13]", log["i_job"]).start()
    return log[end].rindex("3" if end == "o" else "1") - first + 1


@pytest.mark.parametrize("timing", quick(TIMINGS), ids=str)
def test_a_reader_gets_every_word_in_its_cycle(timing):
    jobs = random_jobs(CONFIG, AxiReader, np.random.default_rng(1), 30, SIZE)
    for stall in (False, True):
        result, counts, _, memory, _ = run_jobs(AxiReader, jobs, timing, stall=stall)
        assert result.taken == read_words(CONFIG, jobs, memory)
        assert counts.words_read == sum(words for _, words in jobs)
        assert (counts.words_written, counts.held) == (0, 0)  # a reader never blocks
        if timing.words_per_cycle == 1 and not stall:
            assert cycles_of(result.log, "o") == AxiReader.cycles(CONFIG, jobs, timing.latency)


@pytest.mark.parametrize("timing", quick(TIMINGS), ids=str)
def test_a_writer_puts_every_byte_in_its_cycle(timing):
    jobs = random_jobs(CONFIG, AxiWriter, np.random.default_rng(2), 30, SIZE)
    for idle in (False, True):
        result, counts, arrays, memory, after = run_jobs(AxiWriter, jobs, timing, idle=idle)
        assert np.array_equal(after, written(CONFIG, jobs, arrays["i"], memory))
        assert result.log["done"].count("1") == len(jobs)
        words = [(a + n - 1) // 8 - a // 8 + 1 for a, n in jobs]
        assert (counts.words_read, counts.words_written) == (0, sum(words))
        if timing.words_per_cycle == 1 and not idle:
            assert counts.write_waits == 0
            assert cycles_of(result.log, "done") == AxiWriter.cycles(CONFIG, jobs, timing.latency)


@pytest.mark.parametrize(
    "rate", quick([Fraction(3, 7), Fraction(1), Fraction(99, 100), Fraction(1, 9)])
)
def test_words_come_at_the_rate_of_the_memory(rate):
    """Every word waits for the memory alone: so the count is right within a word at any time."""
    timing = MemoryTiming(latency=5, words_per_cycle=rate)
    result, counts, *_ = run_jobs(AxiReader, [(0, 2000)], timing)
    given = np.array([digit == "3" for digit in result.log["o"]])
    begin, end = given.argmax(), len(given) - given[::-1].argmax()
    moved = np.cumsum(given[begin:end])
    expected = np.arange(1, end - begin + 1) * float(rate)
    assert np.abs(moved - expected).max() <= 1
    assert counts.words_read == 2000
    if rate == 1:  # the first one's latency
        assert counts.read_waits == timing.latency - 1


def test_latency_without_room_for_it_is_counted_as_waiting():
    timing = MemoryTiming(latency=60)
    _, counts, *_ = run_jobs(AxiReader, [(0, 800)], timing)
    # All but the cycles in which words come, from the first address to the last word.
    busy = AxiReader.cycles(CONFIG, [(0, 800)], 60) - 4
    assert counts.read_waits == busy - 800 + 1 - 1


@pytest.mark.parametrize("timing", quick(TIMINGS), ids=str)
def test_reads_and_writes_share_a_memory(timing):
    jobs = random_jobs(CONFIG, AxiReader, np.random.default_rng(3), 20, SIZE)
    jobs.append((0, 1000))
    memory = random_memory(1 << 16)
    case = make_case(CONFIG, AxiReader, jobs, None)
    design = with_memory(emit(AxiCopy, CONFIG), {PREFIX: 1 << 16})
    (result,), readings = run(design, [case], {PREFIX: memory}, timing)
    counts, (low, content) = readings[PREFIX]
    expected = memory.copy()
    for address, words in jobs:
        expected[address + (1 << 15) :][: 8 * words] = memory[address:][: 8 * words]
    memory[low : low + len(content)] = content
    assert np.array_equal(memory, expected)
    assert counts.words_read == counts.words_written == sum(words for _, words in jobs)
    # Both take turns: neither moves more than half of the words for long.
    busy = cycles_of(result.log, "done")
    assert counts.words_read * 2 <= busy * timing.words_per_cycle + 2


def test_what_lies_beyond_the_capacity_is_an_error():
    result, *_ = run_jobs(AxiReader, [(SIZE - 16, 1), (SIZE - 64, 20)], MemoryTiming())
    assert int(result.log["error"].split()[-1], 16) == AxiError.DECODE | SIZE << 2
    assert len(result.taken) == 1 + 8
    jobs = [(SIZE - 1, 1), (SIZE - 1, 2), (5, 3)]
    result, _, _, memory, after = run_jobs(AxiWriter, jobs, MemoryTiming(latency=9))
    assert int(result.log["error"].split()[-1], 16) == AxiError.DECODE | SIZE << 2
    assert np.array_equal(after[8 : SIZE - 1], memory[8 : SIZE - 1])


def test_nothing_is_stale_after_a_reset():
    jobs = random_jobs(CONFIG, AxiReader, np.random.default_rng(4), 10, SIZE)
    design = with_memory(emit(AxiReader, CONFIG), {"m_axi": SIZE})
    memory = random_memory(SIZE)
    cases = [
        make_case(CONFIG, AxiReader, jobs, None, reset_after=cycles) for cycles in range(3, 60, 7)
    ]
    results, _ = run(design, cases, {"m_axi": memory}, MemoryTiming(latency=10))
    assert all(result.taken == read_words(CONFIG, jobs, memory) for result in results)


def test_a_memory_is_zero_behind_its_image_and_without_one():
    design = with_memory(emit(AxiReader, CONFIG), {"m_axi": SIZE})
    case = make_case(CONFIG, AxiReader, [(4096 - 8, 3)], None)
    (result,), _ = run(design, [case], {"m_axi": np.full(4096, 0x5A, np.uint8)})
    assert [word & 0xFF for word in result.taken] == [0x5A, 0, 0]
    (result,), _ = run(design, [case])
    assert [word & 0xFF for word in result.taken] == [0, 0, 0]


def test_an_image_that_is_too_large_is_refused():
    design = with_memory(emit(AxiReader, CONFIG), {"m_axi": SIZE})
    case = make_case(CONFIG, AxiReader, [(0, 1)], None)
    with pytest.raises(AssertionError, match=r"m_axi\.bin is larger than its memory"):
        run(design, [case], {"m_axi": random_memory(SIZE + 1)})


# What follows breaks something on purpose: each must be seen.

PORTS = [("arid", 1), ("araddr", 16), ("arlen", 8), ("arsize", 3), ("arburst", 2), ("arvalid", 1)]
PORTS += [("awid", 1), ("awaddr", 16), ("awlen", 8), ("awsize", 3), ("awburst", 2), ("awvalid", 1)]
PORTS += [("wdata", 64), ("wstrb", 8), ("wlast", 1), ("wvalid", 1), ("rready", 1), ("bready", 1)]

ANYTHING = Design(
    "anything",
    """
module anything(clk, rst, stop, busy, i_job__payload, i_job__valid, i_job__ready, {names});
  input clk, rst, stop, i_job__valid;
  input [31:0] i_job__payload;
  output busy, i_job__ready;
  {outputs}
  reg begun = 0;
  wire writes = i_job__payload[29];
  assign m_axi_arid = 0, m_axi_awid = 0, m_axi_rready = 1, m_axi_bready = 1;
  assign i_job__ready = 1, busy = 0;
  assign {{m_axi_arburst, m_axi_arsize, m_axi_arlen, m_axi_araddr}} = i_job__payload[28:0];
  assign {{m_axi_awburst, m_axi_awsize, m_axi_awlen, m_axi_awaddr}} = i_job__payload[28:0];
  assign m_axi_arvalid = i_job__valid & ~writes, m_axi_awvalid = i_job__valid & writes;
  assign m_axi_wvalid = begun, m_axi_wlast = i_job__payload[30], m_axi_wstrb = 0, m_axi_wdata = 0;
  always @(posedge clk) begun <= ~rst & (begun | m_axi_awvalid);
endmodule
""".format(
        names=", ".join(f"m_axi_{name}" for name, _ in PORTS),
        outputs="\n  ".join(f"output [{width - 1}:0] m_axi_{name};" for name, width in PORTS),
    ),
    ("anything",),
    (
        *(Port(name, "input", 1) for name in ("clk", "rst", "stop", "i_job__valid")),
        *(Port("i_job__payload", "input", 32), Port("i_job__ready", "output", 1)),
        Port("busy", "output", 1),
        *(Port(f"m_axi_{name}", "output", width) for name, width in PORTS),
    ),
)


@pytest.mark.parametrize(
    ("address", "more", "size", "burst", "writes", "last", "message"),
    quick(
        [
            (4064, 4, 3, 1, 0, 0, "a burst at 0fe0 crosses 4 KB"),
            (4064, 3, 3, 1, 0, 0, ""),
            (4, 0, 3, 1, 0, 0, "address 0004 is not aligned"),
            (0, 0, 2, 1, 0, 0, "a beat is not as wide as the port"),
            (0, 0, 3, 2, 0, 0, "a burst is not of type INCR"),
            (4064, 4, 3, 1, 1, 0, "a burst at 0fe0 crosses 4 KB"),
            (0, 0, 3, 1, 1, 0, "WLAST is not on the last word of its burst"),
            (0, 3, 3, 1, 1, 1, "WLAST is not on the last word of its burst"),
        ]
    ),
)
def test_a_design_that_breaks_the_rules_is_stopped(
    address, more, size, burst, writes, last, message
):
    word = address | more << 16 | size << 24 | burst << 27 | writes << 29 | last << 30
    # The payload stays until the end of the case.
    payload = np.frombuffer(word.to_bytes(4, "little") * 40, np.uint8).reshape(40, 4)
    case = {"seed": 0, "jobs": []}, {"i_job": payload}
    design = with_memory(ANYTHING, {"m_axi": SIZE})
    if not message:
        run(design, [case])
        return
    with pytest.raises(AssertionError, match=f"m_axi: {message}"):
        run(design, [case])


@pytest.mark.parametrize(
    ("capacities", "message"),
    [
        ({"m_axi": 5000}, "the capacity of m_axi is 5000; a multiple of 4096 bytes is needed"),
        ({"m_axi": 1 << 33}, "the capacity of m_axi is 8589934592; a multiple"),
        ({}, "axi_reader_.* has the AXI4 ports m_axi; there are memories for none"),
        ({"m_axi": 4096, "ddr": 4096}, "has the AXI4 ports m_axi; there are memories for ddr, m_"),
    ],
)
def test_other_capacities_and_ports_are_refused(capacities, message):
    with pytest.raises(ConfigError, match=message):
        with_memory(emit(AxiReader, CONFIG), capacities)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("latency", 0, "latency is 0; allowed are 1 to 1048576"),
        ("extra_latency", -1, "extra_latency is -1; allowed are 0 to 1048576"),
        ("seed", 0, "seed is 0; allowed are 1 to 2147483647"),
        ("words_per_cycle", Fraction(0), "words_per_cycle is 0; a fraction up to 1 is needed"),
        ("words_per_cycle", Fraction(3, 2), "words_per_cycle is 3/2; a fraction up to 1"),
    ],
)
def test_other_timings_are_refused(field, value, message):
    with pytest.raises(ConfigError, match=message):
        MemoryTiming(**{field: value})


def test_the_verilog_is_clean():
    assert cosim.lint(with_memory(emit(AxiCopy, CONFIG), {PREFIX: 1 << 16})) == []
