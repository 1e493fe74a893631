"""A kernel: its C++ sources, its ports, and the test bench and script that are made of those.

The C++ itself lies in `cpp/`, as a person would write it. What a configuration decides are
constants in headers that each kernel's module makes. The test bench runs on any compiler with the
headers of `cpp/stand_in`, and in Vitis HLS with its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

CPP = Path(__file__).parent / "cpp"

STAND_IN = ("stand_in/ap_int.h", "stand_in/hls_stream.h")
"""Headers in place of those of Vitis HLS, for C simulation without it."""

PART = "xcu280-fsvh2892-2L-e"
"""The part of the script that a person may change: that of an Alveo U280."""

CLOCK_NS = 4.44
"""The script's clock period, of 225 MHz: FlightLLM's on the U280 (arXiv 2401.03868)."""


@dataclass(frozen=True)
class Argument:
    """A number of a C++ type, or an array of `count` of them, that a kernel is called with."""

    name: str
    count: int = 0
    kind: str = "count_t"


@dataclass(frozen=True)
class Stream:
    """A stream, or an array of `count` of them.

    Attributes:
        payload: its C++ type, an `ap_uint`. output: the kernel writes to it.
    """

    name: str
    payload: str
    count: int = 0
    output: bool = False


@dataclass(frozen=True)
class Memory:
    """An array in memory, or `count` of them; `written`: it is compared when the kernel ends."""

    name: str
    word: str
    count: int = 0
    written: bool = False


Port = Argument | Stream | Memory


@dataclass(frozen=True)
class Kernel:
    """One top function with what belongs to it.

    Attributes:
        top: name of the function. ports: in the order of its parameters.
        headers: made of the configuration, by their names.
        sources: of `cpp/`, all that is compiled or included; `<top>.cpp` holds the top.
        lanes: products or elements per cycle, as the configuration says.
    """

    top: str
    ports: Sequence[Port]
    headers: Mapping[str, str]
    sources: Mapping[str, str]
    lanes: int

    @property
    def files(self) -> dict[str, str]:
        """By its name, the text of each file but the description."""
        made = {
            f"{self.top}_bench.cpp": _bench(self.top, self.ports),
            f"{self.top}.tcl": _script(self.top, [*self.headers, *self.sources]),
        }
        return {**self.headers, **self.sources, **read(("vector_file.hpp", *STAND_IN)), **made}


def read(names: Sequence[str]) -> dict[str, str]:
    """Return files of `cpp/` by their names."""
    return {name: (CPP / name).read_text(encoding="utf-8") for name in names}


def header(name: str, config: object, values: Mapping[str, int | Sequence[int]]) -> str:
    """Return a C++ header with constants; a sequence becomes an array.

    Args:
        name: of the file. config: what they are made of, for the first line.
    """
    guard = f"NANDU_{name.replace('.', '_').upper()}"
    lines = [
        f"// Made for {config}.",
        f"#ifndef {guard}",
        f"#define {guard}",
        "",
        "namespace nandu {",
    ]
    lines.append("")
    for key, value in values.items():
        if isinstance(value, int):
            lines.append(f"static const int {key} = {value};")
        else:
            lines += [f"static const int {key}[{len(value)}] = {{", *_rows(value), "};"]
    return "\n".join([*lines, "", "}  // namespace nandu", "", "#endif", ""])


def _rows(values: Sequence[int]) -> list[str]:
    each = 12
    rows = [values[start : start + each] for start in range(0, len(values), each)]
    return [f"    {', '.join(map(str, row))}," for row in rows]


def _bench(top: str, ports: Sequence[Port]) -> str:
    before, behind, given = [], [], []
    for port in ports:
        size = f"[{port.count}]" if port.count else ""
        each = f"for (auto& each : {port.name}) " if port.count else ""
        one = "each" if port.count else port.name
        given.append(port.name)
        match port:
            case Argument():
                before.append(f"{port.kind} {port.name}{size};")
                before.append(f"{each}{one} = file.number();")
            case Stream(output=False):
                before.append(f"hls::stream<{port.payload}> {port.name}{size};")
                before.append(f"{each}file.fill({one});")
            case Stream():
                before.append(f"hls::stream<{port.payload}> {port.name}{size};")
                behind.append(f"{each}file.compare({one}, seen);")
            case Memory():
                width = f"{port.word}::width"
                before.append(f"std::vector<{port.word}> {port.name}{size};")
                before.append(f"{each}{one} = file.payloads<{width}>();")
                if port.written:
                    behind.append(f"{each}file.compare<{width}>({one}, seen);")
                given[-1] = _pointers(port)
    steps = [*before, f"{top}({', '.join(given)});", "Comparison seen;", *behind, "return seen;"]
    body = "\n".join(f"    {step}" for step in steps)
    return _BENCH.format(top=top, body=body)


def _pointers(port: Memory) -> str:
    if not port.count:
        return f"{port.name}.data()"
    return ", ".join(f"{port.name}[{number}].data()" for number in range(port.count))


def _script(top: str, files: Sequence[str]) -> str:
    kernel = "\n".join(f"add_files {name}" for name in files)
    return _SCRIPT.format(top=top, files=kernel, part=PART, clock=CLOCK_NS)


_BENCH = """\
// Runs {top} on the cases of a file of test vectors, and compares what it gives with golden's.
#include "{top}_top.hpp"
#include "vector_file.hpp"

using namespace nandu;

static Comparison run(VectorFile& file) {{
{body}
}}

int main(int argc, char** argv) {{ return run_cases(argc, argv, run); }}
"""

_SCRIPT = """\
# Simulates, synthesises and packs the kernel {top}:  vitis_hls -f {top}.tcl
# The headers of stand_in/ are not added: Vitis HLS has its own ap_int.h and hls_stream.h.
open_project -reset {top}_project
set_top {top}
{files}
add_files -tb {top}_bench.cpp
add_files -tb vector_file.hpp
add_files -tb vectors.bin
open_solution -reset -flow_target vivado solution
set_part {part}
create_clock -period {clock}
csim_design
csynth_design
# cosim_design
export_design -format ip_catalog
exit
"""
