"""Holds the simulator against published measurements."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sim.cases import Case, NotModelledError, prepare
from sim.gpu_constants import (
    CommonConstants,
    Constants,
    DeviceConstants,
    HostConstants,
    OffloadConstants,
    SoftwareConstants,
    constants,
)
from sim.offload import OffloadSystem
from sim.predict import predict
from sim.published import METRICS, POINTS, Point, read_points
from sim.software import software_names


@dataclass(frozen=True)
class Compared:
    """A published point beside the simulator.

    Attributes:
        kind: its class, source and metric.
        predicted, roofline: by the simulator, and by data sheets alone; None if not modelled.
        fitted: whether constants were fitted on it.
        reason: why it is not modelled, or what had to be assumed.
    """

    point: Point
    predicted: float | None
    roofline: float | None
    fitted: bool
    reason: str = ""

    @property
    def kind(self) -> str:
        """The class that its error is counted in."""
        return self.point.kind

    @property
    def error(self) -> float | None:
        """Predicted over published, less 1; None if not modelled."""
        return None if self.predicted is None else self.predicted / self.point.value - 1

    @property
    def roofline_error(self) -> float | None:
        """The same of the data sheets alone."""
        return None if self.roofline is None else self.roofline / self.point.value - 1


@dataclass(frozen=True)
class ClassErrors:
    """Medians of the absolute errors of a class; None where there are no such points.

    Attributes:
        points, modelled: how many there are.
        fresh: points that no constant was fitted on; held_out: the median of those.
        fitted: the median of the others; all_of_them: of both; roofline: of both, by data sheets
            alone.
    """

    points: int
    modelled: int
    fresh: int
    held_out: float | None
    fitted: float | None
    all_of_them: float | None
    roofline: float | None


def compare(points: Sequence[Point]) -> list[Compared]:
    """Return every point beside the simulator."""
    return [_compare(point) for point in points]


def _compare(point: Point) -> Compared:
    fitted = not point.held_out and _packaged().get(point.id) == point.value
    try:
        case = prepare(point)
        return Compared(
            point,
            predict(case),
            predict(case.with_constants(ideal())) if case.has_constants else None,
            fitted and case.has_constants,
            _assumed(case),
        )
    except NotModelledError as reason:
        return Compared(point, None, None, False, str(reason))


@cache
def _packaged() -> dict[str, float]:
    """Return the values of the points that the constants were fitted on half of."""
    return {point.id: point.value for point in read_points(POINTS)}


def _assumed(case: Case) -> str:
    """Return what the source does not say and had to be assumed."""
    point, found = case.point, []
    if case.has_constants and point.hardware.lower() != case.hardware:
        found.append(f"the hardware is {case.hardware}")
    system = case.system
    on_host = isinstance(system, OffloadSystem) and system.cache_on == "host"
    if on_host and ", KV on gpu" in point.source:
        found.append("the cache lies on the host, as the GPU cannot hold it")
    if point.batch is None:
        found.append(f"a batch of {case.batch:.0f} fills the memory")
    if point.input_len is None:
        found.append(f"prompts of {case.prompt:.0f} tokens")
    if point.output_len is None and not point.metric.startswith(("ttft", "prefill")):
        found.append(f"outputs of {case.output:.0f} tokens")
    return "assumed: " + ", ".join(found) if found else ""


@cache
def ideal() -> Constants:
    """Return constants of a plain roofline: all peaks are reached, and launching takes no time."""
    device = DeviceConstants(stream=1, matmul=1, matmul8=1, idle=0, memory=1, compute=1)
    free = dict.fromkeys(
        ("kernel_us", "host_us", "step_us", "sequence_us", "request_us", "reduce_us"), 0.0
    )
    full = dict.fromkeys(
        ("read", "read_packed", "matmul", "matmul_packed", "attention_read", "attention_matmul"),
        1.0,
    )
    program = SoftwareConstants.model_validate({**free, **full, "unpack_ops": 0})
    chat = constants().common.chat_prompt
    common = CommonConstants(knee=64, fast_link=1, pcie_link=1, chat_prompt=chat)
    software = dict.fromkeys(software_names(), program)
    way = OffloadConstants(weights_link=1, cache_link=1, drive=1)
    return Constants(
        common=common,
        devices={"other": device},
        software=software,
        offload=dict.fromkeys(constants().offload, way),
        hosts={"other": HostConstants(attention_gb_per_s=1e5)},
    )


def by_class(compared: Iterable[Compared]) -> dict[str, ClassErrors]:
    """Return the errors of every class, by its name."""
    groups: dict[str, list[Compared]] = defaultdict(list)
    for one in compared:
        groups[one.kind].append(one)
    return {kind: errors(groups[kind]) for kind in sorted(groups)}


def errors(compared: Sequence[Compared]) -> ClassErrors:
    """Return the errors of some points."""
    modelled = [one for one in compared if one.predicted is not None]
    fresh = [one for one in modelled if not one.fitted]
    return ClassErrors(
        len(compared),
        len(modelled),
        len(fresh),
        _median(one.error for one in fresh),
        _median(one.error for one in modelled if one.fitted),
        _median(one.error for one in modelled),
        _median(one.roofline_error for one in modelled),
    )


def _median(values: Iterable[float | None]) -> float | None:
    found = [abs(value) for value in values if value is not None]
    return statistics.median(found) if found else None


def grade_a(compared: Iterable[Compared]) -> dict[str, ClassErrors]:
    """Return the errors of the sources of grade A, by metric of speed."""
    groups: dict[str, list[Compared]] = defaultdict(list)
    for one in compared:
        if one.point.grade_a and is_speed(one.point):
            groups[one.point.metric].append(one)
    return {metric: errors(groups[metric]) for metric in sorted(groups)}


def is_speed(point: Point) -> bool:
    """Whether a point is a time or a rate, not power, energy or a share."""
    return METRICS[point.metric] in ("ms", "tok/s")


def reasons(compared: Iterable[Compared]) -> Counter[str]:
    """Return why points are not modelled, and how many each."""
    return Counter(one.reason for one in compared if one.predicted is None)


def validate(path: Path | None = None) -> list[Compared]:
    """Compare the points of a file, or of the project.

    Raises:
        ConfigError: the file is not a table of points.
    """
    return compare(read_points(path or POINTS))
