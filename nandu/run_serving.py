"""`nandu simulate` with requests that come and go."""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from golden import model_shapes
from golden.spec.errors import ConfigError
from nandu.run_simulation import machine_with
from sim.requests import Lengths, Request, draw_requests, read_requests
from sim.serving_policies import parse_policy
from sim.serving_result import Limits, simulate_serving


@dataclass(frozen=True)
class Asked:
    """Which requests come, and how they are served.

    Attributes:
        file: of requests; else they are drawn: rate per second, count, lengths and seed.
        policy: as NAME[:k=v,...]. limits: of the goodput.
    """

    file: Path | None
    rate: float | None
    count: int | None
    lengths: str
    seed: int
    policy: str
    limits: Limits

    @property
    def any(self) -> bool:
        """Whether requests are asked for."""
        return self.file is not None or self.rate is not None or self.count is not None


def run(
    system: str,
    model: str,
    lengths: tuple[int, int],
    settings: Sequence[str],
    techniques: Sequence[str],
    asked: Asked,
) -> dict[str, Any]:
    """Serve requests and return what the command prints.

    Args:
        lengths: tokens of a prompt and tokens written, or their means, of requests that are drawn.

    Raises:
        ConfigError: a name or a number is wrong, or a request does not fit.
    """
    policy = parse_policy(asked.policy)
    requests = _requests(lengths, asked)
    shape = model_shapes.load(model)
    machine = machine_with(system, shape, settings, techniques)
    for name, value in dataclasses.asdict(asked.limits).items():
        if not value > 0:
            raise ConfigError(f"{name} is {value:g}; a limit is more than 0 ms")
    result = simulate_serving(machine, shape, requests, policy, asked.limits)
    return dataclasses.asdict(result)


def _requests(lengths: tuple[int, int], asked: Asked) -> list[Request]:
    if asked.file is not None:
        if asked.rate is not None or asked.count is not None:
            raise ConfigError("--requests gives all requests; leave out --rate and --count")
        return read_requests(asked.file)
    if asked.rate is None or asked.count is None:
        given, missing = ("--rate", "--count") if asked.count is None else ("--count", "--rate")
        raise ConfigError(f"{given} is given without {missing}; both are needed")
    way = cast(Lengths, asked.lengths)
    return draw_requests(asked.rate, asked.count, *lengths, way, asked.seed)


def lines(record: dict[str, Any]) -> Iterable[str]:
    """Yield a result in lines for a terminal."""
    yield (
        f"{record['model']} on {record['label']}: {record['requests']:,} requests in "
        f"{record['seconds']:,.1f} s, {record['policy']}"
    )
    for name in record["techniques"]:
        yield f"  with {name}"
    yield f"  {'milliseconds':24}{'p50':>12}{'p90':>12}{'p99':>12}{'mean':>12}"
    titles = {"ttft_ms": "first token", "tpot_ms": "each further token", "e2e_ms": "last token"}
    for name, found in record["percentiles"].items():
        yield f"  {titles[name]:24}" + "".join(f"{value:12,.1f}" for value in found.values())
    limits = record["limits"]
    yield _row("served", f"{record['requests_per_s']:.4g} requests/s")
    yield _row(
        "goodput",
        f"{record['goodput_requests_per_s']:.4g} requests/s, {record['goodput_share']:.1%} within "
        f"{limits['ttft_ms']:g} ms and {limits['tpot_ms']:g} ms",
    )
    yield _row("written", f"{record['e2e_tokens_per_s']:,.4g} tokens/s")
    yield _row("at work", f"{record['utilisation']:.1%} of the time")
    if record["reader_utilisation"] is not None:
        yield _row("readers at work", f"{record['reader_utilisation']:.1%} of the time")
    yield _row("sequences of a pass", f"{record['mean_batch']:.1f}")
    yield _row("requests in the system", f"{record['mean_requests']:.1f}")
    for title, name, unit in (
        ("energy", "joules_per_token", "J/token"),
        ("cost", "usd_per_mtoken", "USD per million tokens"),
    ):
        value = record[name]
        yield _row(title, "not modelled" if value is None else f"{value:,.4g} {unit}")
    yield _row("memory", f"{record['peak_memory_gb']:.2f} GB")
    yield f"limited by {record['bottleneck'] or 'reading prompts'}"
    for sentence in record["assumptions"]:
        yield f"- {sentence}"


def _row(name: str, value: str) -> str:
    return f"  {name:24}{value}"
