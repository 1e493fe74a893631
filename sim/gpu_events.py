"""A host that launches kernels and a device that runs them, one after the other."""

from collections.abc import Generator, Sequence
from typing import Any

import simpy

from sim.gpu_kernels import Kernel
from sim.system import Span


def finish(layer: Sequence[Kernel], layers: int, tail: Sequence[Kernel], host_s: float) -> float:
    """Return when the last kernel ends, `layer` being run `layers` times and then `tail`.

    Kernel i begins when kernel i - 1 has ended and the host has launched it. So the end is the
    largest of "launched, then all kernels from here on" over all kernels; from layer to layer
    this changes by the same amount, so the first and the last layer hold the largest.
    """
    one_layer = sum(kernel.seconds for kernel in layer)
    after = sum(kernel.seconds for kernel in tail)
    if host_s == 0:
        return layers * one_layer + after
    launches = sum(kernel.launches for kernel in layer)
    latest = 0.0
    for first in {0, layers - 1}:
        launched, left = first * launches * host_s, (layers - first) * one_layer + after
        latest = max(latest, _latest(layer, launched, left, host_s))
    return max(latest, _latest(tail, layers * launches * host_s, after, host_s))


def _latest(kernels: Sequence[Kernel], launched: float, left: float, host_s: float) -> float:
    """Return the largest of "launched, then all that is left" over some kernels."""
    found = 0.0
    for kernel in kernels:
        # A kernel that stands for several begins when the last of them is launched.
        launched += kernel.launches * host_s
        found = max(found, launched + left)
        left -= kernel.seconds
    return found


def run(kernels: Sequence[Kernel], host_s: float, overhead_s: float) -> list[Span]:
    """Run kernels in SimPy; return what the host and every unit of the device did and when."""
    env = simpy.Environment()
    launched = simpy.Store(env)
    spans: list[Span] = []

    def host() -> Generator[Any, Any, None]:
        for kernel in kernels:
            if host_s:
                begin = env.now
                yield env.timeout(kernel.launches * host_s)
                spans.append(Span("host", kernel.name, kernel.part, begin, env.now - begin))
            launched.put(kernel)

    def device() -> Generator[Any, Any, None]:
        for _ in kernels:
            kernel = yield launched.get()
            begin = env.now
            yield env.timeout(kernel.seconds)
            spans.append(Span("device", kernel.name, kernel.part, begin, kernel.seconds))
            spans.extend(_busy(kernel, begin))
        if overhead_s:
            spans.append(Span("host", "sampling", "", env.now, overhead_s))

    env.process(host())
    env.process(device())
    env.run()
    return spans


def _busy(kernel: Kernel, begin: float) -> list[Span]:
    """Return for how long each unit works in a kernel."""
    units = (("memory", kernel.memory), ("compute", kernel.compute), ("link", kernel.link))
    return [Span(unit, kernel.name, kernel.part, begin, busy) for unit, busy in units if busy]
