"""The store unit between memories of random content: its runs, and what must have come of them."""

from dataclasses import dataclass
from itertools import product

import numpy as np
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from payload_rows import to_bytes

from golden.bit_packing import pack_fields
from golden.numbers import signed_range
from golden.spec.core import CoreConfig
from golden.spec.instruction import Instruction, instruction
from golden.spec.isa import ADDRESS_BITS, BASES, PC_BITS, ErrorCode, Memory, Unit
from golden.spec.special_function_unit import WIDE_BITS
from hw.axi import write_ports
from hw.emit import add, emit
from hw.isa import error_layout, instruction_layout
from hw.memory_model import MemoryTiming, read_written, with_memory, write_image, write_timing
from hw.player import Case, play, random_pauses
from hw.random_programs import random_instruction
from hw.store_unit import StoreUnit, port_prefixes

CAPACITY = 1 << 16
"""Bytes of each memory."""

CONFIG = CoreConfig(chains=3, m=8, vector_depth=32, activation_depth=64, outstanding=4)
WORD = CONFIG.word_bytes
EVENT = data.StructLayout({"error": error_layout(), "rule": 1})
BURST = data.StructLayout({"port": 8, "address": ADDRESS_BITS, "more_beats": 8, "rule": 1})


def vector_content(config):
    """Return what lies in the vector buffer, int64 [words, m]; small and extreme values too."""
    random = np.random.default_rng(1)
    low, high = signed_range(WIDE_BITS)
    words = random.integers(low, high + 1, (config.vector_depth, config.m))
    words >>= random.integers(0, WIDE_BITS, (config.vector_depth, 1))
    words[3, :2] = low, high
    return words


def activation_content(config):
    """Return what lies in the activation memory, int8 [words, lanes, m]."""
    shape = (config.activation_depth, 2, config.m)
    return np.random.default_rng(2).integers(-128, 128, shape, np.int8)


class StoreBench(wiring.Component):
    """The unit with its memories on the chip, its AXI4 ports, and streams of what happens.

    Members:
        stop_after: `stop` is high from so many bursts on; 0 for never.
        hold: addresses are taken only in every fourth cycle.
        o: a payload for each completion. o_error: one when an error rises. o_burst: one for each
            address taken.
    """

    def __init__(self, config, unit=StoreUnit):
        self.config, self.unit = config, unit
        self.module_name = f"store_bench_m{config.m}"
        members = StoreUnit(config).signature.members
        self.ports = [name for name in members if name.startswith("m_axi")]
        self.prefixes = port_prefixes(config)
        super().__init__(
            {
                **{name: members[name] for name in ("i", "bases", *self.ports)},
                **{"stop_after": In(16), "hold": In(1)},
                "o": Out(stream.Signature(EVENT)),
                "o_error": Out(stream.Signature(EVENT)),
                "o_burst": Out(stream.Signature(BURST)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        gated = [name for name in self.ports if name.endswith(("awvalid", "awready"))]
        through = {n: getattr(self, n) for n in ("i", "bases", *self.ports) if n not in gated}
        unit = add(m, platform, "unit", self.unit, config, **through)
        number = Signal(2)
        m.d.sync += number.eq(number + 1)
        for prefix in self.prefixes:
            (ours, theirs), (our_ready, their_ready) = (
                (getattr(self, f"{prefix}_{name}"), getattr(unit, f"{prefix}_{name}"))
                for name in ("awvalid", "awready")
            )
            passes = ~self.hold | (number == 0)
            m.d.comb += [ours.eq(theirs & passes), their_ready.eq(our_ready & passes)]
        vectors = pack_fields((vector_content(config), WIDE_BITS))
        activations = activation_content(config).reshape(config.activation_depth, -1)
        self.add_memory(m, unit.vector, vectors)
        self.add_memory(m, unit.activation, activations.view(np.uint8))
        rule = self.check_rules(m, unit)
        failed = Signal()
        m.d.sync += failed.eq(unit.error.code != ErrorCode.NONE)
        for event in (self.o, self.o_error):
            m.d.comb += [event.payload.error.eq(unit.error), event.payload.rule.eq(rule)]
        m.d.comb += [
            self.o.valid.eq(unit.complete),
            self.o_error.valid.eq((unit.error.code != ErrorCode.NONE) & ~failed),
        ]
        return m

    def add_memory(self, m, port, rows):
        rows = [int.from_bytes(row.tobytes(), "little") for row in rows]
        m.submodules += (store := memory.Memory(shape=len(port.word), depth=len(rows), init=rows))
        read = store.read_port()
        m.d.comb += [
            *(read.en.eq(port.enable), read.addr.eq(port.address), port.word.eq(read.data))
        ]

    def check_rules(self, m, unit):
        """Give the bursts; return a bit that stays when a rule of the ports was broken."""
        broken, bursts = [], Signal(16)
        flying = Signal(range(256))
        begins, answers = Signal(len(self.prefixes)), Signal(len(self.prefixes))
        for k, prefix in enumerate(self.prefixes):
            get = {name: getattr(unit, f"{prefix}_{name}") for name in self.names()}
            begins_here = get["awvalid"] & get["awready"]
            m.d.comb += [begins[k].eq(begins_here), answers[k].eq(get["bvalid"])]
            for kind, payload in (("aw", ("addr", "len")), ("w", ("data", "strb", "last"))):
                valid, now = get[f"{kind}valid"], Cat(get[kind + name] for name in payload)
                waited, before = Signal(), Signal.like(now)
                m.d.sync += [waited.eq(valid & ~get[f"{kind}ready"]), before.eq(now)]
                broken.append(waited & (~valid | (before != now)))
            with m.If(begins_here):
                m.d.comb += [
                    self.o_burst.payload.port.eq(k),
                    self.o_burst.payload.address.eq(get["awaddr"]),
                    self.o_burst.payload.more_beats.eq(get["awlen"]),
                ]
        valids = [
            Cat(getattr(unit, f"{p}_{n}") for n in ("awvalid", "wvalid")) for p in self.prefixes
        ]
        busy = [at.any() for at in valids]
        rested = Signal()
        m.d.comb += [
            self.o_burst.valid.eq(begins.any()),
            unit.stop.eq((self.stop_after != 0) & (bursts >= self.stop_after)),
        ]
        m.d.sync += [
            bursts.eq(bursts + begins.any()),
            flying.eq(flying + begins.any() - answers.any()),
            rested.eq(unit.stop & ~unit.busy),
        ]
        broken += [
            Cat(busy) & (Cat(busy) - 1) != 0,  # two ports at once
            unit.complete & (flying != 0),
            rested & unit.busy,
            (flying != 0) & ~unit.busy,
        ]
        rule = Signal()
        m.d.sync += rule.eq(rule | Cat(broken).any())
        m.d.comb += self.o_burst.payload.rule.eq(rule)
        return rule

    def names(self):
        return [name.removeprefix("_") for name in write_ports(self.config.write_axi, "")]


@dataclass
class Store:
    """An ST, its program counter, and what it does: the runs of each port, in their order."""

    fields: Instruction
    pc: int
    ports: list
    runs: list


def expand(config, fields, pc, bases):
    """Return the store of an instruction."""
    counts = [range(fields[f"count_{level}"]) for level in (3, 2, 1)]
    begin = bases[fields["base"]] + fields["offset"]
    strides = [fields[f"stride_{level}"] for level in (3, 2, 1)]
    runs = [
        ((begin + sum(i * s for i, s in zip(at, strides, strict=True))) % (1 << ADDRESS_BITS))
        for at in product(*counts)
    ]
    named = [k for k in range(config.chains) if fields["channels"] >> k & 1] or [config.chains]
    return Store(fields, pc, named, [(address, fields["length"]) for address in runs])


def stored_bytes(config, store):
    """Return what a store reads, uint8 [bytes]."""
    count = len(store.ports) * sum(length for _, length in store.runs)
    fields = store.fields
    if fields["memory"] == Memory.VECTOR:
        words = vector_content(config).astype("<i4").view(np.uint8).reshape(config.vector_depth, -1)
    else:
        words = activation_content(config)[:, fields["token"] % 2].view(np.uint8)
    at = (fields["start"] + np.arange(-(-count // words.shape[1]))) % len(words)
    return words[at].reshape(-1)[:count]


def initial_memories(config):
    """Return what lies in the memories at first, uint8 [bytes] each."""
    random = np.random.default_rng(3)
    return [random.integers(0, 256, CAPACITY, np.uint8) for _ in port_prefixes(config)]


def apply(config, store, memories, runs=None):
    """Write into the memories what a store writes, or what the first `runs` of each port do."""
    content = stored_bytes(config, store)
    for port in store.ports:
        for number, (address, length) in enumerate(store.runs):
            if runs is None or number < runs:
                memories[port][address : address + length] = content[:length]
            content = content[length:]


def bursts_of(config, store):
    """Return the bursts that must be seen, as payloads' fields."""
    axi, found = config.write_axi, []
    for port, (address, length) in product(store.ports, store.runs):
        first = address - address % axi.word_bytes
        words = (address + length - 1) // axi.word_bytes - address // axi.word_bytes + 1
        for beats in axi.bursts(first, words):
            found.append({"port": port, "address": first, "more_beats": beats - 1, "rule": 0})
            first += beats * axi.word_bytes
    return found


class Job:
    """Stores one behind the other, with base registers of their own."""

    def __init__(self, config, makers, random, share=0.0, **options):
        """Begin.

        Args:
            makers: each gives the fields of an ST from a random generator; `address` among them is
                where the first run begins.
        """
        self.config = config
        self.bases = random.integers(1 << ADDRESS_BITS, size=BASES).tolist()
        self.stores = []
        for maker in makers:
            given = dict(maker(random))
            base = int(random.integers(BASES))
            offset = (given.pop("address") - self.bases[base]) % (1 << ADDRESS_BITS)
            pc = int(random.integers(1 << PC_BITS))
            fields = instruction(Unit.ST, **{**given, "base": base, "offset": offset})
            self.stores.append(expand(config, fields, pc, self.bases))
        inputs = {"i": to_bytes(instruction_layout(Unit.ST), list(map(_payload, self.stores)))}
        self.bursts = [to_bytes(BURST, bursts_of(config, store)) for store in self.stores]
        outputs = {"o": len(self.stores), "o_error": 0, "o_burst": sum(map(len, self.bursts))}
        pauses = random_pauses(random, {"i": 200}, share) if share else {}
        levels = {"bases": sum(base << (ADDRESS_BITS * k) for k, base in enumerate(self.bases))}
        levels |= {name: options.pop(name, 0) for name in ("stop_after", "hold")}
        outputs |= options.pop("outputs", {})
        self.case = Case(inputs, outputs, pauses, levels, **options)

    def wrong(self, trace):
        """Return what is wrong with the completions and the bursts, or an empty text."""
        done = trace.outputs["o"]
        none = to_bytes(EVENT, [{"error": {"code": 0, "pc": s.pc}, "rule": 0} for s in self.stores])
        if not np.array_equal(done, none):
            return f"{len(done)} completions, or a broken rule"
        if not np.array_equal(trace.outputs["o_burst"], np.concatenate(self.bursts)):
            return "other bursts"
        before = np.searchsorted(trace.transfers("o_burst"), trace.transfers("o"))
        if before.tolist() != np.cumsum([len(bursts) for bursts in self.bursts]).tolist():
            return "completions at other times"
        return "an error" if len(trace.outputs["o_error"]) else ""

    def cycles(self, trace):
        """Return the cycles of each store, from the instruction taken to its completion."""
        return (trace.transfers("o") - trace.transfers("i") + 1).tolist()

    def contract(self, timing=None):
        """Return the cycles that they must take."""
        return [
            StoreUnit.cycles(self.config, Memory(s.fields["memory"]), s.runs, len(s.ports), timing)
            for s in self.stores
        ]


def _payload(store):
    form = store.fields.format
    values = dict(zip((f.name for f in form.fields), store.fields.values, strict=True))
    return {**values, "pc": store.pc}


def random_store(config, most=3, **fixed):
    """Return what makes the fields of random stores whose runs lie in the memories."""

    def make(random):
        while True:
            given = {f"count_{level}": int(random.integers(1, most + 1)) for level in (1, 2, 3)}
            reach = int(random.choice([4, 40, 1000, CAPACITY // 8]))
            for level in (1, 2, 3):
                given[f"stride_{level}"] = int(random.integers(-reach, reach + 1))
            size = config.word_bytes
            near = size * int(random.integers(1, 5)) + int(random.integers(-1, 2))
            lengths = [1, int(random.integers(1, 4)), near, int(random.integers(1, 10 * size))]
            given["length"] = lengths[int(random.integers(4))]
            given |= {"offset": 0, "base": 0, **fixed}
            drawn = random_instruction(random, Unit.ST, given, config.chains)
            address = int(random.integers(CAPACITY))
            runs = expand(config, drawn, 0, [address] * BASES).runs
            if all(at >= 0 and at + length <= CAPACITY for at, length in runs):
                values = dict(zip((f.name for f in drawn.format.fields), drawn.values, strict=True))
                del values["offset"], values["base"]
                return {**values, "address": address}

    return make


def build(config, unit=StoreUnit):
    """Return the bench with memories behind its ports."""
    design = emit(StoreBench, config, unit)
    return with_memory(design, dict.fromkeys(port_prefixes(config), CAPACITY))


def run(design, config, jobs, timing=None):
    """Play jobs one after the other; return their traces, and all memories at the end."""
    prefixes = port_prefixes(config)
    memories = initial_memories(config)
    found = [image.copy() for image in memories]

    def prepare(folder):
        for prefix, image in zip(prefixes, memories, strict=True):
            write_image(folder, prefix, image)
            write_timing(folder, prefix, timing or MemoryTiming())

    def collect(folder):
        for prefix, image in zip(prefixes, found, strict=True):
            low, content = read_written(folder, prefix)
            image[low : low + len(content)] = content

    traces = play(design, [job.case for job in jobs], prepare=prepare, collect=collect)
    return traces, found


def wrongs(config, jobs, traces, found):
    """Return what is wrong with each job, and with the memories at the end."""
    memories = initial_memories(config)
    for job in jobs:
        for store in job.stores:
            apply(config, store, memories)
    same = all(map(np.array_equal, found, memories))
    each = [job.wrong(trace) for job, trace in zip(jobs, traces, strict=True)]
    return [*each, "" if same else "other bytes in memory"]
