"""A self-test that is built and simulated in seconds."""

import tempfile
from functools import cache
from pathlib import Path

from bitstreams.boards import load_board
from bitstreams.designs import find_design
from bitstreams.ecp5_top import Ecp5Top
from bitstreams.open_flow import NETLIST, synthesise
from bitstreams.sparse_chain_selftest import SelfTestConfig, SparseChainSelfTest
from hw.emit import Design, emit

BOARD, DESIGN = "ulx3s-85f", "sparse-chain-selftest"
SETTINGS = {"chains": 1, "m": 4, "chain_length": 2, "baud": 1_000_000}
SMALL = SelfTestConfig(**SETTINGS)


@cache
def rtl(config: SelfTestConfig = SMALL) -> Design:
    assert find_design(DESIGN).component is SparseChainSelfTest
    return emit(Ecp5Top, load_board(BOARD), SparseChainSelfTest, config, target="ecp5")


@cache
def netlist(config: SelfTestConfig = SMALL) -> str:
    design = rtl(config)
    with tempfile.TemporaryDirectory() as folder:
        synthesise(design.verilog, design.top, Path(folder))
        return Path(folder, NETLIST).read_text(encoding="utf-8")
