"""Tries all mutants of a design with case after case; what is killed is not tried again."""

import re
from dataclasses import replace

from hw.player import play


def survivors(mutants, trials):
    """Return the faults that no trial sees, in Yosys' words.

    Args:
        mutants: a design with faults built in.
        trials: pairs of a case and of what judges its trace: it returns what is wrong, or "".
    """
    left = list(range(len(mutants.faults) + 1))
    for case, judge in trials:
        cases = [replace(case, levels={**case.levels, "mutant": mutant}) for mutant in left]
        traces = play(mutants.design, cases)
        left = [mutant for mutant, trace in zip(left, traces, strict=True) if not judge(trace)]
        assert left[:1] == [0], "the design without a fault fails"
    return [mutants.faults[mutant - 1] for mutant in left[1:]]


def unexplained(faults, equivalent):
    """Return the faults that no pattern of `equivalent`, a reason for each, stands for."""
    return [f for f in faults if not any(re.fullmatch(pattern, f) for pattern in equivalent)]
