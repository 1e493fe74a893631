"""The simulation models of the vendors' cells, against slices in plain integers.

Every pin is driven with random words; the parameters are random too.
"""

import random
import re

import numpy as np
import pytest
from dsp48e2_reference import Slice, signed
from one_port import OnePort, pack

from golden.spec.errors import ToolError
from hw import cosim
from hw.benches.vectors import run_vectors
from hw.emit import Design, Port, emit
from hw.mult18x18d import Mult18x18d

CYCLES = 400

DATA = {"A": 30, "ACIN": 30, "B": 18, "BCIN": 18, "C": 48, "D": 27, "PCIN": 48}
MODES = {"OPMODE": 9, "INMODE": 5, "ALUMODE": 4, "CARRYINSEL": 3, "CARRYIN": 1}
ENABLES = ("CEA1", "CEA2", "CEB1", "CEB2", "CEC", "CED", "CEAD", "CEM", "CEP")
ENABLES += ("CECTRL", "CEINMODE", "CEALUMODE", "CECARRYIN")
RESETS = ("RSTA", "RSTB", "RSTC", "RSTD", "RSTM", "RSTP")
RESETS += ("RSTCTRL", "RSTINMODE", "RSTALUMODE", "RSTALLCARRYIN")
UNUSED = {"CARRYCASCIN": 1, "MULTSIGNIN": 1}
PINS = DATA | MODES | dict.fromkeys((*ENABLES, *RESETS), 1) | UNUSED
OUTPUTS = {"P": 48, "PCOUT": 48, "ACOUT": 30, "BCOUT": 18}


def random_parameters(choose):
    """Return the parameters of any DSP48E2 that is modelled."""
    one_or_none = ("CREG", "DREG", "ADREG", "MREG", "PREG", "OPMODEREG", "INMODEREG")
    a, b = choose.randint(0, 2), choose.randint(0, 2)
    return {
        **{name: choose.randint(0, 1) for name in one_or_none},
        **{"AREG": a, "ACASCREG": a, "BREG": b, "BCASCREG": b},
        **dict.fromkeys(("ALUMODEREG", "CARRYINREG", "CARRYINSELREG"), 0),
        **{f"{port}_INPUT": choose.choice(("DIRECT", "CASCADE")) for port in "AB"},
        "AMULTSEL": choose.choice(("A", "AD")),
        "RND": choose.getrandbits(48),
    }


def instance(cell, name, parameters, pins):
    """Return an instance in Verilog."""

    def value(given):
        return f'"{given}"' if isinstance(given, str) else f"48'h{given:x}"

    given = ", ".join(f".{key}({value(v)})" for key, v in parameters.items())
    wired = ", ".join(f".{pin}({wire})" for pin, wire in pins.items())
    return f"  {cell} #({given}) {name} ({wired});"


def slices(all_parameters):
    """Return a design of slices with the same inputs, whose outputs stand side by side in `o`."""
    wires, at = {"CLK": "clk"}, 0
    for pin, width in PINS.items():
        wires[pin] = f"i[{at} +: {width}]"
        at += width
    lines, to = [], 0
    for k, parameters in enumerate(all_parameters):
        outputs = {}
        for pin, width in OUTPUTS.items():
            outputs[pin] = f"o[{to} +: {width}]"
            to += width
        lines.append(instance("DSP48E2", f"slice_{k}", parameters, wires | outputs))
    return wrapped("slices", lines, at, to)


def wrapped(top, lines, inputs, outputs):
    """Return a design with the ports of the bench `hw.benches.vectors`."""
    head = f"module {top}(input clk, input [{inputs - 1}:0] i, output [{outputs - 1}:0] o);"
    ports = (Port("clk", "input", 1), Port("i", "input", inputs), Port("o", "output", outputs))
    return Design(top, "\n".join([head, *lines, "endmodule", ""]), (top,), ports)


def stimulus(choose):
    """Yield values for every pin: extremes and random words, and any mode that is modelled."""
    for _ in range(CYCLES):
        word = {
            pin: choose.choice((0, 1, 2**n - 1, 2 ** (n - 1), 2 ** (n - 1) - 1, any_))
            for pin, n in (DATA | UNUSED | {"CARRYIN": 1}).items()
            for any_ in (choose.getrandbits(n),)
        }
        x, y = choose.choice(((0, 0), (1, 1), (0, 3)))
        z, w = choose.choice((0, 1, 3)), choose.choice((0, 2, 3))
        word |= {"OPMODE": w << 7 | z << 4 | y << 2 | x, "ALUMODE": 0, "CARRYINSEL": 0}
        word["INMODE"] = choose.getrandbits(3) << 1
        word |= {pin: int(choose.random() < 0.85) for pin in ENABLES}
        word |= {pin: int(choose.random() < 0.03) for pin in RESETS}
        yield word


def as_bytes(values, widths):
    """Return the values side by side, the first one lowest, as little-endian bytes."""
    whole, at = 0, 0
    for name, width in widths.items():
        whole |= values[name] << at
        at += width
    return np.frombuffer(whole.to_bytes((at + 7) // 8, "little"), np.uint8)


def fields(row, widths, count):
    """Yield `count` groups of values, as they stand side by side in the bytes `row`."""
    whole = int.from_bytes(row.tobytes(), "little")
    for _ in range(count):
        group = {}
        for name, width in widths.items():
            group[name] = whole % 2**width
            whole >>= width
        yield group


def with_feedback(word):
    """Return the word, with P chosen in place of each other source that is free."""
    w, z = word["OPMODE"] >> 7, word["OPMODE"] >> 4 & 7
    return word | {
        "OPMODE": word["OPMODE"] & 0b1111 | (2 if z == 3 else z) << 4 | (1 if w == 3 else w) << 7
    }


@pytest.mark.parametrize("feedback", [False, True])
def test_the_dsp48e2_is_the_slice_of_the_reference(feedback, tmp_path):
    choose = random.Random(1 + feedback)
    all_parameters = [random_parameters(choose) for _ in range(24)]
    stream = list(stimulus(choose))
    if feedback:
        # With X as P too.
        stream = [with_feedback(word) for word in stream]
        all_parameters = [parameters | {"PREG": 1} for parameters in all_parameters]
    words = np.stack([as_bytes(word, PINS) for word in stream])
    (seen,) = run_vectors(cosim.build(slices(all_parameters)), words, tmp_path)
    references = [Slice(parameters) for parameters in all_parameters]
    for cycle, (word, row) in enumerate(zip(stream, seen, strict=True)):
        for k, (reference, got) in enumerate(
            zip(references, fields(row, OUTPUTS, len(references)), strict=True)
        ):
            assert got == reference.evaluate(word)[0], (cycle, k, all_parameters[k])
            reference.clock(word)


REGISTERS = ("INPUTA", "INPUTB", "PIPELINE", "OUTPUT")


def multipliers(all_registers):
    """Return MULT18X18Ds with these registers and the same inputs: A, B, SIGNEDA and B, CE, RST."""
    wires = {f"A{k}": f"i[{k}]" for k in range(18)} | {f"B{k}": f"i[{18 + k}]" for k in range(18)}
    wires |= {f"C{k}": "1'b0" for k in range(18)} | {"CLK0": "clk", "CE0": "i[36]"}
    wires |= {"RST0": "i[37]", "SOURCEA": "1'b0", "SOURCEB": "1'b0"}
    lines = []
    for k, (is_signed, registers) in enumerate(all_registers):
        parameters = {f"REG_{name}_CLK": "CLK0" for name in registers}
        pins = wires | {f"P{j}": f"o[{36 * k + j}]" for j in range(36)}
        pins |= {f"SIGNED{port}": f"1'b{int(is_signed)}" for port in "AB"}
        lines.append(instance("MULT18X18D", f"multiplier_{k}", parameters, pins))
    return wrapped("multipliers", lines, 38, 36 * len(all_registers))


def test_the_mult18x18d_multiplies_behind_the_registers_that_it_has(tmp_path):
    choose = random.Random(3)
    all_registers = [
        (is_signed, [name for k, name in enumerate(REGISTERS) if chosen >> k & 1])
        for is_signed in (True, False)
        for chosen in range(16)
    ]
    extremes = (0, 1, 2**17 - 1, 2**17, 2**18 - 1)
    stream = [
        {
            **{name: choose.choice((*extremes, choose.getrandbits(18))) for name in "AB"},
            **{"CE": int(choose.random() < 0.85), "RST": int(choose.random() < 0.03)},
        }
        for _ in range(CYCLES)
    ]
    words = np.stack([as_bytes(word, {"A": 18, "B": 18, "CE": 1, "RST": 1}) for word in stream])
    (seen,) = run_vectors(cosim.build(multipliers(all_registers)), words, tmp_path)
    states = [dict.fromkeys(REGISTERS, 0) for _ in all_registers]

    def evaluate(state, word, is_signed, registers):
        load = {}

        def behind(name, value):
            load[name] = value
            return state[name] if name in registers else value

        a, b = behind("INPUTA", word["A"]), behind("INPUTB", word["B"])
        product = signed(a, 18) * signed(b, 18) if is_signed else a * b
        return behind("OUTPUT", behind("PIPELINE", product % 2**36)), load

    for word, row in zip(stream, seen, strict=True):
        got = fields(row, {"P": 36}, len(states))
        for state, (is_signed, registers), value in zip(states, all_registers, got, strict=True):
            product, load = evaluate(state, word, is_signed, registers)
            assert value["P"] == product, registers
            if word["RST"]:
                state.update(dict.fromkeys(REGISTERS, 0))
            elif word["CE"]:
                state.update(load)


@pytest.mark.parametrize("target", ["generic", "ecp5"])
def test_the_multiplier_of_every_target_takes_three_cycles_and_is_cleared(target, tmp_path):
    generator = np.random.default_rng(4)
    ends = np.array([-(2**17), -(2**17) + 1, -1, 0, 1, 2**17 - 1])
    factors = np.where(
        generator.random((2, CYCLES)) < 0.5,
        generator.choice(ends, (2, CYCLES)),
        generator.integers(-(2**17), 2**17, (2, CYCLES)),
    )
    resets = generator.random(CYCLES) < 0.1
    multiplier = OnePort(Mult18x18d)
    words = pack(multiplier.i.shape(), dict(zip("ab", factors, strict=True)))
    design = emit(OnePort, Mult18x18d, target=target)
    (seen,) = run_vectors(cosim.build(design), words, tmp_path, resets=resets)
    cycles = Mult18x18d.cycles()
    for k in range(cycles, CYCLES):
        product = (
            0
            if resets[k - cycles : k].any()
            else int(factors[0, k - cycles]) * int(factors[1, k - cycles])
        )
        assert int.from_bytes(seen[k].tobytes(), "little") == product % 2**36, k


GOOD = random_parameters(random.Random(0))
WRONG = [
    {"AREG": 3, "ACASCREG": 3},
    {"CREG": 2},
    {"AREG": 2, "ACASCREG": 1},
    {"ALUMODEREG": 1},
    {"A_INPUT": "BOTH"},
    {"PREADDINSEL": "B"},
    {"USE_SIMD": "TWO24"},
    {"USE_MULT": "DYNAMIC"},
    {"USE_PATTERN_DETECT": "PATDET"},
    {"USE_WIDEXOR": "TRUE"},
    {"IS_OPMODE_INVERTED": 1},
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_dsp48e2_that_is_not_modelled_is_refused(wrong):
    with pytest.raises(ToolError, match="DSP48E2: "):
        cosim.build(slices([GOOD | wrong]))


@pytest.mark.parametrize(
    "wrong",
    [
        {"REG_OUTPUT_CLK": "CLK1"},
        {"REG_INPUTC_CLK": "CLK0"},
        {"REG_INPUTA_CE": "CE1"},
        {"RESETMODE": "ASYNC"},
        {"MULT_BYPASS": "ENABLED"},
        {"CAS_MATCH_REG": "TRUE"},
    ],
    ids=str,
)
def test_a_mult18x18d_that_is_not_modelled_is_refused(wrong):
    design = multipliers([(True, ())])
    given = ", ".join(f'.{name}("{value}")' for name, value in wrong.items())
    with pytest.raises(ToolError, match="MULT18X18D: "):
        cosim.build(
            Design(design.top, design.verilog.replace("#()", f"#({given})"), (), design.ports)
        )


@pytest.mark.parametrize(
    ("pin", "value", "message"),
    [
        ("OPMODE", 0b00_100_0000, "OPMODE 001000000 is not modelled"),
        ("OPMODE", 0b00_000_0001, "OPMODE 000000001 is not modelled"),
        ("OPMODE", 0b00_000_0011, "OPMODE 000000011 is not modelled"),
        ("OPMODE", 0b00_010_0000, "OPMODE 000100000 needs PREG"),
        ("INMODE", 0b10000, "INMODE 10000 is not modelled"),
        ("ALUMODE", 0b0011, "ALUMODE 0011 with CARRYINSEL 000 is not modelled"),
        ("CARRYINSEL", 1, "ALUMODE 0000 with CARRYINSEL 001 is not modelled"),
    ],
)
def test_a_mode_that_is_not_modelled_stops_the_simulation(pin, value, message, tmp_path):
    parameters = GOOD | {"PREG": 0, "OPMODEREG": 0, "INMODEREG": 0}
    words = np.stack([as_bytes(dict.fromkeys(PINS, 0) | {pin: value}, PINS)] * 3)
    with pytest.raises(ToolError, match="broke off"):
        run_vectors(cosim.build(slices([parameters])), words, tmp_path)
    assert re.search(rf"slices\.slice_0: {message}", (tmp_path / "log").read_text())


def test_the_models_have_no_pin_of_what_is_not_modelled():
    design = slices([GOOD])
    verilog = design.verilog.replace(".P(", ".CARRYOUT(), .P(")
    with pytest.raises(ToolError, match="CARRYOUT"):
        cosim.build(Design(design.top, verilog, design.modules, design.ports))
