"""From a system, a model and a workload to a result."""

import time
from dataclasses import replace

from golden.model_shapes import ModelShape
from golden.spec.errors import ConfigError
from sim.cost import Cost
from sim.economics import usd_per_mtoken
from sim.result import Result
from sim.system import Footprint, System
from sim.treat import described
from sim.workload import Workload

FASTER = 1.1
"""How much faster each resource is made, one at a time, to say what holds a system back."""


def simulate(system: System, model: ModelShape, workload: Workload) -> Result:
    """Simulate a workload.

    Raises:
        ConfigError: the system cannot do it, or its memory cannot hold it.
    """
    begin = time.perf_counter()
    check(system, model, workload)
    prefill, steps = costs(system, model, workload)
    why = _why(system, model, workload, prefill, steps)
    result = _result(system, model, workload, prefill, steps)
    metrics: dict[str, float] = {}
    for technique in system.techniques:
        metrics |= technique.metrics(system, model, workload, result)
    return replace(
        result,
        metrics=metrics,
        why=why,
        bottleneck=max(why, key=lambda name: why[name]["tpot" if workload.decode else "ttft"]),
        wall_s=time.perf_counter() - begin,
    )


def check(system: System, model: ModelShape, workload: Workload) -> None:
    """Raise ConfigError unless the system can do the workload and holds it."""
    if workload.prefill < 1:
        raise ConfigError(
            f"prefill is {workload.prefill}; a prompt has at least 1 token, and a decode step "
            "follows at least 1"
        )
    system.check(workload)
    taken = system.footprint(model, workload)
    if taken.short:
        raise ConfigError(_too_large(system, model, workload, taken))


def _too_large(system: System, model: ModelShape, workload: Workload, taken: Footprint) -> str:
    parts = {"weights": taken.weights, "KV cache": taken.cache, "working memory": taken.working}
    listed = ", ".join(f"{name} {size / 2**30:.2f}" for name, size in parts.items() if size)
    return (
        f"{model.name} needs {taken.needed / 2**30:.2f} GiB ({listed}) for {workload.batch} x "
        f"{workload.longest:,} tokens; {system.name} has {taken.held / 2**30:.2f} GiB, "
        f"{taken.short / 2**30:.2f} too few; {system.remedy(model, workload)}"
    )


def costs(system: System, model: ModelShape, workload: Workload) -> tuple[Cost | None, Cost]:
    """Return what the prompts cost, where that is modelled, and what all decode steps do."""
    steps = system.steps(model, workload.batch, workload.prefill, workload.decode)
    return system.read(model, workload), steps


def _why(
    system: System, model: ModelShape, workload: Workload, prefill: Cost | None, steps: Cost
) -> dict[str, dict[str, float]]:
    """Return how much shorter everything gets when one resource is faster."""
    found = {}
    for resource in system.resources:
        first, then = costs(system.faster(resource, FASTER), model, workload)
        gains = {}
        if prefill is not None and first is not None:
            gains["ttft"] = 1 - first.seconds / prefill.seconds
        if workload.decode:
            gains["tpot"] = 1 - then.seconds / steps.seconds
        found[resource] = gains
    return found


def _assumed(system: System) -> tuple[str, ...]:
    return tuple(sentence for one in system.techniques for sentence in one.assumptions())


def _result(
    system: System, model: ModelShape, workload: Workload, prefill: Cost | None, steps: Cost
) -> Result:
    taken = system.footprint(model, workload)
    whole = steps if prefill is None else prefill + steps
    count = workload.decode
    main = steps if count else whole
    tokens = workload.batch * count
    tpot = steps.seconds / count if count else None
    per_step = 1e3 / count if count else 0.0
    joules = system.joules(whole)
    published = system.published_at(model.name, workload.prefill) if workload.batch == 1 else None
    per_token = tokens or workload.batch * workload.prefill
    streaming = main.streaming.get("seconds", 0.0)
    return Result(
        system=system.name,
        model=model.name,
        label=system.label,
        context=workload.prefill,
        batch=workload.batch,
        decode=count,
        ttft_ms=None if prefill is None else prefill.seconds * 1e3,
        tpot_ms=tpot and tpot * 1e3,
        decode_tokens_per_s=tpot and workload.batch / tpot,
        e2e_tokens_per_s=tokens / whole.seconds if prefill is not None and tokens else None,
        joules_per_token=None if joules is None else joules / per_token,
        usd_per_mtoken=usd_per_mtoken(system, whole.seconds, joules, per_token),
        peak_memory_gb=taken.needed / 1e9,
        memory_gb={
            "weights": taken.weights / 1e9,
            "cache": taken.cache / 1e9,
            "working": taken.working / 1e9,
            "held": taken.held / 1e9,
        },
        bytes_per_token=main.moved.get("memory", 0.0) / per_token,
        bytes_by_level={level: moved / per_token for level, moved in main.moved.items()},
        bandwidth_used=main.moved.get("memory", 0.0) / main.seconds / system.bytes_per_s,
        bandwidth_streaming=(
            main.streaming["bytes"] / streaming / system.bytes_per_s if streaming else 0.0
        ),
        cycles_per_token=round(steps.work.get("cycles", 0) / count) if count else 0,
        bottleneck="",
        breakdown={name: value * per_step for name, value in steps.parts.items() if count},
        ttft_breakdown={name: value * 1e3 for name, value in (prefill or Cost()).parts.items()},
        operators={name: value * per_step for name, value in steps.operators.items() if count},
        units={name: value * per_step for name, value in steps.busy.items() if count},
        spread=system.spread(),
        published_tokens_per_s=published.tokens_per_s if published else None,
        published_source=published.source if published else "",
        techniques=tuple(described(one) for one in system.techniques),
        quality=tuple(one.quality() for one in system.techniques),
        tokens_per_pass=system.emission.tokens,
        assumptions=(*system.assumptions, *_assumed(system)),
    )
