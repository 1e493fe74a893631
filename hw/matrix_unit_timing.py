"""The matrix unit's timing contract: for given words, when all its handshakes happen.

`hw.matrix_job_timing` plays a job; here it is played with what is known of words, jobs and strips
from the start. `hw.engine_timing` says more about the engine in less, but of streams that never
wait.
"""

from collections.abc import Sequence

import numpy as np

from golden.spec.matrix_engine import MatrixEngineConfig
from hw.event_clock import PATIENCE
from hw.matrix_job_timing import JobTiming, MergeTiming
from hw.matrix_unit_work import Product


def matrix_unit_cycles(config: MatrixEngineConfig, products: Sequence[Product]) -> list[int]:
    """Return the cycles of each of successive jobs, from taken to complete, both counted.

    The timing contract: exact when every chain always has a word and strips are always taken.

    Raises:
        ShapeError: a job never ends.
    """
    passed = transfers(config, products)
    return (1 + np.array(passed["complete"]) - passed["i_job"]).tolist()


def transfers(
    config: MatrixEngineConfig,
    products: Sequence[Product],
    *,
    offered: Sequence[int] = (),
    arrivals: Sequence[np.ndarray] = (),
    ready: np.ndarray | None = None,
) -> dict[str, list[int]]:
    """Return when the jobs, each chain's words and the strips pass; and when jobs are complete.

    The keys are the streams' names, and "complete". Exact, whatever waits.

    Args:
        offered: the cycle from which each job is offered, if those before were taken; by default 0.
        arrivals: for each chain the cycles from which its words are offered, if those before were
            taken; by default 0.
        ready: bool [cycles]: when strips are taken; behind the end, and by default, always.

    Raises:
        ShapeError: a job never ends.
    """
    passed: dict[str, list[int]] = {"i_job": [], "complete": [], "o": []}
    words: list[list[int]] = [[] for _ in range(config.chains)]
    merge = MergeTiming(config.chains)
    free = 0
    for number, product in enumerate(products):
        begin = max(free, offered[number]) if len(offered) else free
        job = JobTiming(config, merge, product, begin)
        reading = np.flatnonzero(product.reads).tolist()
        for chain in reading if len(arrivals) else ():
            mine = job.words.of_chain("arrival", chain)
            mine[:] = arrivals[chain][len(words[chain]) :][: len(mine)]
        left, complete = _run(job, np.ones(0, bool) if ready is None else ready, begin)
        for chain in reading:
            words[chain] += job.words.of_chain("taken", chain).tolist()
        passed["i_job"].append(begin)
        passed["complete"].append(complete)
        passed["o"] += left
        free = job.now + 1
    return passed | {f"i__{c}": mine for c, mine in enumerate(words)}


def _run(job: JobTiming, ready: np.ndarray, begin: int) -> tuple[list[int], int]:
    """Do a job; return when strips have left, and when it is complete."""
    left, complete = [], begin
    # Nothing comes from outside behind this cycle.
    latest = max(begin, len(ready), job.last_arrival)
    progress = job.progress
    while not job.is_over:
        now = job.now + 1
        leaves = job.offers and (now >= len(ready) or bool(ready[now]))
        if leaves:
            left.append(now)
        if job.step(leaves):
            complete = now
        if now > latest and (now - latest) % PATIENCE == 0:
            before, progress = progress, job.progress
            job.check(before)
    return left, complete
