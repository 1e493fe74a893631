import re

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.spec.errors import ConfigError
from golden.spec.sparse_chain import SparseChainConfig
from hw.chain_array import ChainArray
from hw.cosim import lint
from hw.emit import Port, add, emit
from hw.packed_multiplier import PackedMultiplier
from hw.sparse_chain import SparseChain

CONFIG = SparseChainConfig()


@pytest.fixture(scope="module")
def chain():
    return emit(SparseChain, CONFIG)


def modules_in(verilog):
    return re.findall(r"^module (\S+?)\(", verilog, re.M)


def test_the_same_configuration_gives_the_same_text(chain):
    assert emit(SparseChain, CONFIG) == chain


def test_every_module_is_emitted_once(chain):
    assert sorted(modules_in(chain.verilog)) == sorted(chain.modules)
    assert len(set(chain.modules)) == len(chain.modules)


def test_64_chains_hold_the_modules_of_one_and_64_instances(chain):
    array = emit(ChainArray, CONFIG, 64)
    assert set(modules_in(array.verilog)) == {*modules_in(chain.verilog), array.top}
    assert len(re.findall(rf"^  {chain.top} chain_\d+ ", array.verilog, re.M)) == 64


def test_names_are_plain_and_say_what_they_are(chain):
    assert chain.top == "sparse_chain_m16_a8w8_acc32"
    for name in chain.modules:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
    for instance in ("sequencer", "select_15", "multiplier_15", "tap_0", "rows_7"):
        assert re.search(rf"^  \w+ {instance} \(", chain.verilog, re.M)


def test_ports_are_listed_as_they_stand_in_the_verilog(chain):
    assert chain.ports[0] == Port("clk", "input", 1)
    top = chain.verilog[chain.verilog.index(f"module {chain.top}(") :]
    for port in chain.ports:
        width = "" if port.width == 1 else rf"\[{port.width - 1}:0\] "
        assert re.search(rf"^  {port.direction} {width}{port.name};", top, re.M)


def test_source_locations_are_left_out(chain):
    assert "(* " not in chain.verilog
    assert ".py" not in chain.verilog


@pytest.mark.parametrize("m", [4, 8, 16, 32])
def test_verilator_has_no_warning_that_is_not_waived(m):
    assert lint(emit(SparseChain, SparseChainConfig(m=m))) == []


def test_lint_sees_a_width_error(chain):
    broken = chain.verilog.replace("output blocked;", "output blocked; wire unused; undriven u ();")
    assert lint(type(chain)(chain.top, broken, chain.modules, chain.ports))


def test_a_target_has_its_own_primitives():
    plain = emit(PackedMultiplier)
    slices = emit(PackedMultiplier, target="ultrascale+")
    assert (plain.ports, plain.modules) == (slices.ports, slices.modules)
    assert "DSP48E2 #(" in slices.verilog
    assert "DSP48E2 #(" not in plain.verilog


def test_an_array_of_no_chain_is_refused():
    with pytest.raises(ConfigError, match=r"^chains is 0; at least 1 is needed$"):
        ChainArray(CONFIG, 0)


class Inverter(wiring.Component):
    module_name = "inverter"

    def __init__(self, width):
        super().__init__({"i": In(width), "o": Out(width)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(~self.i)
        return m


class TwoInverters(wiring.Component):
    module_name = "two_inverters"

    def __init__(self):
        super().__init__({"i": In(2), "o": Out(2)})

    def elaborate(self, platform):
        m = Module()
        narrow = add(m, platform, "narrow", Inverter, 1)
        wide = add(m, platform, "wide", Inverter, 2)
        m.d.comb += [narrow.i.eq(self.i), wide.i.eq(narrow.o), self.o.eq(wide.o)]
        return m


def test_two_configurations_may_not_share_a_name():
    with pytest.raises(AssertionError, match=r"^two different blocks are called inverter$"):
        emit(TwoInverters)
