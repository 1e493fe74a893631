"""Jobs whose course is known do what they do when they are played."""

from fractions import Fraction

import numpy as np
import pytest

from golden.spec.instruction import decode, instruction, mask_of
from golden.spec.isa import SystemOperation, Unit, Weights
from hw import known_job
from hw.core_cases import BASES, CONFIG, images, random_runs
from hw.core_ports import port_names
from hw.core_timing import successive_cycles
from hw.known_job import JobInWork, KnownJobs
from hw.load_timing import ReaderTiming
from hw.matrix_job_timing import MergeTiming
from hw.memory_model import MemoryTiming
from hw.product_timing import ProgramProducts

ALL_BASES = [BASES.get(number, 0) for number in range(16)]
SLOW = dict.fromkeys(port_names(CONFIG), MemoryTiming(9, words_per_cycle=Fraction(2, 3)))
PLAIN = {"weights": Weights.RAW, "columns": 2, "group": 2, "words": 16, "strips": 6}
END = instruction(Unit.SYS, op=SystemOperation.END)


class Played(KnownJobs):
    """Knows nothing."""

    def begin(self, product, cycle, has_words, again):
        return JobInWork(self._config, self._merge, product, cycle)


def products():
    """Return jobs of all kinds of weights: the chains have unlike work."""
    memories, matrices = images(CONFIG, 0)
    program = []
    for mask in (1, 3, 4, 7):
        program.append(instruction(Unit.LD, channels=mask, length=16))
        program.append(instruction(Unit.MV, channels=mask, **PLAIN))
    for matrix in matrices:
        program.append(instruction(Unit.LD, channels=7, **matrix.load))
        program.append(instruction(Unit.MV, **matrix.product))
    made = ProgramProducts(CONFIG, program, ALL_BASES, memories)
    return [made(one) for one in program if one.unit is Unit.MV]


def course(kind, chosen, ready, again):
    """Do jobs one after the other; return all that is seen, and whose turn it is behind each.

    Args:
        chosen: the jobs. ready: of each job and cycle, whether a strip is taken.
    """
    merge = MergeTiming(CONFIG.chains)
    jobs, seen, known = kind(CONFIG.engine, merge), [], 0
    for product, takes in zip(chosen, ready, strict=True):
        job = jobs.begin(product, 0, has_words=True, again=again)
        known += job.is_known
        while not job.is_over:
            cycle = job.next
            leaves = job.offers and bool(takes[cycle % len(takes)])
            completes = job.step(leaves)
            taken = () if again else job.taken
            if leaves or completes or taken or job.is_over:
                seen.append((cycle, leaves, completes, taken, job.is_over))
            elif job.offers:
                seen.append((cycle, "offers"))
        seen.append(merge.turns)
    return seen, known


@pytest.mark.parametrize("again", [False, True])
def test_jobs_are_seen_to_do_what_they_did(again):
    random, every = np.random.default_rng(0), products()
    chosen = [every[k] for k in random.integers(0, len(every), 60)]
    # Some jobs' strips are always taken at once, others' rarely wait, others' often.
    ready = [random.random(97) < random.choice([1, 0.95, 0.5]) for _ in chosen]
    seen, known = course(KnownJobs, chosen, ready, again)
    assert seen == course(Played, chosen, ready, again)[0]
    assert 10 < known < len(chosen)


def busy():
    """Return a program of products of plain INT8, while the vector buffer is often busy."""
    load = instruction(Unit.LD, channels=7, length=16)
    matrix = instruction(Unit.MM, tokens=6, step=2, out_step=6, **PLAIN)
    vector = instruction(Unit.MV, **PLAIN)
    others = [
        instruction(Unit.MISC, length=100, wide=1),
        instruction(Unit.LD, length=30, count_1=2),
    ]
    return [*[load, matrix, load, vector, load, matrix, *others] * 3, END]


def late():
    """Return a program whose products begin while their words are on the way."""
    loads, products = mask_of(Unit.LD, [Unit.MV]), mask_of(Unit.MV, [Unit.LD])
    program = []
    for number in range(4):
        waits = loads * (number > 0)
        load = {"channels": 7, "length": 16, "wait": waits, "release": loads}
        program.append(instruction(Unit.LD, **load))
        program.append(instruction(Unit.MV, wait=products, release=products, **PLAIN))
    return [*program, END]


def schedules(seed, timing):
    """Return the schedules of programs, and how many jobs were known in them."""
    memories, matrices = images(CONFIG, 0)
    mine = [list(decode(one.words)) for one in random_runs(CONFIG, matrices, seed, 1, 40)]
    mine += [busy(), late()]
    return successive_cycles(CONFIG, mine, [ALL_BASES] * 3, memories=memories, timing=timing)


@pytest.mark.parametrize("timing", [{}, SLOW], ids=["ideal", "slow"])
def test_programs_take_the_same_cycles(timing, monkeypatch):
    known, take = [], ReaderTiming.take

    def checked(self):
        assert self.offers
        take(self)

    def begin(self, *given, **named):
        job = original(self, *given, **named)
        known.append(job.is_known)
        return job

    original = KnownJobs.begin
    monkeypatch.setattr(ReaderTiming, "take", checked)
    monkeypatch.setattr(KnownJobs, "begin", begin)
    found = schedules(1, timing)
    assert sum(known) > 20
    monkeypatch.setattr(KnownJobs, "begin", Played.begin)
    assert schedules(1, timing) == found


def test_few_courses_are_kept(monkeypatch):
    monkeypatch.setattr(known_job, "KEPT", 1)
    every = products()
    _, known = course(KnownJobs, [every[0], every[1]] * 3, [[True]] * 6, False)
    assert known == 0
