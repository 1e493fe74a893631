from collections import Counter

import pytest
from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.errors import ConfigError, ToolError
from golden.spec.expansion import ExpansionConfig
from hw.emit import Design, add, emit
from hw.expansion import BitWidthExpansion
from hw.synth import TARGETS, count, synthesise

DSP = {"ultrascale+": "DSP48E2", "ecp5": "MULT18X18D"}
both_targets = pytest.mark.parametrize("target", list(TARGETS))


class Product(wiring.Component):
    """The registered product of two registered factors."""

    def __init__(self, bits):
        self.bits = bits
        super().__init__({"a": In(signed(bits)), "b": In(signed(bits)), "p": Out(signed(2 * bits))})

    @property
    def module_name(self):
        return f"product_{self.bits}"

    def elaborate(self, platform):
        m = Module()
        a, b = Signal.like(self.a, reset_less=True), Signal.like(self.b, reset_less=True)
        m.d.sync += [a.eq(self.a), b.eq(self.b), self.p.eq(a * b)]
        return m


class Products(wiring.Component):
    """A product of the chain, and one of the scales, under the name that such a submodule has."""

    module_name = "products"

    def __init__(self):
        factors = dict.fromkeys(("a_0", "a_1", "b"), In(signed(8)))
        super().__init__({**factors, "p": Out(32)})

    def elaborate(self, platform):
        m = Module()
        made = [add(m, platform, name, Product, 8) for name in ("group_scale_0", "chain")]
        for product, a in zip(made, (self.a_0, self.a_1), strict=True):
            m.d.comb += [product.a.eq(a), product.b.eq(self.b)]
        m.d.comb += self.p.eq(Cat(made[0].p, made[1].p + 1))
        return m


class LutMemory(wiring.Component):
    """A memory that is read in the cycle of its address, and written with a clock."""

    def __init__(self, depth, width):
        self.depth, self.width = depth, width
        ports = {"write": In(range(depth)), "read": In(range(depth)), "enable": In(1)}
        super().__init__(ports | {"i": In(width), "o": Out(width)})

    @property
    def module_name(self):
        return f"lut_memory_{self.depth}x{self.width}"

    def elaborate(self, platform):
        m = Module()
        m.submodules.rows = rows = memory.Memory(shape=self.width, depth=self.depth, init=[])
        write, read = rows.write_port(), rows.read_port(domain="comb")
        m.d.comb += [write.addr.eq(self.write), write.en.eq(self.enable), write.data.eq(self.i)]
        m.d.comb += [read.addr.eq(self.read), self.o.eq(read.data)]
        return m


class Adder(wiring.Component):
    """A registered sum of registers, behind `muxes` muxes in a row."""

    def __init__(self, muxes):
        self.muxes = muxes
        super().__init__({"a": In(48), "b": In(48), "choose": In(4 * 6), "o": Out(48)})

    @property
    def module_name(self):
        return f"adder_{self.muxes}"

    def elaborate(self, platform):
        m = Module()
        a, b = Signal(48, name="left"), Signal(48, name="right")
        choose = Signal(24)
        m.d.sync += [a.eq(self.a), b.eq(self.b), choose.eq(self.choose)]
        total = a + b
        for k in range(self.muxes):
            total = Mux(choose.word_select(k, 4).all(), total[:48], total[1:48])
        m.d.sync += self.o.eq(total)
        return m


@both_targets
def test_multipliers_of_scales_count_apart(target):
    found = synthesise(emit(Products), target)
    assert (found.dsp, found.scale_dsp, found.soft_multipliers) == (1, 1, 0)
    assert found.cells[DSP[target]] == 2
    assert found.lut_per_dsp == found.lut > 0


@both_targets
def test_what_is_mapped_apart_is_counted_for_every_instance(target):
    design = emit(Products)
    whole = synthesise(design, target)
    parts = {"scale": r"group_scale_0\.", "chain": r"chain\."}
    found = synthesise(design, target, apart=("product_",), parts=parts)
    assert (found.dsp, found.scale_dsp, found.path.levels) == (1, 1, whole.path.levels)
    assert list(found.parts) == ["scale", "chain", "rest"]
    each = found.parts.values()
    assert sum((Counter(part.cells) for part in each), Counter()) == found.cells
    assert [(part.dsp, part.scale_dsp) for part in each] == [(0, 1), (1, 0), (0, 0)]
    assert found.parts["rest"].lut == found.lut > 0
    assert whole.parts == {}


@pytest.mark.parametrize(("target", "bits"), [("ultrascale+", 3), ("ecp5", 1)])
def test_a_multiplier_that_is_built_from_luts_is_told(target, bits):
    # Yosys finds so few bits not worth a DSP.
    found = synthesise(emit(Product, bits), target)
    assert (found.dsp, found.soft_multipliers) == (0, 1)
    assert found.lut > 0


@both_targets
def test_the_expansion_unit_has_no_multiplier(target):
    found = synthesise(emit(BitWidthExpansion, ExpansionConfig(64, 4, 16)), target)
    assert (found.dsp, found.scale_dsp, found.soft_multipliers, found.lut_per_dsp) == (0, 0, 0, 0.0)
    assert found.lut > 100
    assert found.ff > 100
    assert (found.bram, found.uram, found.lut_memory) == (0, 0, 0)


@pytest.mark.parametrize(
    ("target", "depth", "width", "luts", "levels"),
    [
        # Two bits per look-up table up to 32 words, and one more in every eight for the address.
        ("ultrascale+", 32, 14, 8, 1),
        ("ultrascale+", 32, 16, 8 + 2, 1),
        ("ultrascale+", 64, 7, 8, 1),
        ("ecp5", 16, 4, 6, 1),
        ("ecp5", 16, 10, 18, 1),
    ],
)
def test_a_lut_memory_counts_the_look_up_tables_it_takes(target, depth, width, luts, levels):
    found = synthesise(emit(LutMemory, depth, width), target)
    assert found.lut_memory == luts
    assert found.lut == luts
    assert found.logic_depth == levels


@pytest.mark.parametrize(("target", "sum_levels"), [("ultrascale+", 2), ("ecp5", 1)])
def test_the_logic_depth_counts_look_up_tables_and_carry_chains(target, sum_levels):
    plain, long = (synthesise(emit(Adder, muxes), target) for muxes in (0, 3))
    assert plain.logic_depth == sum_levels
    assert plain.path.begin.startswith(("left", "right"))
    assert plain.path.end.startswith("o[")
    assert sum_levels < long.logic_depth <= sum_levels + 6


def test_the_longest_path_of_mapped_cells():
    def cell(kind, inputs, outputs, **parameters):
        return {
            "type": kind,
            "parameters": parameters,
            "port_directions": {
                **dict.fromkeys(inputs, "input"),
                **dict.fromkeys(outputs, "output"),
            },
            "connections": {**inputs, **outputs},
        }

    def depth(*cells):
        named = {f"cell_{i}": made for i, made in enumerate(cells)}
        module = {"cells": named, "ports": {}, "netnames": {}}
        return count(module, TARGETS["ultrascale+"]).logic_depth

    lut = cell("LUT2", {"I0": [1], "I1": ["0"]}, {"O": [2]})
    chain = cell("CARRY4", {"CI": [9], "S": [2, 3, 4, 5], "DI": [1, 1, 1, 1]}, {"O": [6, 7, 8, 10]})
    end = cell("FDRE", {"D": [6]}, {"Q": [1]})
    # The register's way: one look-up table, one chain. Bit 3 enters above the chain's first place.
    assert depth(lut, end | {"connections": {"D": [2], "Q": [1]}}) == 1
    assert depth(lut, chain, end) == 2
    higher = cell("LUT2", {"I0": [2]}, {"O": [3]})
    assert depth(lut, higher, chain, end) == 2
    assert depth(lut, higher, chain, end | {"connections": {"D": [7], "Q": [1]}}) == 3
    # A DSP with a register ends a path, one without is a level of it.
    dsp = {"A": [2]}, {"P": [6]}
    assert depth(lut, cell("DSP48E2", *dsp, AREG="0" * 31 + "1", PREG="0" * 32), end) == 1
    assert depth(lut, cell("DSP48E2", *dsp, AREG="0" * 32, PREG="0" * 32), end) == 2
    with pytest.raises(ToolError, match=r"^a combinational loop goes through a signal$"):
        depth(cell("LUT1", {"I0": [6]}, {"O": [2]}), cell("LUT1", {"I0": [2]}, {"O": [6]}), end)


def test_an_adder_has_no_multiplier():
    verilog = "module adder(input [7:0] a, b, output [8:0] o); assign o = a + b; endmodule"
    found = synthesise(Design("adder", verilog, ("adder",), ()), "ultrascale+")
    assert (found.dsp, found.ff, found.lut_per_dsp) == (0, 0, 0.0)
    assert found.lut > 0
    assert (found.path.begin[0], found.path.end, found.logic_depth) in {
        ("a", "o", 2),
        ("b", "o", 2),
    }


def test_memories_count_by_size():
    kinds = {"RAMB36E2": 2, "RAMB18E2": 1, "URAM288": 3, "SRL16E": 4, "LUT6": 5, "FDRE": 6}
    kinds |= {"RAM64X1D": 1, "RAM256X1S": 1}
    bare = {"parameters": {}, "port_directions": {}, "connections": {}}
    cells = {f"{kind}_{i}": bare | {"type": kind} for kind in kinds for i in range(kinds[kind])}
    found = count({"cells": cells, "ports": {}, "netnames": {}}, TARGETS["ultrascale+"])
    assert (found.bram, found.uram, found.lut, found.ff) == (2.5, 3, 9 + 6, 6)
    assert (found.lut_memory, found.cells, found.logic_depth) == (6, kinds, 0)


def test_an_unknown_target_is_refused():
    with pytest.raises(
        ConfigError, match=r"^there is no target 'asic'; known are ultrascale\+, ecp5$"
    ):
        synthesise(emit(Product, 8), "asic")
