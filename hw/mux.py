"""A mux over some of the values of its index."""

from collections.abc import Mapping

from amaranth.hdl import Mux, Value


def select(index: Value, options: Mapping[int, Value]) -> Value:
    """Return the option of that index, through a tree of muxes; an index without one gives any."""
    if len(options) == 1:
        return next(iter(options.values()))
    half = 2 ** (len(index) - 1)
    below = {number: option for number, option in options.items() if number < half}
    above = {number - half: option for number, option in options.items() if number >= half}
    branches = [select(index[:-1], part) for part in (above, below) if part]
    return Mux(index[-1], *branches) if len(branches) == 2 else branches[0]
