"""An attention engine that takes its jobs out of a drive's memory, and answers there."""

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import wiring

from golden.spec.drive_engine import DriveEngineConfig
from hw.emit import add
from storage_engine.attention_engine import AttentionEngine
from storage_engine.engine_dma import LINKS, EngineDma, dma_members


class MemoryEngine(wiring.Component):
    """`EngineDma` and an engine; throughput and latency are theirs.

    Args:
        engine: what computes: an `AttentionEngine`, or in a bench one with flash.
        more: what that takes beside the configuration.

    Members:
        i_descriptor, o_completed, read_error, write_error, m_axi_*: those of `EngineDma`.
        The others are the engine's: those of its flash channels.
    """

    def __init__(
        self, config: DriveEngineConfig, engine: Any = AttentionEngine, *more: object
    ) -> None:
        self.config, self.engine, self.more = config, engine, more
        dma, inner = dma_members(config), engine.members(config)
        self._outward = [name for name in dma if name not in LINKS]
        self._inner = [name for name in inner if name not in LINKS.values()]
        super().__init__(
            {
                **{name: dma[name] for name in self._outward},
                **{name: inner[name] for name in self._inner},
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        c = self.config
        kv = f"l{c.lanes}_g{c.queries}_d{c.head_size}_{c.kv_bits}"
        return f"memory_engine_{c.flash_channels}x{kv}_p{c.page_bytes}_c{c.context_bits}"

    def elaborate(self, platform: object) -> Module:
        """Wire the two."""
        m = Module()
        through = {name: getattr(self, name) for name in self._inner}
        outward = {name: getattr(self, name) for name in self._outward}
        engine = add(m, platform, "engine", self.engine, self.config, *self.more, **through)
        dma = add(m, platform, "dma", EngineDma, self.config, **outward)
        for its, engines in LINKS.items():
            wiring.connect(m, getattr(dma, its), getattr(engine, engines))
        return m
