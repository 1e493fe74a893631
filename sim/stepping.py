"""Many decode steps at once: between events that matter, a step's time is linear in the context."""

from collections.abc import Callable

TOLERANCE = 1e-3
"""The largest share by which the middle of a stretch may lie off the line of its ends."""


def stretches(
    seconds: Callable[[int], float], first: int, last: int, tolerance: float = TOLERANCE
) -> dict[int, float]:
    """Return contexts that stand for all from `first` to `last`, and for how many steps each.

    A stretch whose middle lies on the line of its ends is summed as that line, so both ends stand
    for half of it; else it is halved.
    """
    known: dict[int, float] = {}

    def at(context: int) -> float:
        if context not in known:
            known[context] = seconds(context)
        return known[context]

    def is_line(begin: int, end: int) -> bool:
        middle = (begin + end) // 2
        share = (middle - begin) / (end - begin)
        line = at(begin) * (1 - share) + at(end) * share
        return abs(at(middle) - line) <= tolerance * line

    steps: dict[int, float] = {}
    left = [(first, last)] if last >= first else []
    while left:
        begin, end = left.pop()
        if end - begin < 2 or is_line(begin, end):
            for context in (begin, end):
                steps[context] = steps.get(context, 0.0) + (end - begin + 1) / 2
        else:
            middle = (begin + end) // 2
            left += [(begin, middle), (middle + 1, end)]
    return steps
