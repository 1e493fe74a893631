"""Plays prepared streams into a design at the simulator's own speed, and records what happened.

A bench that enters Python in every cycle reaches about 10,000 cycles per second. Here sources,
sinks and the log of every handshake are Verilog around the design: payloads and pauses come from
files, outputs and the log go to files. cocotb only starts a case and waits for its end; the host
then looks at the whole log at once. So nothing that is measured depends on the design's own word.
"""

import json
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from golden.spec.errors import ToolError
from hw import cosim
from hw.emit import Design, Port

BENCH = "hw.benches.player"
TOP = "player"


@dataclass(frozen=True)
class Case:
    """One job.

    Attributes:
        inputs: by the stream's name, its payloads: uint8 [payloads, bytes], little-endian.
        outputs: by the stream's name, how many payloads are expected.
        pauses: by the stream's name, bool [cycles]: where a source offers nothing new, or a sink
            takes nothing; behind the end there are no pauses.
        levels: constant inputs that are no stream, by name.
        reset_after: cycles after which the case is broken off by a reset of one cycle, and begun
            again; 0 for never.
        max_idle_cycles: without any transfer, after which a design is stuck; pauses are far
            shorter.
    """

    inputs: Mapping[str, np.ndarray]
    outputs: Mapping[str, int]
    pauses: Mapping[str, np.ndarray] = field(default_factory=dict)
    levels: Mapping[str, int] = field(default_factory=dict)
    reset_after: int = 0
    max_idle_cycles: int = 2_000


@dataclass(frozen=True)
class Trace:
    """What happened in one case, from the first cycle behind the reset on.

    Attributes:
        valid, ready: by the stream's name, bool [cycles]. A stream without a ready is always ready.
        outputs: by the stream's name, the payloads that were taken: uint8 [payloads, bytes].
    """

    valid: Mapping[str, np.ndarray]
    ready: Mapping[str, np.ndarray]
    outputs: Mapping[str, np.ndarray]

    def transfers(self, stream: str) -> np.ndarray:
        """Return the cycles in which a payload passed, int64 [payloads]."""
        return np.flatnonzero(self.valid[stream] & self.ready[stream])


@dataclass(frozen=True)
class _Stream:
    name: str
    width: int
    is_input: bool
    has_ready: bool
    is_logged: bool

    @property
    def bytes(self) -> int:
        return -(-self.width // 8)


def play(
    design: Design,
    cases: Sequence[Case],
    *,
    logged: Collection[str] | None = None,
    prepare: Callable[[Path], None] = lambda _: None,
    collect: Callable[[Path], None] = lambda _: None,
    waves: Path | None = None,
    progress: cosim.Progress = lambda _: None,
) -> list[Trace]:
    """Run the cases one after the other, each after a reset; return what happened in each.

    Args:
        logged: inputs whose handshakes are logged, all by default. Those of outputs always are.
        prepare: writes what else the design reads into the simulation's working directory, such as
            the images of memories (`hw.memory_model`).
        collect: reads there what else the design left behind.
        waves: where to write a waveform (FST).

    Raises:
        ToolError: a tool is missing, or the simulation broke off.
    """
    streams = _streams(design, logged)
    levels = [port for port in design.ports if port.direction == "input" and _is_level(port)]
    simulator = cosim.build(_wrap(design, streams, levels), waves=waves is not None)
    with tempfile.TemporaryDirectory(prefix="nandu-") as name:
        folder = Path(name)
        _write_inputs(folder, streams, cases)
        (folder / "job.json").write_text(json.dumps(_job(streams, levels, cases)))
        prepare(folder)
        if not cosim.run(simulator, BENCH, folder, waves=waves, progress=progress):
            lines = (folder / "log").read_text(encoding="utf-8").strip().splitlines()
            why = [line for line in lines if "%Fatal" in line] or lines[-3:]
            raise ToolError(f"the simulation of {design.top} broke off: {' / '.join(why)}")
        collect(folder)
        return _read_traces(folder, streams, len(cases))


def random_pauses(
    random: np.random.Generator, streams: Mapping[str, int], share: float = 0.3
) -> dict[str, np.ndarray]:
    """Return pauses for each stream of so many payloads: runs of random lengths.

    Args:
        share: part of the cycles that are paused, about; from stream to stream it varies.
    """
    pauses = {}
    for name, payloads in streams.items():
        mine = share * random.uniform(0.2, 1.5)
        mean = random.uniform(1, 8)
        runs = 2 * (int(payloads / mean) + 2)
        lengths = random.geometric(1 / np.array([1 + mean * mine / (1 - mine), mean]), (runs, 2))
        pauses[name] = np.repeat(np.tile([True, False], runs), lengths.reshape(-1))
    return pauses


def count_mismatches(taken: np.ndarray, expected: np.ndarray) -> int:
    """Return how many payloads differ, are missing, or are too many."""
    common = min(len(taken), len(expected))
    wrong = int((taken[:common] != expected[:common]).any(axis=1).sum())
    return wrong + abs(len(taken) - len(expected))


def _streams(design: Design, logged: Collection[str] | None) -> list[_Stream]:
    ports = {port.name: port for port in design.ports}
    names = [name.removesuffix("__payload") for name in ports if name.endswith("__payload")]
    return [
        _Stream(
            name,
            ports[f"{name}__payload"].width,
            ports[f"{name}__payload"].direction == "input",
            f"{name}__ready" in ports,
            logged is None or name in logged or ports[f"{name}__payload"].direction == "output",
        )
        for name in names
    ]


def _is_level(port: Port) -> bool:
    return port.name not in ("clk", "rst") and not port.name.endswith(
        ("__payload", "__valid", "__ready")
    )


def _job(
    streams: Sequence[_Stream], levels: Sequence[Port], cases: Sequence[Case]
) -> list[dict[str, object]]:
    """Return what the bench sets for each case: where its payloads and pauses begin, how many."""
    job, payloads, pauses = [], dict.fromkeys(_names(streams), 0), dict.fromkeys(_names(streams), 0)
    for case in cases:
        signals: dict[str, int] = {port.name: case.levels.get(port.name, 0) for port in levels}
        for stream in streams:
            name = stream.name
            count = len(case.inputs[name]) if stream.is_input else case.outputs[name]
            paused = len(case.pauses.get(name, ()))
            signals |= {f"{name}__count": count, f"{name}__begin": payloads[name]}
            signals |= {f"{name}__pause_begin": pauses[name], f"{name}__pause_count": paused}
            payloads[name] += count
            pauses[name] += paused
        job.append(
            {
                "signals": signals,
                "reset_after": case.reset_after,
                "max_idle_cycles": case.max_idle_cycles,
            }
        )
    return job


def _names(streams: Sequence[_Stream]) -> list[str]:
    return [stream.name for stream in streams]


def _write_inputs(folder: Path, streams: Sequence[_Stream], cases: Sequence[Case]) -> None:
    for stream in streams:
        if stream.is_input:
            with (folder / f"{stream.name}.in").open("wb") as file:
                for case in cases:
                    # $fread puts the first byte on top.
                    file.write(np.ascontiguousarray(case.inputs[stream.name][:, ::-1]).tobytes())
        with (folder / f"{stream.name}.pause").open("wb") as file:
            for case in cases:
                file.write(np.asarray(case.pauses.get(stream.name, ()), np.uint8).tobytes())


def _read_traces(folder: Path, streams: Sequence[_Stream], count: int) -> list[Trace]:
    streams = [stream for stream in streams if stream.is_logged]
    handshakes = read_hex(folder / "handshakes", 1 + 2 * len(streams))
    bits = np.unpackbits(handshakes, axis=1, bitorder="little").astype(bool)
    starts = np.flatnonzero(bits[:, 0])
    # The log of a case that was broken off begins again; only the last try counts.
    ends = [*starts[1:], len(bits)]
    tries = json.loads((folder / "tries.json").read_text())
    outputs = {
        s.name: read_hex(folder / f"{s.name}.out", s.width) for s in streams if not s.is_input
    }
    at = dict.fromkeys(outputs, 0)
    traces = []
    for start, end, counts in zip(starts, ends, tries, strict=True):
        valid = {s.name: bits[start:end, 1 + 2 * i] for i, s in enumerate(streams)}
        ready = {s.name: bits[start:end, 2 + 2 * i] for i, s in enumerate(streams)}
        taken = {}
        for name, payloads in outputs.items():
            number = int((valid[name] & ready[name]).sum())
            taken[name] = payloads[at[name] : at[name] + number]
            at[name] += number
        if counts:
            traces.append(Trace(valid, ready, taken))
    assert len(traces) == count
    return traces


def read_hex(path: Path, width: int) -> np.ndarray:
    """Return lines of hexadecimal digits as bytes, little-endian: uint8 [lines, bytes]."""
    digits = -(-width // 4)
    text = np.frombuffer(path.read_bytes(), np.uint8).reshape(-1, digits + 1)[:, :-1]
    values = np.where(text >= ord("a"), text - ord("a") + 10, text - ord("0")).astype(np.uint8)
    if digits % 2:
        values = np.concatenate([np.zeros((len(values), 1), np.uint8), values], axis=1)
    return (values[:, ::2] << 4 | values[:, 1::2])[:, ::-1]


def _wrap(design: Design, streams: Sequence[_Stream], levels: Sequence[Port]) -> Design:
    """Return the design with sources, sinks and the log around it."""
    controls = [Port(p.name, "input", p.width) for p in levels]
    for stream in streams:
        for what in ("count", "begin", "pause_begin", "pause_count"):
            controls.append(Port(f"{stream.name}__{what}", "input", 32))
    ports = [Port("clk", "input", 1), Port("rst", "input", 1), Port("load", "input", 1)]
    ports += [Port("run", "input", 1), Port("idle_cycles", "output", 32)]
    ports += [Port("complete", "output", 1), *controls]
    declared = ",\n".join(f"  {p.direction} {_range(p.width)}{p.name}" for p in ports)
    wires = [p.name for p in levels]
    connected = [f".{name}({name})" for name in ("clk", "rst", *wires)]
    body, moves, complete = [], [], []
    log: list[str] = []
    for s in streams:
        if s.has_ready or s.is_input:
            body.append(_PAUSE.format(n=s.name))
        body.append((_SOURCE if s.is_input else _SINK).format(n=s.name, w=s.width, b=s.bytes))
        if not s.is_input:
            taken = f"run & ~{s.name}__paused" if s.has_ready else "run"
            body.append(f"  assign {s.name}__ready = {taken};")
        elif not s.has_ready:
            body.append(f"  assign {s.name}__ready = 1;")
        pins = ("payload", "valid", "ready") if s.has_ready else ("payload", "valid")
        connected += [f".{s.name}__{pin}({s.name}__{pin})" for pin in pins]
        # An output too many must not keep a case going.
        moves.append(f"({s.name}__valid & {s.name}__ready & ({s.name}__left != 0))")
        complete.append(f"({s.name}__left == 0)")
        if s.is_logged:
            log = [f"{s.name}__ready", f"{s.name}__valid", *log]
    known = {p.name for p in design.ports}
    connected = [pin for pin in connected if pin[1:].split("(")[0] in known]
    text = _WRAPPER.format(
        ports=declared,
        body="\n".join(body),
        top=design.top,
        connected=",\n    ".join(connected),
        moves=" | ".join(moves),
        complete=" & ".join(complete),
        log=", ".join(log),
    )
    return replace(
        design,
        top=TOP,
        verilog=design.verilog + text,
        modules=(*design.modules, TOP),
        ports=tuple(ports),
    )


def _range(width: int) -> str:
    return f"[{width - 1}:0] " if width > 1 else ""


_WRAPPER = """
module player(
{ports}
);
  integer handshakes;
  reg first;
  initial begin
    handshakes = $fopen("handshakes", "w");
  end
{body}
  {top} dut(
    {connected}
  );
  wire moves = {moves};
  assign complete = {complete};
  reg [31:0] idle = 0;
  assign idle_cycles = idle;
  always @(posedge clk) begin
    if (load) begin
      idle <= 0;
      first <= 1;
    end else if (run) begin
      idle <= moves ? 0 : idle + 1;
      first <= 0;
      $fwrite(handshakes, "%h\\n", {{{log}, first}});
    end
  end
  final $fclose(handshakes);
endmodule
"""

_SOURCE = """
  integer {n}__file, {n}__got;
  reg [{w}-1:0] {n}__payload, {n}__next;
  reg {n}__valid = 0;
  reg [31:0] {n}__left = 0;
  wire {n}__ready;
  initial {n}__file = $fopen("{n}.in", "rb");
  always @(posedge clk) begin
    if (load) begin
      {n}__got = $fseek({n}__file, {n}__begin * {b}, 0);
      {n}__left <= {n}__count;
      {n}__valid <= 0;
    end else if (run) begin
      if ({n}__valid & {n}__ready) {n}__left <= {n}__left - 1;
      if (~{n}__valid | {n}__ready) begin
        if (~{n}__paused & ({n}__left > {{31'b0, {n}__valid}})) begin
          {n}__got = $fread({n}__next, {n}__file);
          {n}__payload <= {n}__next;
          {n}__valid <= 1;
        end else {n}__valid <= 0;
      end
    end
  end
"""

_SINK = """
  integer {n}__file;
  wire [{w}-1:0] {n}__payload;
  wire {n}__valid, {n}__ready;
  reg [31:0] {n}__left = 0;
  initial {n}__file = $fopen("{n}.out", "w");
  always @(posedge clk) begin
    if (load) {n}__left <= {n}__count;
    else if (run & {n}__valid & {n}__ready) begin
      {n}__left <= {n}__left - {{31'b0, {n}__left != 0}};
      $fwrite({n}__file, "%h\\n", {n}__payload);
    end
  end
  final $fclose({n}__file);
"""

_PAUSE = """
  integer {n}__pauses, {n}__sought;
  reg [31:0] {n}__pauses_left = 0;
  reg {n}__pause = 0;
  wire {n}__paused = {n}__pause;
  initial {n}__pauses = $fopen("{n}.pause", "rb");
  always @(posedge clk) begin
    if (load) begin
      {n}__sought = $fseek({n}__pauses, {n}__pause_begin, 0);
      {n}__pauses_left <= {n}__pause_count;
      {n}__pause <= 0;
    end else if (run & ({n}__pauses_left != 0)) begin
      {n}__pause <= $fgetc({n}__pauses) != 0;
      {n}__pauses_left <= {n}__pauses_left - 1;
    end else {n}__pause <= 0;
  end
"""
