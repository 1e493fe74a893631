"""Nandu's public face: the names that a script needs, as in `import nandu as nd`.

Each name is loaded when it is first used, so that `import nandu` costs nothing.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "golden.group_scale": ("fixed_point_scales",),
    "golden.language_model": ("LanguageModel", "load", "smollm2_file"),
    "golden.matrix_engine": ("Mode", "matrix_engine"),
    "golden.output_scale": ("OutputScale", "choose_output_scale"),
    "golden.quantise": ("Quantised", "quantise_groups", "quantise_tokens"),
    "golden.sparse_matrix": ("SparseMatrix", "dense_matrix", "prune"),
    "golden.sparsity": (
        "choose_keep",
        "importance",
        "keep_mask",
        "parse_sparsity",
        "uniform_keep",
    ),
    "golden.spec.errors": ("NanduError",),
    "golden.spec.matrix_engine": ("MatrixEngineConfig",),
    "golden.spec.sparse_chain": ("SparseChainConfig",),
    "hw.emit": ("Design", "emit"),
    "hw.engine_cases": ("random_cases",),
    "hw.matrix_engine": ("MatrixEngine",),
    "hw.sparse_chain": ("SparseChain",),
    "hw.verify_engine": ("Case", "CaseResult", "run_cases"),
    "sim.catalogue": ("load_system", "system_names"),
    "sim.memory_formats": ("WeightFormat",),
    "sim.result": ("Result",),
    "sim.simulate": ("simulate",),
    "sim.workload": ("Workload",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Load a public name from its room."""
    if name not in _HOME:
        raise AttributeError(f"nandu has no name {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
