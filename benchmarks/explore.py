"""How many points of a study a process simulates per second.

Run by `python -m benchmarks.explore`. Seconds are of processor time, so that other work on the
machine counts less. The points of a FlightLLM board are spread over the first 480 of its space's
grid; the others are workloads of 128 to 1,024 and 32 to 256 tokens.
"""

import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from sim.explore.point import Point, evaluate
from sim.explore.search import Grid
from sim.explore.space import Space, load_space, make_space

FLIGHTLLM = Path("examples/spaces/flightllm_u280.yaml")
POINTS, EVERY = 40, 12
LENGTHS = {"prefill": (128, 256, 512, 1024), "decode": (32, 64, 128, 256)}
SYSTEMS = {
    "gpu-a100-sxm-80gb": "opt-13b",
    "gpu-h100-sxm-80gb": "llama-2-7b",
    "instinfer-4csd": "opt-13b",
}


def workloads(system: str, model: str) -> tuple[Space, list[Point]]:
    """Return a space of lengths, and all its points."""
    parameters = {"system": system, "model": model}
    space = make_space(
        {
            "title": system,
            "parameters": parameters | {name: list(values) for name, values in LENGTHS.items()},
            "objectives": {"ttft_ms": "min"},
        },
        system,
    )
    points = [
        parameters | dict(zip(LENGTHS, lengths, strict=True))
        for lengths in product(*LENGTHS.values())
    ]
    return space, points


def boards() -> tuple[Space, list[Point]]:
    """Return FlightLLM's space, and points spread over the first batch of its grid."""
    space, _ = load_space(FLIGHTLLM)
    grid = Grid(space, seed=0)
    return space, grid.ask()[: POINTS * EVERY : EVERY]


def points_per_second(space: Space, points: Sequence[Point]) -> float:
    """Return how many points are simulated in a second of processor time.

    Raises:
        AssertionError: a point gives an error.
    """
    evaluate(space, points[0])  # reads the files
    begin = time.process_time()
    for point in points:
        assert evaluate(space, point).error is None
    return len(points) / (time.process_time() - begin)


def main() -> None:
    """Print the table of docs/explore.md."""
    print("| system, model | points/s |\n|---|---|")
    for system, model in SYSTEMS.items():
        rate = points_per_second(*workloads(system, model))
        print(f"| `{system}`, `{model}` | {rate:.0f} |", flush=True)
    print(f"| `flightllm-u280`, `llama-2-7b` | {points_per_second(*boards()):.0f} |")


if __name__ == "__main__":
    main()
