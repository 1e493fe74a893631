"""What serving gave: times as percentiles, rates, energy and cost."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil

from golden.model_shapes import ModelShape
from sim.cost import Cost, total
from sim.economics import usd_per_mtoken
from sim.requests import Request
from sim.serving import Served, serve
from sim.serving_machine import Log
from sim.serving_policies import Disaggregated, Policy, described
from sim.simulate import FASTER
from sim.system import System
from sim.treat import described as technique
from sim.workload import Pass

PERCENTILES = (50, 90, 99)


@dataclass(frozen=True)
class Limits:
    """What a request must keep to count for the goodput, in milliseconds.

    By default those of DistServe's simulator (LLMServe/DistServe at 82831f1, simdistserve), for
    OPT-13B and a chat's requests.
    """

    ttft_ms: float = 200.0
    tpot_ms: float = 100.0


@dataclass(frozen=True)
class ServingResult:
    """Requests on one system; names are as in `sim.result.Result` where they are there.

    Attributes:
        requests: how many; seconds: from the first arrival to the last token.
        ttft_ms, tpot_ms, e2e_ms: medians. percentiles: of each, by p50, p90, p99 and mean.
        tokens_per_s: written tokens over `seconds`; e2e_tokens_per_s is the same, and
            decode_tokens_per_s counts only the seconds in which the machine that decodes works.
        requests_per_s: that are done, over `seconds`; goodput_requests_per_s: those of them that
            keep both limits, and goodput_share of all.
        utilisation: share of `seconds` in which the machine that decodes works, and
            reader_utilisation of those that only read, by name of the policy.
        mean_batch: sequences that decode in a pass, on average; mean_requests: in the system.
        peak_memory_gb: weights, working memory and caches, at most, of the machine that decodes.
        bottleneck: the resource that shortens the mean pass most.
        breakdown: milliseconds of a written token by operator class, of all sequences together.
        events: of the simulation.
    """

    system: str
    model: str
    label: str
    policy: str
    techniques: tuple[str, ...]
    requests: int
    seconds: float
    ttft_ms: float
    tpot_ms: float | None
    e2e_ms: float
    percentiles: dict[str, dict[str, float]]
    decode_tokens_per_s: float
    e2e_tokens_per_s: float
    requests_per_s: float
    goodput_requests_per_s: float
    goodput_share: float
    limits: Limits
    utilisation: float
    reader_utilisation: float | None
    mean_batch: float
    mean_requests: float
    joules_per_token: float | None
    usd_per_mtoken: float | None
    peak_memory_gb: float
    bandwidth_used: float
    bandwidth_streaming: float
    cycles_per_token: int
    bottleneck: str
    breakdown: dict[str, float] = field(default_factory=dict)
    fits: bool = True
    assumptions: tuple[str, ...] = ()
    events: int = 0
    wall_s: float = 0.0


def simulate_serving(
    system: System,
    model: ModelShape,
    requests: Sequence[Request],
    policy: Policy,
    limits: Limits | None = None,
) -> ServingResult:
    """Serve requests and say what came of it.

    Raises:
        ConfigError: the system cannot do it, or its memory does not hold one of the requests.
    """
    begin, limits = time.perf_counter(), limits or Limits()
    served = serve(system, model, requests, policy)
    jobs, log = served.jobs, served.log
    first = requests[0].arrival
    seconds = max(job.end for job in jobs) - first
    tokens = sum(job.request.decode for job in jobs)
    times = _times(served)
    good = _good(times, limits)
    readers = policy.readers if isinstance(policy, Disaggregated) else 0
    cost = _cost(system, model, log) + _cost(system, model, served.readers or Log())
    idle = (1 + readers) * seconds - cost.seconds
    joules = system.joules(cost + Cost(max(idle, 0.0)))
    usd = usd_per_mtoken(system, (1 + readers) * seconds, joules, tokens)
    peak = (1 + readers) * system.bytes_per_s
    passes = sum(count for count, _, _ in log.passes.values())
    decoded = sum(batch * found[0] for (batch, _), found in log.passes.items())
    streaming = cost.streaming.get("seconds", 0.0)
    shown = {name: percentiles(values) for name, values in times.items() if values}
    read = served.readers.busy / readers / seconds if served.readers else None
    return ServingResult(
        system=system.name,
        model=model.name,
        label=system.label,
        policy=described(policy),
        techniques=tuple(technique(one) for one in system.techniques),
        requests=len(jobs),
        seconds=seconds,
        ttft_ms=shown["ttft_ms"]["p50"],
        tpot_ms=shown["tpot_ms"]["p50"] if "tpot_ms" in shown else None,
        e2e_ms=shown["e2e_ms"]["p50"],
        percentiles=shown,
        decode_tokens_per_s=tokens / log.busy if log.busy else 0.0,
        e2e_tokens_per_s=tokens / seconds,
        requests_per_s=len(jobs) / seconds,
        goodput_requests_per_s=good / seconds,
        goodput_share=good / len(jobs),
        limits=limits,
        utilisation=log.busy / seconds,
        reader_utilisation=read,
        mean_batch=decoded / passes if passes else 0.0,
        mean_requests=sum(job.end - job.request.arrival for job in jobs) / seconds,
        joules_per_token=None if joules is None else joules / tokens,
        usd_per_mtoken=usd,
        peak_memory_gb=(served.taken.weights + served.taken.working + log.most_held) / 1e9,
        bandwidth_used=cost.moved.get("memory", 0.0) / seconds / peak,
        bandwidth_streaming=(
            cost.streaming["bytes"] / streaming / system.bytes_per_s if streaming else 0.0
        ),
        cycles_per_token=round(cost.work.get("cycles", 0) / tokens),
        bottleneck=_bottleneck(system, model, log),
        breakdown={name: value * 1e3 / tokens for name, value in cost.parts.items()},
        assumptions=(*system.assumptions, *_assumed(system, served, policy)),
        events=served.events,
        wall_s=time.perf_counter() - begin,
    )


def _assumed(system: System, served: Served, policy: Policy) -> tuple[str, ...]:
    return (
        *(sentence for one in system.techniques for sentence in one.assumptions()),
        f"Up to {served.sequences} sequences at a time, first come first served; a request waits "
        "until the cache of its whole sequence fits, so none is evicted.",
        "A decode pass takes as long as one of as many sequences that all have the mean context.",
        *(
            ("Prompts are read one at a time; machines that read hold any number of caches.",)
            if isinstance(policy, Disaggregated)
            else ()
        ),
    )


def _times(served: Served) -> dict[str, list[float]]:
    """Return the times of all requests in milliseconds, sorted as the requests are."""
    return {
        "ttft_ms": [1e3 * (job.first - job.request.arrival) for job in served.jobs],
        "tpot_ms": [1e3 * (job.end - job.first) / job.request.decode for job in served.jobs],
        "e2e_ms": [1e3 * (job.end - job.request.arrival) for job in served.jobs],
    }


def _good(times: dict[str, list[float]], limits: Limits) -> int:
    """Return how many requests keep both limits."""
    pairs = zip(times["ttft_ms"], times["tpot_ms"], strict=True)
    return sum(ttft <= limits.ttft_ms and tpot <= limits.tpot_ms for ttft, tpot in pairs)


def percentiles(values: Iterable[float]) -> dict[str, float]:
    """Return the mean, and the smallest values that so many percent do not exceed."""
    ordered = sorted(values)
    found = {f"p{p}": ordered[ceil(len(ordered) * p / 100) - 1] for p in PERCENTILES}
    return found | {"mean": sum(ordered) / len(ordered)}


def _cost(system: System, model: ModelShape, log: Log) -> Cost:
    """Return what a machine's passes cost: passes of as many sequences at their mean context."""
    costs: list[tuple[float, Cost]] = []
    for (batch, _), (count, contexts, tokens) in log.passes.items():
        context, extra = round(contexts / count), tokens / count
        if not batch:
            job = Pass(1, max(round(extra), 1), max(round(extra), 1), prompt=True)
            costs.append((count, system.step(model, job)))
            continue
        cost = system.turn(model, batch, max(context, 1))
        if extra:
            both = system.step(model, Pass(batch, 1, max(context, 1), extra=round(extra)))
            alone = system.step(model, Pass(batch, 1, max(context, 1)))
            costs += [(count, both), (-count, alone)]
        costs.append((count, cost))
    for (batch, length), count in log.reads.items():
        job = Pass(batch, length, length, prompt=True)
        costs.append((count, system.step(model, job)))
    return total(costs)


def _bottleneck(system: System, model: ModelShape, log: Log) -> str:
    """Return the resource that shortens the kind of pass that took most of the passes."""
    decoding = {key: found for key, found in log.passes.items() if key[0]}
    if not decoding:
        return ""
    (batch, _), (count, contexts, _) = max(decoding.items(), key=lambda item: item[1][0])
    context = max(round(contexts / count), 1)
    seconds = {
        name: system.faster(name, FASTER).turn_seconds(model, batch, context)
        for name in system.resources
    }
    return min(seconds, key=lambda name: seconds[name])
