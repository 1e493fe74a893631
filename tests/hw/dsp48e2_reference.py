"""A DSP48E2 in plain integers, by UG579; knows nothing of the model that it is compared with."""

import json

from hw import yosys
from hw.dsp48e2 import Dsp48e2Primitive
from hw.emit import emit

OUTPUTS = {"p": 48, "pcout": 48, "acout": 30, "bcout": 18}


def signed(value, bits):
    value %= 1 << bits
    return value - (1 << bits) if value >> (bits - 1) else value


# Each register, the attribute that counts it, its clock enable and its reset.
REGISTERS = {
    **{"A1": ("AREG", 2, "CEA1", "RSTA"), "A2": ("AREG", 1, "CEA2", "RSTA")},
    **{"B1": ("BREG", 2, "CEB1", "RSTB"), "B2": ("BREG", 1, "CEB2", "RSTB")},
    **{"C": ("CREG", 1, "CEC", "RSTC"), "D": ("DREG", 1, "CED", "RSTD")},
    **{"AD": ("ADREG", 1, "CEAD", "RSTD"), "M": ("MREG", 1, "CEM", "RSTM")},
    **{"P": ("PREG", 1, "CEP", "RSTP"), "OPMODE": ("OPMODEREG", 1, "CECTRL", "RSTCTRL")},
    "INMODE": ("INMODEREG", 1, "CEINMODE", "RSTINMODE"),
    "ALUMODE": ("ALUMODEREG", 1, "CEALUMODE", "RSTALUMODE"),
}


class Slice:
    """A DSP48E2 by UG579: attributes and pins by their names there, every value an unsigned int."""

    def __init__(self, attributes):
        self.attributes = attributes
        self.state = dict.fromkeys(REGISTERS, 0)

    def evaluate(self, pins):
        """Return the output pins, and what each register would load."""
        attribute, load = self.attributes, {}

        def register(name, value):
            load[name] = value
            count, at_least, _, _ = REGISTERS[name]
            return self.state[name] if attribute[count] >= at_least else value

        a = register("A2", register("A1", pins[_choice(attribute["A_INPUT"], "A")]))
        b = register("B2", register("B1", pins[_choice(attribute["B_INPUT"], "B")]))
        c, d = register("C", pins["C"]), register("D", pins["D"])
        opmode, inmode = register("OPMODE", pins["OPMODE"]), register("INMODE", pins["INMODE"])
        alumode = register("ALUMODE", pins["ALUMODE"])
        # INMODE[0] and [4] choose A1 and B1; [1] gates A, [2] lets D in, [3] subtracts A.
        assert inmode & 0b10001 == 0
        a_or_0 = 0 if inmode & 2 else a % 2**27
        d_or_0 = d if inmode & 4 else 0
        ad = register("AD", (d_or_0 + (-a_or_0 if inmode & 8 else a_or_0)) % 2**27)
        factor = {"A": a % 2**27, "AD": ad}[attribute["AMULTSEL"]]
        product = register("M", signed(factor, 27) * signed(b, 18) % 2**48)
        before = self.state["P"]
        x = (0, product, before, a << 18 | b)[opmode & 3]
        y = (0, 0, 2**48 - 1, c)[opmode >> 2 & 3]  # 01 is the product's other half
        assert (opmode & 3 == 1) == (opmode >> 2 & 3 == 1)
        z = (0, pins["PCIN"], before, c)[opmode >> 4 & 7]
        w = (0, before, attribute["RND"], c)[opmode >> 7]
        assert alumode == 0
        p = register("P", (z + w + x + y + pins["CARRYIN"]) % 2**48)
        return {"P": p, "PCOUT": p, "ACOUT": a, "BCOUT": b}, load

    def clock(self, pins):
        _, load = self.evaluate(pins)
        for name, (_, _, enable, reset) in REGISTERS.items():
            if pins[reset]:
                self.state[name] = 0
            elif pins[enable]:
                self.state[name] = load[name]


def _choice(source, port):
    return {"DIRECT": port, "CASCADE": f"{port}CIN"}[source]


class Placed:
    """The slice in the emitted primitive: its attributes, and its pins by the module's ports."""

    def __init__(self, config, folder):
        design = emit(Dsp48e2Primitive, config)
        (folder / "primitive.v").write_text(design.verilog)
        yosys.run(
            f"read_verilog {folder}/primitive.v", "opt_clean", f"write_json {folder}/primitive.json"
        )
        module = json.loads((folder / "primitive.json").read_text())["modules"][design.top]
        (cell,) = (c for c in module["cells"].values() if c["type"] == "DSP48E2")
        self.parameters = {
            name: int(value, 2) if set(value) <= {"0", "1"} else value
            for name, value in cell["parameters"].items()
        }
        self.connections = cell["connections"]
        self._source = {
            bit: (name, i)
            for name, port in module["ports"].items()
            if port["direction"] == "input"
            for i, bit in enumerate(port["bits"])
        }
        outputs = {name: module["ports"][name]["bits"] for name in OUTPUTS}
        assert outputs == {name: cell["connections"][name.upper()] for name in OUTPUTS}
        self._inputs = set(self.connections) - {name.upper() for name in OUTPUTS}

    def pins(self, ports):
        """Return the value at every input pin for the values at the module's ports."""
        return {pin: self._value(self.connections[pin], ports) for pin in self._inputs}

    def _value(self, bits, ports):
        value = 0
        for i, bit in enumerate(bits):
            if bit in self._source:
                name, at = self._source[bit]
                bit = ports[name] >> at & 1
            value |= int(bit) << i
        return value
