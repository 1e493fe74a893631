"""The model of the slice and the primitive's wiring, both against a slice written for this test.

The reference works on the primitive's own pins and parameters, as they are read back from the
emitted Verilog. So what is compared is the model with the slice that would be placed.
"""

import itertools
import json
import random
import re
from dataclasses import replace

import pytest
from amaranth.hdl import ClockDomain, Module
from amaranth.sim import Simulator
from dsp48e2_reference import OUTPUTS, Placed, Slice, signed

from golden.spec.dsp48e2 import PACKED_MULTIPLIER, PRE_ADDERS, Dsp48e2Config, ZSource
from golden.spec.errors import ConfigError, ToolError
from hw import yosys
from hw.cosim import lint
from hw.dsp48e2 import Dsp48e2, Dsp48e2Primitive
from hw.emit import emit

WIDTHS = {"a": 30, "b": 18, "c": 48, "d": 27, "acin": 30, "bcin": 18, "pcin": 48}
MOST = {"areg": 2, "breg": 2} | dict.fromkeys(
    ("creg", "dreg", "adreg", "mreg", "preg", "opmodereg"), 1
)
LIBRARY = "read_verilog -lib -specify +/xilinx/cells_sim.v +/xilinx/cells_xtra.v"


def simulate(config, bench):
    """Run `bench(ctx, model, reset)` on the model in Amaranth's simulator."""
    m = Module()
    m.domains.sync = domain = ClockDomain()
    m.submodules.model = model = Dsp48e2(config)
    simulator = Simulator(m)
    simulator.add_clock(1e-6)

    async def run(ctx):
        await bench(ctx, model, domain.rst)

    simulator.add_testbench(run)
    simulator.run()


def stimulus(config, seed, cycles):
    """Yield the values of all ports: extremes and random words, holds and resets."""
    choose = random.Random(seed)
    for _ in range(cycles):
        ports = {
            name: choose.choice((0, 1, 2**bits - 1, 2 ** (bits - 1), 2 ** (bits - 1) - 1, word))
            for name, bits in WIDTHS.items()
            for word in (choose.getrandbits(bits),)
        }
        ports["z"] = int(choose.choice(config.z))
        yield ports | {"ce": int(choose.random() < 0.85), "rst": int(choose.random() < 0.03)}


def first_difference(config, folder, seed, cycles=80):
    """Return the first cycle in which model and slice differ, as text; "" where they never do."""
    placed = Placed(config, folder)
    reference = Slice(placed.parameters)
    found = []

    async def bench(ctx, model, reset):
        for cycle, ports in enumerate(stimulus(config, seed, cycles)):
            pins = placed.pins(ports | {"clk": 0})
            ctx.set(reset, ports["rst"])
            for name in ("ce", "z"):
                ctx.set(getattr(model, name), ports[name])
            for name, bits in WIDTHS.items():
                ctx.set(getattr(model, name), signed(ports[name], bits))
            expected, _ = reference.evaluate(pins)
            for name, bits in OUTPUTS.items():
                got, want = ctx.get(getattr(model, name)), signed(expected[name.upper()], bits)
                if got != want:
                    found.append(f"cycle {cycle}: {name} is {got} instead of {want}")
            reference.clock(pins)
            await ctx.tick()

    simulate(config, bench)
    return found[0] if found else ""


def random_config(choose):
    """Return any legal configuration."""
    while True:
        sources = [source for source in ZSource if choose.random() < 0.6]
        fields = {field: choose.randint(0, most) for field, most in MOST.items()}
        flags = {name: choose.random() < 0.3 for name in ("add_c", "a_cascade", "b_cascade")}
        try:
            return Dsp48e2Config(
                **fields, pre_adder=choose.choice(PRE_ADDERS), z=tuple(sources), **flags
            )
        except ConfigError:
            continue


RANDOM = [random_config(random.Random(seed)) for seed in range(48)]


def test_the_random_configurations_hold_every_value_of_every_field():
    for field, most in MOST.items():
        assert {getattr(config, field) for config in RANDOM} == set(range(most + 1))
    assert {config.pre_adder for config in RANDOM} == set(PRE_ADDERS)
    assert {source for config in RANDOM for source in config.z} == set(ZSource)
    for flag in ("add_c", "a_cascade", "b_cascade"):
        assert {getattr(config, flag) for config in RANDOM} == {False, True}


@pytest.mark.parametrize("seed", range(len(RANDOM)))
def test_the_model_is_the_slice_in_any_configuration(seed, tmp_path):
    assert first_difference(RANDOM[seed], tmp_path, seed) == ""


def test_the_model_is_the_slice_as_the_packed_multiplier_uses_it(tmp_path):
    assert first_difference(PACKED_MULTIPLIER, tmp_path, 0, cycles=2000) == ""


BREAKS = {
    "the pre-adder's sign": ("INMODE", 0b01100),
    "the pre-adder without D": ("INMODE", 0b00000),
    "a product that is left out": ("OPMODE", 0b00_001_0000),
}


@pytest.mark.parametrize("what", BREAKS)
def test_a_mode_pin_that_is_wired_wrongly_is_seen(what, tmp_path, monkeypatch):
    pin, value = BREAKS[what]
    pins = Placed.pins
    monkeypatch.setattr(Placed, "pins", lambda self, ports: pins(self, ports) | {pin: value})
    assert re.match(r"cycle \d+: p", first_difference(PACKED_MULTIPLIER, tmp_path, 0))


@pytest.mark.parametrize("attribute", ["AREG", "BREG", "DREG", "ADREG", "MREG", "OPMODEREG"])
def test_a_register_that_is_missing_is_seen(attribute, tmp_path, monkeypatch):
    init = Slice.__init__
    monkeypatch.setattr(Slice, "__init__", lambda self, given: init(self, given | {attribute: 0}))
    assert first_difference(PACKED_MULTIPLIER, tmp_path, 0) != ""


@pytest.mark.parametrize("config", [PACKED_MULTIPLIER, *RANDOM[:12]], ids=str)
def test_the_contract_is_how_long_a_value_takes(config):
    steady = {"a": 3, "b": 5, "c": 7, "d": 11, "acin": 3, "bcin": 5, "pcin": 13, "z": config.z[0]}
    used = ["acin" if config.a_cascade else "a", "bcin" if config.b_cascade else "b"]
    used += ["d"] if config.pre_adder != "none" else []
    used += ["c"] if config.add_c or config.z[0] == ZSource.C else []
    used += ["pcin"] if config.z[0] == ZSource.PCIN else []
    used += ["z"] if len(config.z) > 1 and ZSource.P not in config.z else []

    async def bench(ctx, model, reset):
        for port in used if config.z[0] != ZSource.P else []:
            for name, value in {**steady, "ce": 1}.items():
                ctx.set(getattr(model, name), int(value))
            await ctx.tick().repeat(8)
            before, cycles = ctx.get(model.p), 0
            ctx.set(getattr(model, port), int(config.z[-1]) if port == "z" else 1000)
            while ctx.get(model.p) == before:
                await ctx.tick()
                cycles += 1
            assert cycles == Dsp48e2.cycles(config, port), port

    simulate(config, bench)


def test_sums_wrap_around_at_48_bits_and_the_pre_adder_at_27():
    config = Dsp48e2Config(areg=0, breg=0, mreg=0, preg=0, pre_adder="add")

    async def bench(ctx, model, reset):
        for name, value in {"d": 2**26 - 1, "a": 1, "b": 1, "z": 0}.items():
            ctx.set(getattr(model, name), value)
        assert ctx.get(model.p) == -(2**26)
        for name, value in {"d": 0, "z": 1, "pcin": 2**47 - 1}.items():
            ctx.set(getattr(model, name), value)
        assert ctx.get(model.p) == -(2**47)

    simulate(config, bench)


def check_against_the_library(verilog, top, folder):
    (folder / "design.v").write_text(verilog)
    yosys.run(LIBRARY, f"read_verilog {folder}/design.v", f"hierarchy -check -top {top}")


@pytest.mark.parametrize(
    ("pattern", "replacement"), [("", ""), (".PCIN(", ".PCYN("), (".AREG(", ".AREGS(")]
)
def test_yosys_knows_the_primitives_ports_and_parameters(pattern, replacement, tmp_path):
    design = emit(Dsp48e2Primitive, PACKED_MULTIPLIER)
    verilog = design.verilog.replace(pattern, replacement)
    if not pattern:
        check_against_the_library(verilog, design.top, tmp_path)
        return
    with pytest.raises(ToolError, match="Yosys failed"):
        check_against_the_library(verilog, design.top, tmp_path)


def test_every_parameter_and_every_input_pin_is_given(tmp_path):
    placed = Placed(PACKED_MULTIPLIER, tmp_path)
    library = tmp_path / "library.json"
    yosys.run(
        "read_verilog -lib +/xilinx/cells_xtra.v",
        f"write_json {library}",
    )
    cell = json.loads(library.read_text())["modules"]["DSP48E2"]
    assert set(placed.parameters) == set(cell["parameter_default_values"])
    pins = {name: port for name, port in cell["ports"].items() if port["direction"] == "input"}
    assert set(placed.pins(dict.fromkeys([*WIDTHS, "ce", "z", "clk", "rst"], 0))) == set(pins)
    for name, port in pins.items():
        assert len(placed.connections[name]) == len(port["bits"]), name


def test_model_and_primitive_are_the_same_module_from_outside():
    model, primitive = emit(Dsp48e2, PACKED_MULTIPLIER), emit(Dsp48e2Primitive, PACKED_MULTIPLIER)
    assert (model.top, model.ports) == (primitive.top, primitive.ports)
    assert Dsp48e2.primitives == {"ultrascale+": Dsp48e2Primitive}
    assert "DSP48E2 #(" in primitive.verilog and "DSP48E2" not in model.verilog


def test_every_configuration_has_a_name_of_its_own():
    base = Dsp48e2Config(creg=1, pre_adder="add", z=(ZSource.ZERO, ZSource.PCIN, ZSource.C))
    others = {field: 1 - getattr(base, field) for field in MOST}
    others |= {"add_c": True, "a_cascade": True, "b_cascade": True, "pre_adder": "subtract"}
    changed = [replace(base, **{field: value}) for field, value in others.items()]
    distinct = list(dict.fromkeys([base, *changed, *RANDOM]))
    assert len({config.name for config in distinct}) == len(distinct)


@pytest.mark.parametrize("config", [PACKED_MULTIPLIER, *RANDOM[:4]], ids=str)
def test_verilator_has_no_warning_about_the_model(config):
    assert lint(emit(Dsp48e2, config)) == []


def refuses(message):
    return pytest.raises(ConfigError, match=f"^{re.escape(message)}$")


@pytest.mark.parametrize(("field", "wrong"), list(itertools.product(MOST, (-1, 3, "1", None))))
def test_registers_that_the_slice_does_not_have_are_refused(field, wrong):
    with refuses(f"{field} is {wrong!r}; allowed are 0 to {MOST[field]} registers"):
        Dsp48e2Config(**{field: wrong})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"pre_adder": "minus"},
            "pre_adder is 'minus'; allowed are none, add, subtract",
        ),
        (
            {"z": ()},
            "z is (); one or more of ZSource are allowed, each once, by their codes",
        ),
        (
            {"z": (1, 0)},
            "z is (1, 0); one or more of ZSource are allowed, each once, by their codes",
        ),
        (
            {"z": (0, 7)},
            "z is (0, 7); one or more of ZSource are allowed, each once, by their codes",
        ),
        ({"dreg": 1}, "dreg is 1; without a pre-adder only 0 is allowed"),
        ({"adreg": 1}, "adreg is 1; without a pre-adder only 0 is allowed"),
        ({"creg": 1}, "creg is 1; where nothing adds C only 0 is allowed"),
        (
            {"preg": 0, "z": (ZSource.P,)},
            "preg is 0; where P is added to itself only 1 is allowed",
        ),
        ({"mreg": 0, "opmodereg": 1}, "opmodereg is 1; without mreg only 0 is allowed"),
        (
            {"opmodereg": 1, "add_c": True},
            "opmodereg is 1; with add_c and without creg only 0 is allowed",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(fields, message):
    with refuses(message):
        Dsp48e2Config(**fields)
