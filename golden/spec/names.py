"""What to say to someone who wrote a name that is almost right."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "; the nearest are ..." with the known names most like `name`, or nothing."""
    spelled = {one.lower(): one for one in known}
    found = get_close_matches(name.lower(), spelled, n=3, cutoff=0.5)
    return f"; the nearest are {', '.join(spelled[one] for one in found)}" if found else ""
