"""The product unit in Verilator: MV and MM of all kinds one after the other, against golden."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from amaranth.hdl import Module, Mux
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from proofs import broken

from golden.core_interpreter import Core
from golden.spec.errors import ToolError
from golden.spec.instruction import instruction
from golden.spec.isa import SystemOperation, Unit, Weights
from hw import cosim, product_unit
from hw.core_cases import BASES, CONFIG, images
from hw.emit import add, emit
from hw.isa import instruction_layout
from hw.load_unit import vector_write_layout
from hw.player import Case, play, random_pauses
from hw.product_unit import ProductUnit
from hw.replay_buffer import ReplayBuffer
from hw.weight_stream_reader import read_weight_stream

SMALL = replace(CONFIG, replay_words=64)
WORDS = [f"i_words__{chain}" for chain in range(SMALL.chains)]
END = instruction(Unit.SYS, op=SystemOperation.END)
OFFERED = data.StructLayout({"is_mm": 1, "one": instruction_layout(Unit.MM)})
"""What the bench offers: an MV is an MM whose further fields do not count."""


class UnitWithMemory(wiring.Component):
    """A product unit beside an activation memory that holds `rows` from the start.

    Instructions of both kinds come in one stream; what they complete is another one.
    """

    def __init__(self, config, rows, unit=ProductUnit):
        self.config, self.rows, self.unit = config, rows, unit
        self.module_name = "unit_with_memory"
        members = dict(ProductUnit(config).signature.members)
        super().__init__(
            {
                "i": In(stream.Signature(OFFERED)),
                "i_words": members["i_words"],
                "o": members["o"],
                "o_complete": Out(stream.Signature(1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        unit = add(m, platform, "unit", self.unit, self.config, i_words=self.i_words, o=self.o)
        m.submodules.memory = store = memory.Memory(
            shape=len(unit.activation.word),
            depth=self.config.activation_depth,
            init=[int.from_bytes(row, "little") for row in self.rows],
        )
        port = store.read_port()
        given, is_mm = self.i.payload.one, self.i.payload.is_mm
        m.d.comb += [
            *(port.en.eq(unit.activation.enable), port.addr.eq(unit.activation.address)),
            unit.activation.word.eq(port.data),
            unit.i_mm.payload.eq(given),
            *(unit.i.payload[n].eq(given[n]) for n in instruction_layout(Unit.MV).members),
            *(unit.i_mm.valid.eq(self.i.valid & is_mm), unit.i.valid.eq(self.i.valid & ~is_mm)),
            self.i.ready.eq(Mux(is_mm, unit.i_mm.ready, unit.i.ready)),
            self.o_complete.valid.eq(unit.complete | unit.complete_mm),
            self.o_complete.payload.eq(unit.complete_mm),
        ]
        return m


def raw_fields(config, random):
    """Return the fields of a product with plain words."""
    columns, addresses = int(random.integers(1, 7)), int(random.integers(1, 4))
    return {
        "weights": Weights.RAW,
        "channels": int(random.integers(2**config.chains)),
        "words": columns * addresses * config.m,
        "strips": 2 * config.chains * addresses,
        "columns": columns,
        "group": int(random.integers(1, columns + 1)),
        "addresses": addresses,
        "scale": int(random.integers(0, 2**config.engine.scale_bits)),
    }


def random_products(config, random, memories, matrices, count):
    """Return products with the words that each chain takes for them; places go round the ends."""
    products = []
    for number in range(count):
        if number % 2:
            matrix = matrices[int(random.integers(len(matrices)))]
            fields, begin = matrix.product, matrix.load["offset"]
        else:
            fields, begin = raw_fields(config, random), 0
        tokens = 1 if fields["words"] > config.replay_words else int(random.integers(1, 5))
        unit = Unit(int(random.choice([Unit.MM, Unit.MM, Unit.MV])))
        places = {"activation": config.activation_depth, "out": config.vector_depth}
        if unit is Unit.MM:
            places |= {"step": config.activation_depth, "out_step": config.vector_depth}
            fields = fields | {"tokens": tokens}
        places = {name: int(random.integers(2 * depth)) for name, depth in places.items()}
        one = instruction(unit, **fields, **places)
        size, chains = fields["words"] * config.word_bytes, 2**config.chains - 1
        named = fields.get("channels", 0) or chains
        words = [
            memories[f"channel_{chain}"][begin : begin + size * (named >> chain & 1)]
            for chain in range(config.chains)
        ]
        products.append((one, [mine.reshape(-1, config.word_bytes) for mine in words]))
    return products


@cache
def trials():
    """Return products, golden's effects of them, and what the activation memory holds."""
    memories, matrices = images(SMALL, 0)
    random = np.random.default_rng(0)
    products = random_products(SMALL, random, memories, matrices, 40)
    core = Core(SMALL, memories, [BASES.get(k, 0) for k in range(16)], read_weight_stream)
    core.activations[:] = random.integers(-128, 128, core.activations.shape)
    for _, words in products:
        for queue, mine in zip(core.streams, words, strict=True):
            queue.put(mine)
    program = [word for one in (*(one for one, _ in products), END) for word in one.encode()]
    rows = core.activations.reshape(len(core.activations), -1).view(np.uint8)
    return products, core.run(program)[:-1], tuple(row.tobytes() for row in rows)


def payload_of(one):
    """Return an instruction as the bench offers it, uint8 [bytes]."""
    fields = dict(zip([f.name for f in one.format.fields], one.values, strict=True))
    value = OFFERED.const({"is_mm": one.unit is Unit.MM, "one": fields}).as_bits()
    return np.frombuffer(value.to_bytes(-(-OFFERED.size // 8), "little"), np.uint8)


def make_case(random, *, pauses):
    products, effects, _ = trials()
    inputs = {
        name: np.concatenate([words[chain] for _, words in products])
        for chain, name in enumerate(WORDS)
    }
    inputs["i"] = np.stack([payload_of(one) for one, _ in products])
    outputs = {"o": sum(len(each.vector.addresses) for each in effects), "o_complete": len(effects)}
    counts = {name: len(payloads) for name, payloads in inputs.items()} | {"o": outputs["o"]}
    return Case(inputs, outputs, random_pauses(random, counts) if pauses else {})


def wrong(trace):
    """Return the number of the first product with other strips than golden's, or -1."""
    _, effects, _ = trials()
    layout = vector_write_layout(SMALL)
    size = layout["address"].width
    bits = np.unpackbits(trace.outputs["o"], axis=1, bitorder="little")[:, : layout.size]
    address = bits[:, :size] @ (1 << np.arange(size))
    element = bits[:, size:].reshape(len(bits), SMALL.m, -1).astype(np.int64)
    element = element @ (1 << np.arange(27)) - (element[..., -1] << 27)
    at, kinds = 0, trace.outputs["o_complete"].reshape(-1)
    if len(kinds) != len(effects):
        return len(kinds)
    for number, (effect, is_mm) in enumerate(zip(effects, kinds, strict=True)):
        mine = slice(at, at + len(effect.vector.addresses))
        at = mine.stop
        # Strips of a token come in any order, those of one word in the order of the tokens.
        given = np.argsort(address[mine], kind="stable")
        right = np.argsort(effect.vector.addresses, kind="stable")
        if (
            is_mm != (effect.unit is Unit.MM)
            or not np.array_equal(address[mine][given], effect.vector.addresses[right])
            or not np.array_equal(element[mine][given], effect.vector.values[right])
        ):
            return number
    return -1


def test_products_of_one_and_several_tokens_are_exact():
    random = np.random.default_rng(1)
    cases = [make_case(random, pauses=pauses) for pauses in (False, True, True)]
    traces = play(emit(UnitWithMemory, SMALL, trials()[2]), cases)
    assert [wrong(trace) for trace in traces] == [-1, -1, -1]
    products, *_ = trials()
    words = [np.stack(mine) if one["channels"] == 0 else None for one, mine in products]
    cycles = ProductUnit.cycles(SMALL, [one for one, _ in products], words)
    begins, ends = (traces[0].transfers(name) for name in ("i", "o_complete"))
    assert (1 + ends - begins).tolist() == cycles


BREAKS = [
    (ProductUnit, "token.out + token.out_step", "token.out"),
    (ProductUnit, "address + token.step", "address"),
    (ProductUnit, "more & ~again", "more"),
    (ProductUnit, "unit.complete & ~continues & following", "unit.complete & following"),
    (ProductUnit, "token.more_tokens - 1", "token.more_tokens"),
    (ReplayBuffer, "Mux(self.begins, 0, place)", "place"),
    (ReplayBuffer, "repeats.eq(self.repeats)", "repeats.eq(repeats | self.repeats)"),
    (ReplayBuffer, "place.eq(self.repeats)", "place.eq(0)"),
]


@pytest.mark.full
@pytest.mark.parametrize(("part", "right", "other"), BREAKS)
def test_a_broken_unit_is_seen(part, right, other, monkeypatch):
    unit = ProductUnit
    if part is ReplayBuffer:
        monkeypatch.setattr(product_unit, "ReplayBuffer", broken(part, right, other))
    else:
        unit = broken(part, right, other)
    try:
        (trace,) = play(
            emit(UnitWithMemory, SMALL, trials()[2], unit),
            [make_case(np.random.default_rng(2), pauses=True)],
        )
    except ToolError as error:  # it stands still
        assert "broke off" in str(error)
        return
    assert wrong(trace) != -1


def test_the_verilog_is_clean():
    assert cosim.lint(emit(ProductUnit, SMALL)) == []
