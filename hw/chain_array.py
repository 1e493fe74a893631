"""Sparse chains side by side, each with its own streams."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.errors import ConfigError
from golden.spec.sparse_chain import SparseChainConfig
from hw.emit import add
from hw.sparse_chain import SparseChain, block_layout, sums_layout, weight_layout


class ChainArray(wiring.Component):
    """`chains` independent sparse chains of one configuration.

    Members:
        i_block, i_weight, o: the streams of every chain, by its number.

    Raises:
        ConfigError: there is no chain.
    """

    def __init__(self, config: SparseChainConfig, chains: int) -> None:
        if chains < 1:
            raise ConfigError(f"chains is {chains!r}; at least 1 is needed")
        self.config = config
        self.chains = chains
        super().__init__(
            {
                "i_block": In(stream.Signature(block_layout(config))).array(chains),
                "i_weight": In(stream.Signature(weight_layout(config))).array(chains),
                "o": Out(stream.Signature(sums_layout(config))).array(chains),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"chain_array_{self.chains}_m{self.config.m}_acc{self.config.accumulator_bits}"

    def elaborate(self, platform: object) -> Module:
        """Wire every chain to its streams."""
        m = Module()
        for i in range(self.chains):
            streams = {"i_block": self.i_block[i], "i_weight": self.i_weight[i], "o": self.o[i]}
            add(m, platform, f"chain_{i}", SparseChain, self.config, **streams)
        return m
