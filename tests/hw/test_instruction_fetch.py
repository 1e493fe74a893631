"""The fetch in Verilator: the words of successive programs, and what the reader is asked for."""

import re

import numpy as np
import pytest
from payload_rows import to_bytes

from golden.spec.axi import AxiConfig
from golden.spec.errors import ConfigError
from hw import cosim
from hw.axi_reader import read_job_layout, read_word_layout
from hw.emit import emit
from hw.instruction_fetch import InstructionFetch, program_layout
from hw.isa import word_layout
from hw.player import Case, count_mismatches, play, random_pauses

CONFIGS = [AxiConfig(), AxiConfig(data_bits=64, length_bits=22)]


def make_job(config, lengths, random, share=0.0, reset_after=0):
    """Return a case of programs of so many words, and its outputs."""
    per_word = config.data_bits // 32
    programs, jobs, memory, words = [], [], [], []
    for length in lengths:
        address = int(random.integers(1 << 34)) & -config.word_bytes
        mine = random.integers(1 << 32, size=-(-length // per_word) * per_word).tolist()
        programs.append({"address": address, "more_words": length - 1})
        jobs.append({"address": address, "more_words": len(mine) // per_word - 1})
        words += [{"word": w, "last": k == length - 1} for k, w in enumerate(mine[:length])]
        for k in range(0, len(mine), per_word):
            data = sum(w << (32 * n) for n, w in enumerate(mine[k : k + per_word]))
            memory.append({"data": data, "last": k + per_word == len(mine)})
    inputs = {
        "i_program": to_bytes(program_layout(config), programs),
        "i": to_bytes(read_word_layout(config), memory),
    }
    outputs = {
        "o_job": to_bytes(read_job_layout(config), jobs),
        "o": to_bytes(word_layout(), words),
    }
    counts = {name: len(rows) for name, rows in outputs.items()}
    pauses = random_pauses(random, {name: len(words) for name in (*inputs, *counts)}, share)
    return Case(inputs, counts, pauses if share else {}, reset_after=reset_after), outputs


def wrong(outputs, trace):
    return sum(count_mismatches(trace.outputs[name], rows) for name, rows in outputs.items())


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: str(config.data_bits))
def test_programs_with_random_pauses(config):
    random = np.random.default_rng(1)
    jobs = []
    for number in range(12):
        lengths = [*range(1, 18), *random.integers(1, 60, 20).tolist()]
        random.shuffle(lengths)
        share = (0, 0.3, 0.6)[number % 3]
        jobs.append(make_job(config, lengths, random, share, reset_after=100 * (number % 2)))
    traces = play(emit(InstructionFetch, config), [case for case, _ in jobs])
    assert [wrong(job[1], t) for job, t in zip(jobs, traces, strict=True)] == [0] * len(jobs)
    taken = [len(trace.transfers("i")) for trace in traces]
    assert taken == [len(case.inputs["i"]) for case, _ in jobs]


def test_a_word_per_cycle_from_program_to_program():
    lengths = [1, 8, 9, 100, 1, 1, 7]
    case, outputs = make_job(CONFIGS[0], lengths, np.random.default_rng(2))
    (trace,) = play(emit(InstructionFetch, CONFIGS[0]), [case])
    assert wrong(outputs, trace) == 0
    given = trace.transfers("o")
    assert given[-1] - given[0] + 1 == sum(map(InstructionFetch.cycles, lengths))


def test_the_verilog_is_clean():
    assert cosim.lint(emit(InstructionFetch, CONFIGS[0])) == []


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (AxiConfig(data_bits=16), "data_bits is 16; a program needs words of 32 or more"),
        (
            AxiConfig(length_bits=19),
            "length_bits is 19; a program of 2**23 words needs 20 or more",
        ),
    ],
)
def test_readers_that_do_not_fit_are_refused(config, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        InstructionFetch(config)
