"""C simulation of a kernel: its bench, built once per content, on test vectors."""

import hashlib
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from golden.spec.errors import ToolError
from golden.spec.files import cached
from hls_gen.hls.kernel import Kernel
from hls_gen.hls.vectors import Vectors, encode
from hw.cosim import compiler

FLAGS = ("-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas")

_RESULT = re.compile(r"(\d+) of (\d+) equal golden: (.*)")


@dataclass(frozen=True)
class CaseResult:
    """What the bench found in one case.

    A C simulation runs the functions one after the other, so there are no cycles.
    """

    name: str
    compared: int
    mismatches: int

    @property
    def passed(self) -> bool:
        """True when all is golden's, and there was something to compare."""
        return self.compared > 0 and self.mismatches == 0


def build(kernel: Kernel) -> Path:
    """Return the executable of a kernel's bench, from the cache where it has been built before.

    Raises:
        ToolError: there is no compiler, or it refuses the kernel.
    """
    recipe = (sorted(kernel.files.items()), FLAGS, _compiler_version())
    digest = hashlib.sha256(repr(recipe).encode()).hexdigest()[:16]
    folder = cached(f"hls/{kernel.top}-{digest}", lambda aside: _build(kernel, aside))
    return folder / kernel.top


def simulate(kernel: Kernel, cases: Sequence[Vectors]) -> list[CaseResult]:
    """Run a kernel on some cases.

    Raises:
        ToolError: there is no compiler, or the simulation broke off.
    """
    program = build(kernel)
    with tempfile.TemporaryDirectory(prefix="nandu-") as folder:
        vectors = Path(folder, "vectors.bin")
        vectors.write_bytes(encode(kernel, cases))
        ended = subprocess.run(
            [str(program), str(vectors)], capture_output=True, text=True, check=False
        )
    found = [_RESULT.fullmatch(line) for line in ended.stdout.splitlines()]
    results = [
        CaseResult(match[3], int(match[2]), int(match[2]) - int(match[1]))
        for match in found
        if match
    ]
    if ended.returncode not in (0, 1) or len(results) != len(cases):
        last = (ended.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ToolError(f"the C simulation of {kernel.top} broke off: {last}")
    return results


def _build(kernel: Kernel, folder: Path) -> None:
    for name, text in kernel.files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    command = [compiler(), *FLAGS, "-Istand_in", f"{kernel.top}.cpp", f"{kernel.top}_bench.cpp"]
    ended = subprocess.run(
        [*command, "-o", kernel.top], cwd=folder, capture_output=True, text=True, check=False
    )
    if ended.returncode != 0:
        lines = ended.stderr.splitlines()
        first = next((line for line in lines if "error" in line), lines[-1] if lines else "")
        raise ToolError(f"the C++ compiler refuses the kernel {kernel.top}: {first}")


@cache
def _compiler_version() -> str:
    ended = subprocess.run([compiler(), "--version"], capture_output=True, text=True, check=False)
    return ended.stdout.splitlines()[0]
