"""Fits the constants of `sim/data/fitted.yaml` on published measurements: `python -m sim.fit`.

Two steps, both by coordinate descent, so that the same data give the same constants:

1. kernels alone (`sim/data/gemm_points.csv`): the knee, and the shares of four GPUs;
2. everything else on the half of the published points that is not held out.

What is minimised is the mean of e / (1 + 2 e) with e = |ln(simulated / published)|, each class of
points weighing the root of its size, and a small pull to where the search began, so that a constant
that no point tells of stays there.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sim import gemm_points
from sim.cases import Case, NotModelledError, prepare
from sim.gpu_constants import FITTED, Constants
from sim.offload import OffloadSystem
from sim.predict import predict
from sim.published import Point, read_points
from sim.software import load_software, software_names

SWEEPS = 10
SHARE_PULL, PULL = 0.1, 0.02
"""Error of one point that weighs as much as a constant's squared logarithmic way from its start.

So few points move a constant only if they agree, and many are not held back. The first is for
shares, which are known to lie near 1; the second for times and counts, which differ by decades.
"""

DEVICE_START = {
    **{"stream": 0.85, "matmul": 0.72, "matmul8": 0.6},
    **{"idle": 0.2, "memory": 0.45, "compute": 0.35},
}
COMMON_START = {"knee": 2.0, "fast_link": 0.7, "pcie_link": 0.5, "chat_prompt": 200.0}
SOFTWARE_START = {
    **{"kernel_us": 3.0, "host_us": 5.0, "step_us": 300.0, "sequence_us": 5.0},
    **{"request_us": 2000.0, "reduce_us": 15.0, "read": 1.0, "read_packed": 0.8},
    **{
        "unpack_ops": 4.0,
        "matmul_packed": 0.7,
        "attention_read": 0.7,
        "attention_matmul": 0.5,
        "matmul": 1.0,
    },
}
OFFLOAD_START = {
    **{"weights_link": 0.6, "cache_link": 0.5, "drive": 0.7},
}
HOST_START = {"attention_gb_per_s": 10.0}
SHARES = {"stream", "matmul", "matmul8", "fast_link", "pcie_link", "read", "read_packed"} | {
    *("matmul_packed", "attention_read", "attention_matmul", "idle", "memory", "compute"),
    *("weights_link", "cache_link", "drive"),
}
POWER = ("idle", "memory", "compute")
"""Shares of the power limit are common to all GPUs: few of them were measured."""

BY_KERNELS = ("stream", "matmul")
"""Shares that timings of single kernels give, where there are any."""

MOST = 0.95
"""Of a data sheet's peaks: refreshes take some of a memory's time, and clocks fall under load."""

FEW = 5
"""Points of a GPU from which its own errors are counted."""

OFFLOADING = ("flexgen", "zero-inference", "hf-layers")
"""Programs that were measured fetching weights or cache."""

OWNED = ("devices", "software", "offload", "hosts")
KINDS = ("common", *OWNED)

Tree = dict[str, Any]


@dataclass
class Constant:
    """One number of the tree, how many points tell of it, and how to set it."""

    path: tuple[str, ...]
    start: float
    points: int = 1
    twins: tuple[tuple[str, ...], ...] = ()

    def get(self, tree: Tree) -> float:
        """Return its value."""
        node: Any = tree
        for key in self.path:
            node = node[key]
        return float(node)

    def set(self, tree: Tree, value: float) -> None:
        """Set it, and those that are always the same."""
        for path in (self.path, *self.twins):
            node = tree
            for key in path[:-1]:
                node = node[key]
            node[path[-1]] = value

    def allowed(self, value: float) -> float:
        """Return the nearest value that it may have."""
        if self.path[-1] not in SHARES:
            return max(value, 0.0)
        return min(max(value, 0.02), MOST if self.path[0] == "devices" else 1.0)

    def pull(self, value: float) -> float:
        """Return the penalty for being away from the start, as a part of a mean error."""
        distance = math.log((value + 1e-3) / (self.start + 1e-3))
        weight = SHARE_PULL if self.path[-1] in SHARES else PULL
        return weight * distance**2 / max(self.points, 1)


def start(cases: Sequence[Case]) -> Tree:
    """Return the constants where the search begins."""
    devices = {case.gpu.device.name for case in cases}
    devices |= {gemm.device.name for gemm in gemm_points.read_gemms()}
    hosts = {name for case in cases if (name := attending_host(case))}
    return {
        "common": dict(COMMON_START),
        "devices": {name: dict(DEVICE_START) for name in sorted(devices | {"other"})},
        "software": {name: _software_start(name) for name in software_names()},
        "offload": {name: dict(OFFLOAD_START) for name in OFFLOADING},
        "hosts": {name: dict(HOST_START) for name in sorted(hosts | {"other"})},
    }


def _software_start(name: str) -> Tree:
    """Return where the search begins for a program; a graph's kernels need no host."""
    eager = load_software(name).launch == "eager"
    return SOFTWARE_START | ({} if eager else {"host_us": 0.0})


def mean_error(errors: Iterable[tuple[float, float]]) -> float:
    """Return the weighted mean of errors, each e = |ln(simulated / published)| and its weight."""
    weighted, weights = 0.0, 0.0
    for weight, error in errors:
        weighted += weight * error / (1 + 2 * error)
        weights += weight
    return weighted / weights if weights else 0.0


def descend(
    tree: Tree, constants: Sequence[Constant], loss: Callable[[Constant, Tree], float], sweeps: int
) -> None:
    """Set each constant in turn to the best of values around it, ever closer ones."""
    for sweep in range(sweeps):
        reach = 0.6 * 0.7**sweep + 0.02
        moved = 0
        for constant in constants:
            here = constant.get(tree)
            best, value = loss(constant, tree) + constant.pull(here), here
            for factor in (-2, -1, -0.5, -0.2, 0.2, 0.5, 1, 2):
                there = constant.allowed((here or 0.5) * math.exp(factor * reach))
                constant.set(tree, there)
                found = loss(constant, tree) + constant.pull(there)
                if found < best - 1e-9:
                    best, value = found, there
            constant.set(tree, value)
            moved += value != here
        print(f"sweep {sweep}: {moved} of {len(constants)} constants moved", file=sys.stderr)


def fit_kernels(tree: Tree) -> None:
    """Fit the knee, and stream and matmul of the GPUs whose kernels were timed."""
    timed = gemm_points.read_gemms()
    tree["gemm_us"] = 4.0
    names = sorted({gemm.device.name for gemm in timed})
    count = len(timed)
    constants = [Constant(("common", "knee"), 2.0, count), Constant(("gemm_us",), 4.0, count)]
    constants += [
        Constant(("devices", name, share), DEVICE_START[share], count // len(names))
        for name in names
        for share in ("stream", "matmul")
    ]

    def loss(constant: Constant, tree: Tree) -> float:
        now = as_constants(tree)
        chosen = [
            gemm
            for gemm in timed
            if constant.path[0] != "devices" or gemm.device.name == constant.path[1]
        ]
        return mean_error(
            (1.0, abs(math.log(gemm.simulated(now, tree["gemm_us"]) / gemm.seconds)))
            for gemm in chosen
        )

    descend(tree, constants, loss, SWEEPS)


def as_constants(tree: Tree) -> Constants:
    """Return the tree as the simulator takes it."""
    return Constants(**{name: tree[name] for name in KINDS})


def error(case: Case, constants: Constants) -> float:
    """Return |ln(simulated / published)|."""
    return abs(math.log(predict(case.with_constants(constants)) / case.point.value))


def usable(points: Sequence[Point]) -> list[Case]:
    """Return the points on GPUs that the simulator models."""
    cases = []
    for point in points:
        try:
            case = prepare(point)
            predict(case)
            if case.has_constants:
                cases.append(case)
        except NotModelledError:
            continue
    return cases


def fit_points(tree: Tree, cases: Sequence[Case], sweeps: int = SWEEPS) -> None:
    """Fit all constants but the knee on published points."""
    sizes: dict[str, int] = defaultdict(int)
    for case in cases:
        sizes[case.point.kind] += 1
    weights = [sizes[case.point.kind] ** -0.5 for case in cases]
    chosen: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, case in enumerate(cases):
        chosen["devices", case.gpu.device.name].append(place)
        chosen["software", case.gpu.software.name].append(place)
        if case.gpu.devices > 1:
            fast = case.gpu.device.link_gb_per_s
            chosen["common", "fast_link" if fast else "pcie_link"].append(place)
        if isinstance(case.system, OffloadSystem):
            chosen["offload", case.gpu.software.name].append(place)
        if host := attending_host(case):
            chosen["hosts", host].append(place)
        if case.chat:
            chosen["common", "chat_prompt"].append(place)
        if is_power(case.point):
            chosen["power", ""].append(place)

    def places(constant: Constant) -> list[int]:
        kind, name = constant.path[:2]
        if constant.path[-1] in POWER:
            return chosen["power", ""]
        return chosen[kind, name]

    def loss(constant: Constant, tree: Tree) -> float:
        now = as_constants(tree)
        return mean_error((weights[n], error(cases[n], now)) for n in places(constant))

    timed = {gemm.device.name for gemm in gemm_points.read_gemms()}
    constants = [
        one
        for one in _all_constants(tree)
        if places(one)
        and not (one.path[0] == "devices" and one.path[1] in timed and one.path[2] in BY_KERNELS)
    ]
    for one in constants:
        one.points = len(places(one))
    descend(tree, constants, loss, sweeps)
    for kind in OWNED:
        for name, values in tree[kind].items():
            values["points"] = len(chosen[kind, name])


def _all_constants(tree: Tree) -> list[Constant]:
    found = [
        Constant(("common", name), value)
        for name, value in tree["common"].items()
        if name != "knee"
    ]
    first = next(iter(tree["devices"]))
    for name in POWER:
        twins = tuple(("devices", other, name) for other in tree["devices"])
        found.append(Constant(("devices", first, name), DEVICE_START[name], twins=twins))
    for kind in OWNED:
        for owner, values in tree[kind].items():
            found += [
                Constant((kind, owner, name), value)
                for name, value in values.items()
                if name not in (*POWER, "points") and (name != "host_us" or value)
            ]
    return found


def others(tree: Tree, cases: Sequence[Case]) -> None:
    """Set what is taken of a GPU that nobody measured, and how far times lie from estimates.

    The shares are the medians of those GPUs that many points tell of. Their spread is what comes
    out when the medians are used for every GPU; a GPU's own is that of its points that were held
    out.
    """
    known = [own for own in tree["devices"].values() if own.get("points", 0) >= FEW]
    other = tree["devices"]["other"]
    for name in DEVICE_START:
        other[name] = statistics.median(own[name] for own in known)
    hosts = tree["hosts"]
    measured = [own["attention_gb_per_s"] for own in hosts.values() if own.get("points")]
    if measured:
        hosts["other"]["attention_gb_per_s"] = statistics.median(measured)
    fresh = [case for case in cases if case.point.held_out and not is_power(case.point)]
    now = as_constants(tree)
    unknown = now.model_copy(update={"devices": {"other": now.devices["other"]}})
    other["spread"] = _most(error(case, unknown) for case in fresh)
    for name, own in tree["devices"].items():
        found = [error(case, now) for case in fresh if case.gpu.device.name == name]
        if name != "other":
            own["spread"] = _most(found) if len(found) >= FEW else other["spread"]


def _most(errors: Iterable[float]) -> float:
    """Return the share within which four of five lie, up or down."""
    found = sorted(errors)
    return math.exp(found[math.ceil(0.8 * len(found)) - 1]) - 1


def attending_host(case: Case) -> str | None:
    """Return the host that did the attention of decode steps; None if none did."""
    system = case.system
    if not isinstance(system, OffloadSystem):
        return None
    there = system.cache_on == "host" and system.software.attends_on_host
    return system.host.name if there else None


def is_power(point: Point) -> bool:
    """Whether a point is of power or energy."""
    return point.metric.startswith(("power", "energy"))


HEADER = """\
# Constants of the GPU model, made by `python -m sim.fit`; sim/gpu_constants.py says what each is.
# Fitted on single kernels (knee; stream and matmul of the GPUs in gemm_points.csv) and on the half
# of published_points.csv whose ids' SHA-256 ends in a 0 bit. `points` counts those that a GPU's or
# a program's constants were fitted on; a constant that none of them tells of stays at its start.
"""


def written(tree: Tree) -> str:
    """Return the constants as the file that the simulator reads."""
    kept = {name: _rounded(tree[name]) for name in KINDS}
    return HEADER + yaml.safe_dump(kept, sort_keys=True, width=100)


def _rounded(node: Any) -> Any:
    if isinstance(node, dict):
        return {name: _rounded(value) for name, value in node.items()}
    return node if isinstance(node, int) else float(f"{node:.4g}")


def fit(sweeps: int = SWEEPS) -> Tree:
    """Return the constants that the project's data give."""
    cases = usable(read_points())
    tree = start(cases)
    fit_kernels(tree)
    fit_points(tree, [case for case in cases if not case.point.held_out], sweeps)
    others(tree, cases)
    return tree


def main() -> None:
    """Fit, and write the constants."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FITTED, help="the file to write")
    parser.add_argument("--sweeps", type=int, default=SWEEPS, help="over all constants")
    arguments = parser.parse_args()
    arguments.out.write_text(written(fit(arguments.sweeps)), encoding="utf-8")


if __name__ == "__main__":
    main()
