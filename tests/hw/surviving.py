"""Which mutants of a block its bench does not see."""

from hw.jobs import run_job
from hw.mutation import mutate


def surviving(design, bench, cases, count=200, seed=1):
    """Return the faults, of `count`, that no case sees; cases are pairs for `hw.jobs.run_job`.

    A mutant that one case has killed is not tried with the next ones.
    """
    mutants = mutate(design, count, seed)
    left = list(range(1, count + 1))
    for case, arrays in cases:
        tried = [{**case, "mutant": k} for k in left]
        _, results = run_job(mutants.design, bench, tried, [arrays] * len(left))
        left = [k for k, result in zip(left, results, strict=True) if not result["mismatches"]]
    return [mutants.faults[k - 1] for k in left]
