"""A behavioural memory on the simulator's side, behind the AXI4 ports of a design.

Every port has a memory of its own, with latency and bandwidth as wanted
(`hw/primitives/memory_channel.v`). It is loaded from a file, and leaves in files what was written
and what it counted: so no data pass through Python while a design runs. It stops the simulation,
and says why, where a design breaks the rules of AXI4 for addresses or WLAST.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from golden.spec.axi import PAGE_BYTES, AxiConfig, check_range
from golden.spec.errors import ConfigError
from hw.axi import read_ports, write_ports
from hw.emit import Design, Port

MAX_CAPACITY = 1 << 30
"""Bytes; the simulator keeps them all in the host's memory."""

MAX_LATENCY = 1 << 20

MAX_PER = 1 << 20
"""The largest denominator of a bandwidth."""

_NAMES = [
    name.removeprefix("m_axi_") for name in read_ports(AxiConfig()) | write_ports(AxiConfig())
]
"""Names of the signals of a port, without its prefix."""


@dataclass(frozen=True)
class MemoryTiming:
    """How fast a channel is; another timing needs no other build of the simulator.

    Attributes:
        latency: cycles from an address taken to its first word offered, and from a burst's last
            word taken to the response offered: 1 to 2**20.
        extra_latency: each burst takes 0 to so many cycles more, at random: 0 to 2**20.
        words_per_cycle: bandwidth, more than 0, up to 1; reads and writes share it.
        seed: of the random latencies, 1 to 2**31 - 1.

    Raises:
        ConfigError: a field is outside its range.
    """

    latency: int = 1
    extra_latency: int = 0
    words_per_cycle: Fraction = Fraction(1)
    seed: int = 1

    def __post_init__(self) -> None:
        check_range("latency", self.latency, 1, MAX_LATENCY)
        check_range("extra_latency", self.extra_latency, 0, MAX_LATENCY)
        check_range("seed", self.seed, 1, 2**31 - 1)
        if not 0 < self.words_per_cycle <= 1 or self.words_per_cycle.denominator > MAX_PER:
            raise ConfigError(
                f"words_per_cycle is {self.words_per_cycle}; a fraction up to 1 is needed, with a "
                f"denominator up to {MAX_PER}"
            )


@dataclass(frozen=True)
class ChannelCounts:
    """What a channel counted in the whole simulation.

    Attributes:
        cycles: clock cycles, in reset too.
        words_read, words_written: words moved.
        read_waits: cycles in which a burst that had been asked for got no word offered.
        write_waits: cycles in which a word was offered to the memory and not taken.
        held: cycles in which the memory offered a word that was not taken.
    """

    cycles: int
    words_read: int
    words_written: int
    read_waits: int
    write_waits: int
    held: int


@dataclass(frozen=True, eq=False)
class PortRecord:
    """What passed between a port and its memory; cycles count from the start of the simulation.

    Attributes:
        asked: cycles in which the address of a burst to be read was taken, int64 [bursts].
        came: cycles in which words were read, int64 [words].
        taken: cycles in which words were written; waited: for how many cycles each had been offered
            before, int64 [words].
        answered: cycles in which bursts that were written were answered, int64 [bursts].
    """

    asked: np.ndarray
    came: np.ndarray
    taken: np.ndarray
    waited: np.ndarray
    answered: np.ndarray

    def between(self, begin: int, end: int) -> "PortRecord":
        """Return what passed from one cycle on, up to another one."""

        def part(cycles: np.ndarray) -> slice:
            return slice(*np.searchsorted(cycles, (begin, end)))

        taken = part(self.taken)
        return PortRecord(
            self.asked[part(self.asked)],
            self.came[part(self.came)],
            self.taken[taken],
            self.waited[taken],
            self.answered[part(self.answered)],
        )


def with_memory(design: Design, capacities: Mapping[str, int]) -> Design:
    """Return the design with a memory behind each AXI4 port of its masters; its other ports stay.

    Args:
        capacities: bytes of each memory, by the prefix of its port's names, such as "m_axi": a
            multiple of 4096 up to 1 GiB. Beyond it a burst gets DECERR.

    Raises:
        ConfigError: a capacity is not allowed, or the design has other AXI4 ports.
    """
    for prefix, capacity in capacities.items():
        if capacity not in range(PAGE_BYTES, MAX_CAPACITY + 1, PAGE_BYTES):
            raise ConfigError(
                f"the capacity of {prefix} is {capacity!r}; a multiple of {PAGE_BYTES} bytes is "
                f"needed, at most {MAX_CAPACITY}"
            )
    ports = {port.name: port for port in design.ports}
    masters = [name for name, port in ports.items() if port.direction == "output"]
    found = {
        n.removesuffix(end) for end in ("_arvalid", "_awvalid") for n in masters if n.endswith(end)
    }
    if found != set(capacities):
        raise ConfigError(
            f"{design.top} has the AXI4 ports {_list(found)}; there are memories for "
            f"{_list(capacities)}"
        )
    used = {f"{prefix}_{name}" for prefix in capacities for name in _NAMES} & set(ports)
    outer = [port for port in design.ports if port.name not in used]
    body = [_channel(prefix, capacity, ports) for prefix, capacity in capacities.items()]
    # A design without registers has no clock; its memory has.
    outer = [*(Port(n, "input", 1) for n in ("clk", "rst") if n not in ports), *outer]
    top = f"{design.top}_with_memory"
    text = _WRAPPER.format(
        top=top,
        ports=",\n".join(f"  {p.direction} {_range(p.width)}{p.name}" for p in outer),
        wires="\n".join(f"  wire {_range(ports[name].width)}{name};" for name in sorted(used)),
        body="\n".join(body),
        design=design.top,
        pins=",\n    ".join(f".{name}({name})" for name in ports),
    )
    return replace(
        design,
        top=top,
        verilog=design.verilog + text,
        modules=(*design.modules, top),
        ports=tuple(outer),
    )


def write_image(folder: Path, prefix: str, content: np.ndarray) -> None:
    """Write what the memory behind the port `prefix` holds at first, from address 0 on.

    Args:
        folder: the simulation's working directory.
        content: bytes, uint8 [bytes], not more than the capacity; behind them the memory holds 0.
    """
    padding = np.zeros(-len(content) % PAGE_BYTES, np.uint8)
    with (folder / f"{prefix}.bin").open("wb") as file:
        file.write(np.ascontiguousarray(content, np.uint8).tobytes())
        file.write(padding.tobytes())


def write_timing(folder: Path, prefix: str, timing: MemoryTiming, *, records: bool = False) -> None:
    """Write how fast the memory behind the port `prefix` is; without this it has the defaults.

    Args:
        records: the memory is to record what passes, for `read_record`.
    """
    t, rate = timing, timing.words_per_cycle
    numbers = (t.latency, t.extra_latency, rate.numerator, rate.denominator, t.seed, int(records))
    (folder / f"{prefix}.timing").write_text(" ".join(map(str, numbers)), encoding="utf-8")


def read_counts(folder: Path, prefix: str) -> ChannelCounts:
    """Return what the memory behind the port `prefix` counted."""
    return ChannelCounts(*_read_numbers(folder, prefix)[:6])


def read_record(folder: Path, prefix: str) -> PortRecord:
    """Return what passed the port `prefix`, where that was recorded."""
    text = (folder / f"{prefix}.record").read_text(encoding="utf-8")
    cycle, what, waited = np.fromstring(text, np.int64, sep=" ").reshape(-1, 3).T
    asked, came, taken, answered = (what >> bit & 1 == 1 for bit in range(4))
    return PortRecord(cycle[asked], cycle[came], cycle[taken], waited[taken], cycle[answered])


def read_written(folder: Path, prefix: str) -> tuple[int, np.ndarray]:
    """Return the first address that was written, and all bytes from there to the last one.

    The latter are uint8 [bytes], in whole words, and none if nothing was written.
    """
    content = np.fromfile(folder / f"{prefix}.written", np.uint8)
    return _read_numbers(folder, prefix)[6], content


def _read_numbers(folder: Path, prefix: str) -> list[int]:
    text = (folder / f"{prefix}.counts").read_text(encoding="utf-8")
    return [int(word) for word in text.split()]


def _channel(prefix: str, capacity: int, ports: Mapping[str, Port]) -> str:
    """Return an instance of the memory channel; what the port does not have is tied off."""
    has = {name for name in _NAMES if f"{prefix}_{name}" in ports}
    data_bits = next(ports[f"{prefix}_{n}"].width for n in ("rdata", "wdata") if n in has)
    half = "ar" if "arvalid" in has else "aw"
    parameters = {
        "NAME": f'"{prefix}"',
        "DATA_BITS": data_bits,
        "ADDRESS_BITS": ports[f"{prefix}_{half}addr"].width,
        "ID_BITS": ports[f"{prefix}_{half}id"].width,
        "WORDS": capacity * 8 // data_bits,
    }
    pins = [".clk(clk)", ".rst(rst)", *(f".{name}({prefix}_{name})" for name in sorted(has))]
    tied = [n for n in ("arvalid", "awvalid", "wvalid", "rready", "bready") if n not in has]
    pins += [f".{name}(1'b0)" for name in tied]
    set_parameters = ", ".join(f".{name}({value})" for name, value in parameters.items())
    return f"  memory_channel #({set_parameters}) {prefix}_memory(\n    {', '.join(pins)}\n  );"


def _range(width: int) -> str:
    return f"[{width - 1}:0] " if width > 1 else ""


def _list(names: object) -> str:
    return ", ".join(sorted(names)) or "none"  # type: ignore[call-overload]


_WRAPPER = """
module {top}(
{ports}
);
{wires}
{body}
  {design} dut(
    {pins}
  );
endmodule
"""
