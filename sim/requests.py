"""Requests that come and go: read from a CSV file, or drawn at random."""

import csv
import random
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Literal

from golden.spec.errors import ConfigError
from sim.workload import MOST_TOKENS

COLUMNS = ("arrival_s", "prefill", "decode")
MOST_REQUESTS = 1_000_000
MOST_PER_S = 1e6
"""Requests per second: more than any published serving system is asked for."""

Lengths = Literal["fixed", "exponential"]


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        arrival: seconds. prefill: tokens of its prompt; decode: tokens that it is given.
    """

    arrival: float
    prefill: int
    decode: int


def read_requests(path: Path) -> list[Request]:
    """Return the requests of a CSV file with the columns arrival_s, prefill and decode.

    Raises:
        ConfigError: the file or a column is missing, or a time or a length is; a number is out of
            range; or times are not sorted.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            table = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (table.fieldnames or ())]
            if missing:
                needed = ", ".join(COLUMNS)
                raise ConfigError(f"{path.name} has no column {missing[0]}; {needed} are needed")
            found = [_request(f"{path.name}:{table.line_num}", row) for row in table]
    except OSError as error:
        raise ConfigError(f"cannot read {str(path)!r} ({error.strerror})") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path.name} is not a CSV file: {error}") from None
    if not found:
        raise ConfigError(f"{path.name} has no requests; a row for each is needed")
    for line, (one, following) in enumerate(pairwise(found), start=3):
        if following.arrival < one.arrival:
            raise ConfigError(
                f"{path.name}:{line}: arrival_s is {following.arrival:g} after {one.arrival:g}; "
                "requests are needed in the order in which they arrive"
            )
    return found


def _request(where: str, row: dict[str, str | None]) -> Request:
    arrival = _number(where, "arrival_s", row["arrival_s"])
    if not 0 <= arrival < 1e9:
        raise ConfigError(f"{where}: arrival_s is {arrival:g}; seconds from 0 to 1e9 are allowed")
    return Request(arrival, *(_tokens(where, name, row[name]) for name in COLUMNS[1:]))


def _tokens(where: str, name: str, text: str | None) -> int:
    value = _number(where, name, text)
    if value != int(value) or not 1 <= value <= MOST_TOKENS:
        raise ConfigError(f"{where}: {name} is {text}; 1 to {MOST_TOKENS:,} tokens are allowed")
    return int(value)


def _number(where: str, name: str, text: str | None) -> float:
    if not (text or "").strip():
        raise ConfigError(f"{where}: {name} is missing")
    try:
        value = float(str(text))
    except ValueError:
        raise ConfigError(f"{where}: {name} is {text!r}; a number is needed") from None
    if not isfinite(value):
        raise ConfigError(f"{where}: {name} is {text}; a finite number is needed")
    return value


def draw_requests(
    rate: float, count: int, prefill: int, decode: int, lengths: Lengths = "fixed", seed: int = 0
) -> list[Request]:
    """Return requests that arrive at random, at `rate` per second on average (Poisson).

    Args:
        prefill, decode: tokens of each, or their means.
        lengths: "fixed", or "exponential": drawn independently, rounded up, so at least 1.

    Raises:
        ConfigError: a number is out of range.
    """
    for name, value, unit, least, most in (
        ("rate", rate, "requests per second", 0.0, MOST_PER_S),
        ("count", count, "requests", 0, MOST_REQUESTS),
        ("prefill", prefill, "tokens", 0, MOST_TOKENS),
        ("decode", decode, "tokens", 0, MOST_TOKENS),
    ):
        if not least < value <= most:
            raise ConfigError(
                f"{name} is {value:,g} {unit}; more than 0 and up to {most:,.0f} are allowed"
            )
    if lengths not in ("fixed", "exponential"):
        raise ConfigError(f"lengths is {lengths!r}; fixed and exponential are allowed")
    draw = random.Random(seed)
    found, now = [], 0.0

    def length(mean: int) -> int:
        if lengths == "fixed":
            return mean
        return min(int(draw.expovariate(1 / mean)) + 1, MOST_TOKENS)

    for _ in range(count):
        now += draw.expovariate(rate)
        found.append(Request(now, length(prefill), length(decode)))
    return found
