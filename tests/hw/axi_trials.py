"""Random jobs for the AXI4 masters, their runs, and what must have come of them."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from golden.bit_packing import pack_fields
from hw import cosim
from hw.axi_reader import AxiReader
from hw.axi_writer import AxiWriter
from hw.benches import axi_models
from hw.memory_model import MemoryTiming, read_counts, read_written, write_image, write_timing

BENCH = "hw.benches.axi"


@dataclass(frozen=True)
class Result:
    """What happened in a case.

    `log` is that of the bench; `taken` are the words that a reader gave; `memory` the RAM's bytes;
    `wrong` what the bench itself or the RAM found.
    """

    log: dict
    taken: list
    memory: np.ndarray
    wrong: str


def quick(values):
    """Leave all parameters but the first to the full tests."""
    cases = [value if isinstance(value, tuple) else (value,) for value in values[1:]]
    return [values[0], *(pytest.param(*case, marks=pytest.mark.full) for case in cases)]


def make_case(config, master, jobs, memory, seed=0, **options):
    """Return a case: (options, arrays) for the bench; its jobs are (address, words or bytes)."""
    addresses, counts = np.array(jobs, np.int64).reshape(-1, 2).T
    bits = config.length_bits + (config.byte_bits if master is AxiWriter else 0)
    fields = (addresses[:, None], config.address_bits), (counts[:, None] - 1, bits)
    arrays = {"i_job": pack_fields(*fields)}
    if memory is not None:
        arrays["memory"] = memory
    if master is AxiWriter:
        random = np.random.default_rng(seed)
        words = sum(-(-count // config.word_bytes) for _, count in jobs)
        arrays["i"] = random.integers(0, 256, (words, config.word_bytes), np.uint8)
    return {"seed": seed, "jobs": jobs, **options}, arrays


def random_memory(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8)


def random_jobs(config, master, random, count, size, most_words=None):
    """Return jobs in a memory of `size` bytes: many short ones, some at the corners of pages."""
    word = config.word_bytes
    jobs = []
    for _ in range(count):
        most = most_words or int(random.choice([1, 2, config.burst_beats, 5 * config.burst_beats]))
        words = min(int(random.integers(1, most + 1)), size // word // 2)
        first = int(random.integers(0, size // word - words))
        if random.random() < 0.3:  # around the end of a page
            page = 4096 // word * int(random.integers(1, size // 4096))
            first = page - int(random.integers(0, words + 1))
            first = max(0, min(first, size // word - words))
        if master is AxiReader:
            jobs.append((first * word, words))
        else:
            shift = int(random.integers(0, word))
            room = words * word - shift
            jobs.append((first * word + shift, int(random.integers(1, room + 1))))
    return jobs


def run(design, cases, images=None, timing=None):
    """Run cases after each other; return what happened in each, and the folder's files' readings.

    Args:
        images: what the memories in the design hold, by the prefix of their ports.
        timing: of all of them.
    """
    simulator = cosim.build(design)
    with tempfile.TemporaryDirectory(prefix="nandu-") as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps([case for case, _ in cases]))
        arrays = {f"{k}_{n}": a for k, (_, each) in enumerate(cases) for n, a in each.items()}
        np.savez(folder / "job.npz", **arrays)
        for prefix, image in (images or {}).items():
            write_image(folder, prefix, image)
            write_timing(folder, prefix, timing or MemoryTiming())
        passed = cosim.run(simulator, BENCH, folder)
        assert passed, (folder / "log").read_text()[-3000:]
        found = json.loads((folder / "results.json").read_text())
        results = [_result(one) for one in found]
        readings = {p: (read_counts(folder, p), read_written(folder, p)) for p in images or {}}
    return results, readings


def _result(found):
    memory = np.frombuffer(bytes.fromhex(found["ram"]), np.uint8)
    return Result(found["log"], [int(word, 16) for word in found["taken"]], memory, found["wrong"])


def random_cases(config, master, size, count, seed, jobs=20, errors=False, **options):
    """Return random jobs under all pauses: of who gives them, who takes words, and the memory.

    With `errors` some words of the memory fail, and some jobs of a reader are not aligned.
    """
    random = np.random.default_rng(seed)
    for number in range(count):
        pauses = {
            name: bool(number >> k & 1) for k, name in enumerate(("slow_memory", "stall", "idle"))
        }
        mine = random_jobs(config, master, random, jobs, size)
        memory = random_memory(size, seed + number)
        if errors:
            low = mine[int(random.integers(jobs))][0]  # of a random job
            options["bad"] = [[low, low + config.word_bytes * int(random.integers(1, 20))]]
        if errors and master is AxiReader and number % 2:
            at = int(random.integers(jobs))
            mine[at] = (mine[at][0] | int(random.integers(1, config.word_bytes)), mine[at][1])
        yield make_case(config, master, mine, memory, number * 1000, **{**pauses, **options})


def read_words(config, jobs, memory):
    """Return what a reader must give: integers of the words, and the flag of the last one."""
    given = []
    for address, words in jobs:
        rows = memory[address : address + words * config.word_bytes].reshape(words, -1)
        given += [int.from_bytes(row.tobytes(), "little") for row in rows]
        given[-1] |= 1 << config.data_bits
    return given


def written(config, jobs, inputs, memory):
    """Return what a memory must hold behind a writer's jobs, one after the other."""
    memory, at = memory.copy(), 0
    for address, count in jobs:
        words = -(-count // config.word_bytes)
        memory[address : address + count] = inputs[at : at + words].reshape(-1)[:count]
        at += words
    return memory


def bursts(config, master, jobs):
    """Return the bursts that must be seen at the port, and their flags, as the bench logs them."""
    size, asked, beats = config.word_bytes, [], []
    for address, count in jobs:
        first = address - address % size
        words = count if master is AxiReader else (address + count - 1) // size - first // size + 1
        for burst in axi_models.split(config, first, words):
            asked.append(f"{burst.address}:{burst.beats}")
            beats += ["0"] * (burst.beats - 1) + ["1"]
    return asked, beats


def judge(config, master, case, arrays, result):
    """Return what is wrong with a case, or an empty text.

    The model tells how much must have moved in which cycle, here follows what; and without an error
    everything must have.
    """
    jobs = case["jobs"]
    different = axi_models.compare(master, config, jobs, result.log)
    if result.wrong or different:
        return result.wrong or different
    whole = int(result.log["error"].split()[-1], 16) == 0
    moved = [result.log["bursts"].split(), result.log["beats"].split()]
    right = list(bursts(config, master, jobs))
    if master is AxiReader:
        aligned = [job for job in jobs if job[0] % config.word_bytes == 0]  # those in front count
        moved.append(result.taken)
        right.append(read_words(config, aligned, arrays["memory"]))
    for got, expected in zip(moved, right, strict=True):
        if got != (expected if whole else expected[: len(got)]):
            return f"{got} instead of {expected}"
    if master is AxiReader or not whole:
        return ""
    if result.log["done"].count("1") != len(jobs):
        return "another number of jobs is done"
    memory = written(config, jobs, arrays["i"], arrays["memory"])
    return "" if np.array_equal(result.memory, memory) else "other bytes in memory"


def wrong(config, master, design, cases):
    """Return what is wrong with each case."""
    results, _ = run(design, cases)
    return [
        judge(config, master, case, arrays, result)
        for (case, arrays), result in zip(cases, results, strict=True)
    ]


def survivors(mutants, config, master, cases):
    """Return the faults that no case sees, in Yosys' words."""
    left = list(range(len(mutants.faults) + 1))
    for case, arrays in cases:
        results, _ = run(
            mutants.design, [({**case, "mutant": n, "most_cycles": 1500}, arrays) for n in left]
        )
        judged = zip(left, results, strict=True)
        left = [n for n, result in judged if not judge(config, master, case, arrays, result)]
        assert left[:1] == [0], "the design without a fault fails"
    return [mutants.faults[number - 1] for number in left[1:]]
