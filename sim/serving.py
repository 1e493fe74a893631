"""Serving: requests that come and go on one system, by a policy."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import simpy

from golden.model_shapes import ModelShape
from golden.spec.errors import ConfigError
from sim import simulate
from sim.requests import Request
from sim.serving_machine import BatchMachine, ContinuousMachine, Job, Log, Machine
from sim.serving_policies import Continuous, Disaggregated, Policy, Prepacking
from sim.serving_times import Times
from sim.system import Footprint, System
from sim.workload import Workload

MOST_SEQUENCES = 256
"""At a time, where the system takes so many and no policy says otherwise: vLLM's default."""


@dataclass(frozen=True)
class Served:
    """What came of serving.

    Attributes:
        jobs: in the order of arrival. log: of the machine that decodes.
        readers: what the machines that only read prompts did, where there are such.
        taken: bytes of weights and working memory, and what the system's memory has.
    """

    jobs: list[Job]
    log: Log
    readers: Log | None
    taken: Footprint
    sequences: int
    events: int


def serve(
    system: System,
    model: ModelShape,
    requests: Sequence[Request],
    policy: Policy,
    every_step: bool = False,
) -> Served:
    """Serve requests, which are sorted by arrival.

    Args:
        every_step: whether each pass is an event of its own. Else the decode passes between two
            changes of the batch are one event; a test shows that both give the same.

    Raises:
        ConfigError: the system cannot do it, or its memory does not hold one of the requests.
    """
    sequences = _sequences(system, policy)
    taken = _fits(system, model, requests)
    times = Times(system, model)
    room = taken.held - taken.weights - taken.working
    env = simpy.Environment()
    machine = _machine(env, times, room, sequences, policy, every_step)
    jobs = [Job(request) for request in requests]
    readers = Log() if isinstance(policy, Disaggregated) else None
    if isinstance(policy, Disaggregated):
        link = _link(system, policy)
        send = _reading(env, times, policy.readers, link, machine, readers or Log())
    else:
        send = machine.give

    def arrivals() -> Generator[simpy.Event, Any, None]:
        for job in jobs:
            yield env.timeout(max(job.request.arrival - env.now, 0.0))
            send(job)

    env.process(arrivals())
    env.process(machine.run())
    events = 0
    while env.peek() != float("inf"):
        env.step()
        events += 1
    return Served(jobs, machine.log, readers, taken, sequences, events)


def _machine(
    env: simpy.Environment,
    times: Times,
    room: float,
    sequences: int,
    policy: Policy,
    every_step: bool,
) -> Machine:
    given = (env, times, room, sequences, every_step)
    if isinstance(policy, Continuous | Disaggregated):
        chunk = policy.chunk if isinstance(policy, Continuous) else sequences
        return ContinuousMachine(*given, chunk=chunk)
    return BatchMachine(*given, packed=isinstance(policy, Prepacking))


def _reading(
    env: simpy.Environment, times: Times, readers: int, link: float, machine: Machine, log: Log
) -> Any:
    """Return what to do with a request that arrives: read it, send its cache, then decode.

    Args:
        link: bytes per second; caches are sent one after the other.
    """
    reader, wire = simpy.Resource(env, readers), simpy.Resource(env, 1)

    def way(job: Job) -> Generator[simpy.Event, Any, None]:
        length = job.request.prefill
        with reader.request() as mine:
            yield mine
            job.begin = env.now
            seconds = times.read(1, length)
            yield env.timeout(seconds)
        log.busy += seconds
        log.reads[1, length] = log.reads.get((1, length), 0) + 1
        job.done, job.first = length, env.now
        with wire.request() as mine:
            yield mine
            yield env.timeout(times.size(length) / link)
        machine.give(job)

    return lambda job: env.process(way(job))


def _link(system: System, policy: Disaggregated) -> float:
    if policy.link is not None:
        return policy.link * 1e9
    if system.link_bytes_per_s is None:
        raise ConfigError(
            f"disaggregated: no link of {system.name} is known; give link=, in 1e9 bytes per second"
        )
    return system.link_bytes_per_s


def _sequences(system: System, policy: Policy) -> int:
    """Return the most sequences at a time: the policy's, or what the system takes."""
    if policy.sequences is not None:
        system.check(Workload(batch=policy.sequences, prefill=1, decode=1))
        found = policy.sequences
    else:
        found = MOST_SEQUENCES
        try:
            system.check(Workload(batch=found, prefill=1, decode=1))
        except ConfigError:
            found = 1
    if isinstance(policy, Continuous) and policy.chunk <= found and found > 1:
        raise ConfigError(
            f"continuous: chunk is {policy.chunk}; more than the {found} sequences that decode are "
            "needed, or no prompt is read while they do"
        )
    return found


def _fits(system: System, model: ModelShape, requests: Sequence[Request]) -> Footprint:
    """Return what is held beside the caches.

    Raises:
        ConfigError: the system cannot do one of the requests alone.
    """
    longest = max(requests, key=lambda one: one.prefill + one.decode)
    widest = max(one.prefill for one in requests)
    alone = Workload(prefill=longest.prefill, decode=longest.decode)
    simulate.check(system, model, alone)
    working = Workload(prefill=widest, decode=1)
    if system.read(model, working) is None:
        raise ConfigError(f"{system.name} serves no requests: reading a prompt is not modelled")
    return system.footprint(model, working)
