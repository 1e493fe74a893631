"""Serves as many requests as a machine takes, and compares with published throughputs.

Run by `python -m benchmarks.serving`. The points are those of `sim/data/published_points.csv` whose
engine batched by itself under full load and whose lengths are known. All requests are there at
once, three times as many as fit; `nandu validate` estimates the same points from one mean pass.
"""

import statistics
from dataclasses import dataclass

from sim.cases import Case, NotModelledError, prepare
from sim.gpu import GpuSystem
from sim.published import Point, read_points
from sim.requests import Request
from sim.serving_policies import Continuous
from sim.serving_result import simulate_serving

CHUNK = 8192
"""Tokens of a pass: vLLM's chunk (`sim/software/vllm.yaml`), for all programs."""

FEWEST = 32


@dataclass(frozen=True)
class Row:
    """A point, what serving gives in tokens per second, and the mean sequences of a pass."""

    point: Point
    tokens_per_s: float
    batch: float

    @property
    def error(self) -> float:
        """The error, as a share of what was published."""
        return self.tokens_per_s / self.point.value - 1


def cases() -> list[Case]:
    """Return the published points that can be served."""
    found = []
    for point in read_points():
        under_load = point.metric == "serving_out_tps" and point.batch is None
        if under_load and point.input_len and point.output_len:
            try:
                found.append(prepare(point))
            except NotModelledError:
                continue
    return found


def serve(case: Case) -> Row:
    """Serve three times as many requests as fit."""
    one = Request(0.0, round(case.prompt), round(case.output))
    requests = [one] * max(3 * int(case.batch), FEWEST)
    assert isinstance(case.system, GpuSystem)
    most = case.system.software.most_sequences
    policy = Continuous(sequences=most, chunk=max(CHUNK, most + 1))
    result = simulate_serving(case.system, case.model, requests, policy)
    return Row(case.point, result.e2e_tokens_per_s, result.mean_batch)


def main() -> None:
    """Print every point and the median errors."""
    rows = [serve(case) for case in cases()]
    for row in rows:
        point = row.point
        print(
            f"{point.id:12}{point.devices} x {point.hardware:24}{point.model:16}"
            f"{point.input_len:6.0f}{point.output_len:6.0f}{point.value:10.1f}"
            f"{row.tokens_per_s:10.1f}{row.error:8.1%}{row.batch:8.0f}"
        )
    for name, some in (
        ("all", rows),
        ("held out", [row for row in rows if row.point.held_out]),
        ("1 device", [row for row in rows if row.point.devices == 1]),
    ):
        errors = [abs(row.error) for row in some]
        print(f"{name}: median error {statistics.median(errors):.1%} of {len(errors)} points")


if __name__ == "__main__":
    main()
