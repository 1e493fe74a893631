"""Runs Yosys commands in a process of their own: its log and its fatal errors stay out of ours."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from golden.spec.errors import ToolError

_RUN = """
import sys
from pyosys import libyosys
design = libyosys.Design()
for command in sys.argv[1:]:
    libyosys.run_pass(command, design)
"""


def run_flat(
    verilog: str, top: str, *commands: str, folder: Path, apart: Sequence[str] = ()
) -> str:
    """Run the commands on module `top` of `verilog`, flattened, in `folder`; return the log.

    Args:
        apart: modules that stay modules.

    Raises:
        ToolError: a command failed; the message holds Yosys' last lines.
    """
    (folder / "design.v").write_text(verilog, encoding="utf-8")
    begin = ["read_verilog design.v", f"hierarchy -top {top}", "proc"]
    begin += [f"setattr -mod -set keep_hierarchy 1 {module}" for module in apart]
    return run(*begin, "flatten", *commands, folder=folder)


def run(*commands: str, folder: Path | None = None) -> str:
    """Run the commands on one design, in `folder`, and return the log.

    Raises:
        ToolError: a command failed; the message holds Yosys' last lines.
    """
    process = subprocess.run(
        [sys.executable, "-c", _RUN, *commands],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    log = process.stdout + process.stderr
    if process.returncode != 0:
        raise ToolError(
            f"Yosys failed; its last words: {' / '.join(log.strip().splitlines()[-3:])}"
        )
    return log
