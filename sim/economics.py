"""What a token costs: the machine over its life, and electricity."""

from sim.system import System

LIFE_YEARS = 3.0
"""Over which a machine's price is spread, working all the time; a common depreciation."""

USD_PER_KWH = 0.10
"""Of electricity; about the price for industry in the United States."""

SECONDS_PER_YEAR = 365 * 24 * 3600
JOULES_PER_KWH = 3.6e6


def usd_per_mtoken(
    system: System, seconds: float, joules: float | None, tokens: float
) -> float | None:
    """Return US dollars for a million tokens; None where the price or the energy is not known.

    Args:
        seconds, joules: that `tokens` tokens take.
    """
    if system.price_usd is None or joules is None:
        return None
    machine = system.price_usd * seconds / (LIFE_YEARS * SECONDS_PER_YEAR)
    return (machine + joules / JOULES_PER_KWH * USD_PER_KWH) / tokens * 1e6
