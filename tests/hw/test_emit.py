import re

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from slice_chains import SliceChains

from golden.spec.sparse_chain import SparseChainConfig
from hw.chain_slice import ChainSlice
from hw.cosim import lint
from hw.emit import Port, add, emit

CONFIG = SparseChainConfig()
OTHER = SparseChainConfig(m=8)


@pytest.fixture(scope="module")
def chain():
    return emit(SliceChains, CONFIG)


def modules_in(verilog):
    return re.findall(r"^module (\S+?)\(", verilog, re.M)


def test_the_same_configuration_gives_the_same_text(chain):
    assert emit(SliceChains, CONFIG) == chain


def test_every_module_is_emitted_once(chain):
    assert sorted(modules_in(chain.verilog)) == sorted(chain.modules)
    assert len(set(chain.modules)) == len(chain.modules)


def test_a_second_chain_of_the_same_configuration_adds_instances_and_no_module(chain):
    two = emit(SliceChains, CONFIG, CONFIG)
    assert modules_in(two.verilog) == modules_in(chain.verilog)
    instances = [
        len(re.findall(r"^  chain_slice_\w+ slice_\d_\d+ \(", design.verilog, re.M))
        for design in (chain, two)
    ]
    assert instances == [16, 32]


def test_another_configuration_has_modules_of_its_own(chain):
    both = emit(SliceChains, CONFIG, OTHER)
    (slice_of_chain,) = (name for name in chain.modules if "slice_x" in name)
    assert len([name for name in both.modules if "slice_x" in name]) == 2
    assert slice_of_chain in both.modules


def test_names_are_plain_and_say_what_they_are(chain):
    assert chain.top == "slice_chains"
    for name in chain.modules:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
    for instance in ("slice_0_0", "slice_0_15", "splitter_0_7", "dsp"):
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


@pytest.mark.parametrize("target", ["generic", "ultrascale+", "ecp5"])
def test_verilator_has_no_warning_that_is_not_waived(target):
    assert lint(emit(SliceChains, OTHER, target=target)) == []


def test_lint_sees_a_width_error(chain):
    broken = chain.verilog.replace("  input rst;", "  input rst; undriven u ();", 1)
    assert broken != chain.verilog
    assert lint(type(chain)(chain.top, broken, chain.modules, chain.ports))


def test_a_target_has_its_own_primitives():
    plain = emit(ChainSlice, CONFIG)
    slices = emit(ChainSlice, CONFIG, target="ultrascale+")
    assert (plain.ports, plain.modules) == (slices.ports, slices.modules)
    assert "DSP48E2 #(" in slices.verilog
    assert "DSP48E2 #(" not in plain.verilog


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
