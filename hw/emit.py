"""Verilog from Amaranth, with one module per (class, configuration).

Amaranth elaborates every instance anew, so an array of 64 equal chains costs 64 times one chain.
Here a component adds its children with `add(m, platform, name, Class, *configuration)`. Under the
`Emitter`, which stands in the place of Amaranth's `platform`, each distinct child is elaborated
once and then instantiated by name; under Amaranth's own simulator the same call adds a child of its
own.
"""

import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from amaranth.back import rtlil
from amaranth.hdl import (
    ClockSignal,
    Instance,
    Module,
    ResetInserter,
    ResetSignal,
    Value,
    ValueLike,
)
from amaranth.lib import wiring

from hw import yosys


class Block(Protocol):
    """A component that can be emitted."""

    signature: wiring.Signature

    @property
    def module_name(self) -> str:
        """A Verilog identifier that tells class and configuration."""
        ...


@dataclass(frozen=True)
class Port:
    """A port of an emitted module: `direction` is "input" or "output"; `width` in bits."""

    name: str
    direction: str
    width: int


@dataclass(frozen=True)
class Design:
    """An emitted design: the Verilog of the module `top` and of all the modules below it.

    `apart` are modules that a simulator compiles once, however many instances there are: those of a
    block whose attribute `simulated_apart` is set.
    """

    top: str
    verilog: str
    modules: tuple[str, ...]
    ports: tuple[Port, ...]
    apart: tuple[str, ...] = ()


def add(
    m: Module,
    platform: object,
    name: str,
    block: Callable[..., Any],
    *configuration: object,
    reset: ValueLike | None = None,
    **through: Any,
) -> Any:
    """Add `block(*configuration)` to `m` as the submodule `name`; return the interface to wire.

    Args:
        reset: resets the child alone; the parent's reset does so too.
        through: ports of the child that are the parent's own, by the child's name for them; they
            need no further wiring.
    """
    if not isinstance(platform, Emitter):
        child = block(*configuration)
        m.submodules[name] = child if reset is None else ResetInserter(reset)(child)
        for port, own in through.items():
            wiring.connect(m, wiring.flipped(own), getattr(child, port))
        return child
    emitted = platform.emit(block, *configuration)
    interface = emitted.block.signature.create(path=(name,))
    for port, own in through.items():
        setattr(interface, port, own)
    m.submodules[name] = emitted.instance(interface, reset)
    return interface


def emit(block: Callable[..., Any], *configuration: object, target: str = "generic") -> Design:
    """Return `block(*configuration)` as Verilog: the same configuration gives the same text.

    Args:
        target: "generic" for plain RTL everywhere; for another one, a block that has a class of its
            own for it in its attribute `primitives` is emitted as that.
    """
    emitter = Emitter(target)
    top = emitter.emit(block, *configuration)
    modules = emitter.modules.values()
    return Design(
        top=top.name,
        verilog=_to_verilog("\n".join(module.rtlil for module in modules)),
        modules=tuple(module.name for module in modules),
        ports=tuple(top.ports()),
        apart=tuple(m.name for m in modules if getattr(m.block, "simulated_apart", False)),
    )


@dataclass(frozen=True)
class EmittedModule:
    """One module in RTLIL, with the block that it was made from."""

    block: Block
    rtlil: str

    @property
    def name(self) -> str:
        """The module's name."""
        return self.block.module_name

    def instance(self, interface: object, reset: ValueLike | None = None) -> Instance:
        """Return an instance wired to `interface`, in the parent's clock domain.

        Args:
            reset: resets the instance too.
        """
        wires = [
            ("i" if member.flow is wiring.In else "o", "__".join(map(str, path)), value)
            for path, member, value in self.block.signature.flatten(interface)
        ]
        resets = ResetSignal() if reset is None else ResetSignal() | reset
        domain = {"clk": ClockSignal(), "rst": resets}
        wires += [("i", name, domain[name]) for name in self._clock_ports()]
        return Instance(self.name, *wires)

    def ports(self) -> Iterator[Port]:
        """Yield the module's ports, clock and reset first."""
        for name in self._clock_ports():
            yield Port(name, "input", 1)
        for path, member, value in self.block.signature.flatten(self.block):
            direction = "input" if member.flow is wiring.In else "output"
            yield Port("__".join(map(str, path)), direction, len(Value.cast(value)))

    def _clock_ports(self) -> list[str]:
        # Amaranth adds them to a module that has a register, at any depth.
        return [n for n in ("clk", "rst") if re.search(rf" input \d+ +\\{n}$", self.rtlil, re.M)]


class Emitter:
    """Collects every distinct module below a block, children before parents."""

    def __init__(self, target: str = "generic") -> None:
        self.target = target
        self.modules: dict[tuple[object, ...], EmittedModule] = {}

    def emit(self, block: Callable[..., Any], *configuration: object) -> EmittedModule:
        """Return the module of `block(*configuration)`, elaborated on the first call."""
        block = getattr(block, "primitives", {}).get(self.target, block)
        key = (block, *configuration)
        if key not in self.modules:
            component = block(*configuration)
            name = component.module_name
            if any(module.name == name for module in self.modules.values()):
                raise AssertionError(f"two different blocks are called {name}")
            text = rtlil.convert(component, name=name, platform=self, emit_src=False)
            self.modules[key] = EmittedModule(component, text)
        return self.modules[key]


def _to_verilog(text: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder, "design.il"), Path(folder, "design.v")
        source.write_text(text, encoding="utf-8")
        yosys.run(
            f"read_rtlil {source}",
            "proc",
            "opt_clean",
            "opt_dff",  # registers with their enable, as a person would write them
            "opt_clean",
            "memory_collect",
            f"write_verilog -norename -noattr {result}",
        )
        return result.read_text(encoding="utf-8")
