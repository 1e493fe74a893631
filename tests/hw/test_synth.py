import pytest

from golden.spec.errors import ConfigError
from golden.spec.sparse_chain import SparseChainConfig
from hw.emit import Design, emit
from hw.sparse_chain import SparseChain
from hw.synth import TARGETS, count, synthesise


@pytest.mark.parametrize(("target", "dsp"), [("ultrascale+", "DSP48E2"), ("ecp5", "MULT18X18D")])
def test_every_multiplier_of_the_chain_is_a_dsp(target, dsp):
    config = SparseChainConfig(m=8)
    found = synthesise(emit(SparseChain, config), target)
    assert found.dsp == found.cells[dsp] == config.m
    # Eight 8-bit multiplexers of 8 inputs, eight adders and accumulators, but no multiplier.
    assert 8 * 8 * 2 < found.lut < 2500
    assert found.ff > config.m * config.accumulator_bits
    assert (found.bram, found.uram) == (0, 0)
    assert found.lut_per_dsp == found.lut / 8


def test_a_wider_activation_takes_wider_multiplexers():
    narrow, wide = (
        synthesise(emit(SparseChain, SparseChainConfig(m=4, activation_bits=bits)), "ecp5")
        for bits in (4, 8)
    )
    assert narrow.lut < wide.lut


def test_an_adder_has_no_multiplier():
    verilog = "module adder(input [7:0] a, b, output [8:0] o); assign o = a + b; endmodule"
    found = synthesise(Design("adder", verilog, ("adder",), ()), "ultrascale+")
    assert (found.dsp, found.ff, found.lut_per_dsp) == (0, 0, 0.0)
    assert found.lut > 0


def test_memories_count_by_size():
    cells = {"RAMB36E2": 2, "RAMB18E2": 1, "URAM288": 3, "SRL16E": 4, "LUT6": 5, "FDRE": 6}
    found = count(cells, TARGETS["ultrascale+"])
    assert (found.bram, found.uram, found.lut, found.ff) == (2.5, 3, 9, 6)


def test_an_unknown_target_is_refused():
    with pytest.raises(
        ConfigError, match=r"^there is no target 'asic'; known are ultrascale\+, ecp5$"
    ):
        synthesise(emit(SparseChain, SparseChainConfig(m=4)), "asic")
