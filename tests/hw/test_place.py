import pytest

from golden.spec.errors import ToolError
from golden.spec.sparse_chain import SparseChainConfig
from hw.emit import emit
from hw.fifo import Fifo
from hw.mult18x18d import Mult18x18d
from hw.place import PinWrapper, place
from hw.sparse_chain import SparseChain
from hw.synth import synthesise


def test_the_wrapper_keeps_all_of_a_block_and_registers_its_ports():
    fifo = synthesise(emit(Fifo, 8, 16), "ecp5")
    wrapped = synthesise(emit(PinWrapper, 3, Fifo, 8, 16), "ecp5")
    inputs, outputs = 8 + 2, 8 + 2
    assert wrapped.ff == 3 * (fifo.ff + inputs + 2 * outputs)
    assert wrapped.lut_memory == 3 * fifo.lut_memory > 0
    assert len(emit(PinWrapper, 3, Fifo, 8, 16).ports) == len(("clk", "rst", "i", "o"))


@pytest.mark.full
def test_four_chains_of_eight_reach_100_mhz_on_an_ecp5():
    config = SparseChainConfig(m=16, chain_length=8, products_per_dsp=1)
    found = place(SparseChain, config, copies=4)
    assert found.used["MULT18X18D"] == 32
    assert found.fmax >= 100
    assert all("block_" in cell for cell in found.slowest)


@pytest.mark.full
def test_what_does_not_fit_is_refused():
    # The part has 156 multipliers.
    with pytest.raises(ToolError, match=r"^nextpnr failed: ERROR: .*MULT18X18D"):
        place(Mult18x18d, copies=157)


def test_a_missing_nextpnr_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    with pytest.raises(ToolError, match=r"^nextpnr is not installed; run `make setup`$"):
        place(Fifo, 2, 2)
