"""Spaces for the tests of design-space exploration."""

from sim.explore.space import make_space
from sim.explore.study import Study

GPU = {
    "parameters": {
        "system": "gpu-a100-sxm-80gb",
        "model": "opt-125m",
        "prefill": [32, 64, 128],
        "decode": [0, 8],
        "batch": [1, 4],
    },
    "objectives": {"ttft_ms": "min", "peak_memory_gb": "min"},
}
"""Twelve points of few milliseconds each."""

FPGA = {
    "parameters": {
        "system": "flightllm-u280",
        "model": "opt-125m",
        "decode": 8,
        "prefill": 16,
        "cores": [1, 2, 3],
        "clock_mhz": {"from": 150, "to": 250, "step": 50},
        "vector.chains": [16, 64],
    },
}


def space(fields=GPU, **others):
    """Return a space with some fields changed; `parameters` are added to those there."""
    parameters = fields["parameters"] | others.pop("parameters", {})
    return make_space(fields | others | {"parameters": parameters}, "made.yaml")


def rows(path):
    """Return all that a study has of its points."""
    with Study.read(path) as study:
        return list(study.points())
