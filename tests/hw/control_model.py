"""What the control registers must do, cycle by cycle: the contract, in plain integers."""

from golden.spec.control import COUNTER_BITS, COUNTERS, IDENTITY, REGISTERS, Access, Control, Status
from golden.spec.isa import BASES, Unit
from hw.benches.control import COLUMNS

OKAY, SLVERR = 0, 2
NAMES = {register.offset: register.name for register in REGISTERS.values()}
EVENTS = Status.DONE | Status.ERROR | Status.INTERRUPT


class Model:
    """The registers. `zero` is what a counter is set to; `seen` names what has happened."""

    def __init__(self, zero=0):
        self.zero = zero
        self.held = {"aw": None, "w": None, "ar": None}  # what was taken of the host
        self.offered = {"b": None, "r": None}  # what it is answered
        self.values = dict.fromkeys(REGISTERS, 0) | {"IDENTITY": IDENTITY}
        self.status = Status(0)
        self.counters = dict.fromkeys(COUNTERS, 0)
        self.kept = 0
        self.seen = set()

    def step(self, pins):
        """Return the outputs that matter in this cycle, and go on to the next one."""
        out = {f"s_axi_{name}ready": held is None for name, held in self.held.items()}
        out |= {f"s_axi_{name}valid": answer is not None for name, answer in self.offered.items()}
        if self.offered["b"] is not None:
            out["s_axi_bresp"] = self.offered["b"]
        if self.offered["r"] is not None:
            out["s_axi_rresp"], out["s_axi_rdata"] = self.offered["r"]
        out["irq"] = Status.INTERRUPT in self.status and self.values["INTERRUPT_ENABLE"]
        out["bases"] = sum(self.pair(f"BASE_{k}") << 34 * k for k in range(BASES))
        out |= {"start": False, "stop": False}
        free = {n: self.offered[n] is None or pins[f"s_axi_{n}ready"] for n in self.offered}
        answer = {"r": None, "b": None}
        if free["r"] and self.held["ar"] is not None:
            answer["r"] = self.read(pins)
        if free["b"] and self.held["aw"] is not None and self.held["w"] is not None:
            answer["b"] = self.write(pins, out)
        if pins["busy"] or out["start"]:
            words = self.values["PROGRAM_WORDS"]
            out["o_program"] = self.pair("PROGRAM_ADDRESS") | (words - 1) << 34
        self.offered |= {name: answer[name] for name in "rb" if free[name]}
        self.note(pins)
        self.count(pins, out["start"])
        for name in self.held:
            if pins[f"s_axi_{name}valid"] and out[f"s_axi_{name}ready"]:
                is_data = name == "w"
                data = pins["s_axi_wdata"], pins["s_axi_wstrb"]
                self.held[name] = data if is_data else pins[f"s_axi_{name}addr"]
        return out

    def pair(self, name):
        return self.values[f"{name}_LOW"] | self.values[f"{name}_HIGH"] << 32

    def read(self, pins):
        """Return the response to the read that is there, and its data."""
        name, self.held["ar"] = NAMES.get(self.held["ar"]), None
        if name is None:
            self.seen.add("read of nothing")
            return SLVERR, 0
        counter, _, half = name.rpartition("_")
        if counter in COUNTERS:
            if half == "LOW":
                self.kept = self.counters[counter] >> 32
            return OKAY, self.counters[counter] % (1 << 32) if half == "LOW" else self.kept
        return OKAY, self.status | pins["busy"] if name == "STATUS" else self.values[name]

    def write(self, pins, out):
        """Do the write that is there; return its response."""
        name, (data, strobe) = NAMES.get(self.held["aw"]), self.held["w"]
        self.held |= {"aw": None, "w": None}
        register = REGISTERS.get(name)
        if register is None or register.access is Access.READ:
            self.seen.add("write of what is only read" if register else "write of nothing")
            return SLVERR
        if register.access is Access.COMMAND:
            return self.command(Control(data & 3 if strobe & 1 else 0), pins, out)
        if register.access is Access.CLEAR:
            cleared = Status(data & EVENTS if strobe & 1 else 0)
            happens = pins["done"] * Status.DONE | pins["failed"] * Status.ERROR
            self.seen |= {f"{flag.name} beside a write" for flag in cleared & happens}
            self.status &= ~cleared
            return OKAY
        if register.access is Access.SETTING and pins["busy"]:
            self.seen.add("setting while busy")
            return SLVERR
        mask = sum(0xFF << 8 * lane for lane in range(4) if strobe >> lane & 1)
        value = self.values[name] & ~mask | data & mask
        self.values[name] = value % (1 << register.bits)
        return OKAY

    def command(self, command, pins, out):
        if Control.START not in command:
            out["stop"] = bool(command and pins["busy"])
            self.seen.add("stop" if out["stop"] else "no stop")
            return OKAY
        words = self.values["PROGRAM_WORDS"]
        refused = {
            "start while busy": pins["busy"],
            "start and stop": Control.STOP in command,
            "start of nothing": words == 0,
            "start of too much": words > 1 << 23,
        }
        self.seen |= {reason for reason, given in refused.items() if given}
        if any(refused.values()):
            return SLVERR
        out["start"] = True
        self.seen.add("longest program" if words == 1 << 23 else "start")
        self.status = Status(0)
        self.values |= {"ERROR_CODE": 0, "ERROR_PC": 0}
        return OKAY

    def note(self, pins):
        """Keep what the core reports."""
        if pins["done"]:
            self.status |= Status.DONE
            self.status |= Status.INTERRUPT * pins["interrupt_request"]
        if pins["failed"] and self.values["ERROR_CODE"]:
            self.seen.add("a second failure")
        elif pins["failed"]:
            self.status |= Status.ERROR | Status.INTERRUPT
            code, pc = pins["error"] % 8, pins["error"] >> 3
            self.values |= {"ERROR_CODE": code, "ERROR_PC": pc}

    def count(self, pins, started):
        events = {"CYCLES": 1, "WORDS": pins["word_taken"], "STARVED": pins["starved"]}
        for unit in Unit:
            events[f"BUSY_{unit.name}"] = pins["busy_units"] >> unit & 1
            events[f"WAITING_{unit.name}"] = pins["waiting_units"] >> unit & 1
        for name, event in events.items():
            if started or pins["clear"]:
                self.counters[name] = self.zero
            else:
                counted = self.counters[name] + (pins["busy"] and event)
                self.counters[name] = counted % (1 << COUNTER_BITS)


def compare(rows, model):
    """Return what is wrong in a log of the bench, or an empty text."""
    for cycle, row in enumerate(rows):
        pins = dict(zip(COLUMNS, row, strict=True))
        for name, value in model.step(pins).items():
            if pins[name] != value:
                return f"cycle {cycle}: {name} is {pins[name]:#x} instead of {int(value):#x}"
    return ""
