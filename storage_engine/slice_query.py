"""A query's multipliers and its sums: scores, mixed values, and approximate scores.

cycle 0   a beat is taken; the query's row is read
      1   factors and elements enter the multipliers
      3   old sums are read
      4   the products are there, or the sums of a key's products so far
      5   new sums are written
      6   a key's sums of all lanes are one score (with four lanes)
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.attention_engine import BINS
from golden.spec.drive_engine import DriveEngineConfig
from golden.spec.dsp48e2 import Dsp48e2Config, ZSource
from hw.dsp48e2 import Dsp48e2
from hw.emit import add
from hw.group_scale import delay
from hw.mux import select
from storage_engine.engine_layouts import partial_layout, span_tokens
from storage_engine.slice_bins import SLOT_BITS, weight_layout

MULTIPLIER = Dsp48e2Config(z=(ZSource.ZERO, ZSource.P))
"""P = A * B, or P + A * B."""

BANKS = 2
"""Spans of which one is summed up while another one is given."""

AT_FACTORS = 1
AT_PRODUCT = AT_FACTORS + Dsp48e2.cycles(MULTIPLIER, "a")
AT_CHOICE = AT_PRODUCT - Dsp48e2.cycles(MULTIPLIER, "z")
AT_READ = AT_PRODUCT - 1
AT_WRITE = AT_PRODUCT + 1
"""Cycles from a beat to each step."""

_ADVANCE = Const(1)


def score_cycles(config: DriveEngineConfig) -> int:
    """Return the cycles from the last row of a key to its score."""
    return AT_PRODUCT + max(config.lanes.bit_length() - 1, 1)


def row_bits(config: DriveEngineConfig) -> int:
    """Return the bits of the number of a row of the head's channels."""
    return (config.rows - 1).bit_length()


def word_bits(config: DriveEngineConfig) -> int:
    """Return the bits of the number of a word of a bank: `lanes` tokens."""
    return (span_tokens(config) // config.lanes - 1).bit_length()


def lane_bits(config: DriveEngineConfig) -> int:
    """Return the bits of the number of a lane."""
    return (config.lanes - 1).bit_length()


def beat_layout(config: DriveEngineConfig) -> data.StructLayout:
    """A beat that a slice has taken.

    Fields:
        keys, values, channel: what it is; none of them where no beat was taken.
        first, last: the first, or the last, row of a token.
        tail: of keys: they are the masked query's, and the score is approximate.
        row: of the head's channels.
        bank, word, lane: of an approximate score; of a channel, `lane` is that of the query.
    """
    return data.StructLayout(
        {
            "elements": data.ArrayLayout(signed(config.kv_bits), config.lanes),
            **{"keys": unsigned(1), "values": unsigned(1), "channel": unsigned(1)},
            **{"first": unsigned(1), "last": unsigned(1), "tail": unsigned(1)},
            "row": unsigned(row_bits(config)),
            **{"bank": unsigned(1), "word": unsigned(word_bits(config))},
            "lane": unsigned(lane_bits(config)),
        }
    )


def reading_layout(config: DriveEngineConfig) -> data.StructLayout:
    """What reads sums while no beat does.

    Fields:
        mixed, bank: whether mixed sums, or those of banks, are read, and not by beats.
        enable: what was read is followed by the next.
        slot, row: of mixed sums. word: of banks.
        clear: banks in which `cleared` becomes 0 in this cycle.
    """
    return data.StructLayout(
        {
            **{"mixed": unsigned(1), "bank": unsigned(BANKS), "enable": unsigned(1)},
            **{"slot": unsigned(SLOT_BITS), "row": unsigned(row_bits(config))},
            "word": unsigned(word_bits(config)),
            **{"clear": unsigned(BANKS), "cleared": unsigned(word_bits(config))},
        }
    )


class SliceQuery(wiring.Component):
    """One query. Throughput: one beat per cycle; nothing waits.

    A row of a bin, or a word of a span, may come again three beats later.

    Members:
        load, load_masked, load_row, load_values: a row of the query is written.
        query_row, query_masked: of the beat that is taken in this cycle.
        beat: a cycle behind it. weight: beside it, of its token, if it is one of values.
        reading: who reads sums beside beats.
        score: of a key, `score_cycles` behind its last row, until the next one's.
        mixed: what is read, a cycle later. approximate: of a bank, likewise.
    """

    def __init__(self, config: DriveEngineConfig) -> None:
        self.config = config
        attention = config.attention
        row = data.ArrayLayout(signed(attention.query_bits), config.lanes)
        score = signed(attention.score_bits)
        super().__init__(
            {
                **{"load": In(1), "load_masked": In(1), "load_row": In(row_bits(config))},
                "load_values": In(row),
                **{"query_masked": In(1), "query_row": In(row_bits(config))},
                "beat": In(beat_layout(config)),
                "weight": In(weight_layout(config)),
                "reading": In(reading_layout(config)),
                "score": Out(score),
                "mixed": Out(partial_layout(config)),
                "approximate": Out(data.ArrayLayout(score, config.lanes)),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        c = self.config
        span = f"s{span_tokens(c)}_c{c.context_bits}"
        return f"slice_query_l{c.lanes}_d{c.head_size}_{c.kv_bits}_{span}"

    def elaborate(self, platform: object) -> Module:
        """Query, multipliers, adders in front of memories, the lanes' tree."""
        m = Module()
        beat = self.beat
        products = self._products(m, platform, self._factors(m))
        later = delay(m, _ADVANCE, "beat", _but_elements(beat), score_cycles(self.config) - 1)
        weight = delay(m, _ADVANCE, "weight", self.weight, AT_WRITE - AT_FACTORS)
        self._score(m, products, later)

        mixed, mixed_read, mixed_write = self._mixed(m)
        read = later[AT_READ - AT_FACTORS]
        self._read_mixed(m, mixed_read, read, weight[AT_READ - AT_FACTORS])
        banks = [self._bank(m, number, read) for number in range(BANKS)]

        # One adder for both kinds of sums: of what is not wanted, 0 is taken.
        now, start = later[AT_PRODUCT - AT_FACTORS], weight[AT_PRODUCT - AT_FACTORS].start
        sums = Signal(partial_layout(self.config), reset_less=True)
        for lane in range(self.config.lanes):
            old: Value = Mux(now.values & ~start, mixed[lane], 0)
            for number, (bank, _) in enumerate(banks):
                old = old | Mux(now.channel & (now.bank == number), bank[lane], 0)
            m.d.sync += sums[lane].eq(old.as_signed() + products[lane])
        written, kept = later[AT_WRITE - AT_FACTORS], weight[AT_WRITE - AT_FACTORS]
        m.d.comb += [
            mixed_write.en.eq(written.values & kept.kept),
            mixed_write.addr.eq(Cat(written.row, kept.slot)),
            mixed_write.data.eq(sums),
            self.mixed.eq(mixed),
        ]
        self._write_banks(m, [write for _, write in banks], sums, later)
        given, other = (bank for bank, _ in banks)
        m.d.comb += self.approximate.eq(Mux(self.reading.bank[0], given, other))
        return m

    def _factors(self, m: Module) -> list[Value]:
        """Return what each lane's element is multiplied with; 0 where no beat was taken."""
        config, beat = self.config, self.beat
        row = data.ArrayLayout(signed(config.attention.query_bits), config.lanes)
        m.submodules.query = query = memory.Memory(shape=row, depth=2 << row_bits(config), init=[])
        read, write = query.read_port(), query.write_port()
        m.d.comb += [
            read.addr.eq(Cat(self.query_row, self.query_masked)),
            *(write.en.eq(self.load), write.data.eq(self.load_values)),
            write.addr.eq(Cat(self.load_row, self.load_masked)),
        ]
        lanes = range(config.lanes)
        one = read.data[0]
        if config.lanes > 1:
            one = select(beat.lane, {lane: read.data[lane] for lane in lanes})
        power = Cat(self.weight.power, Const(0, 1)).as_signed()
        return [
            Mux(
                beat.values,
                power,
                Mux(beat.channel, one, Mux(beat.keys, read.data[lane], 0)),
            )
            for lane in lanes
        ]

    def _products(self, m: Module, platform: object, factors: list[Value]) -> list[Value]:
        """Return each lane's product at AT_PRODUCT; of a key, the sum of those so far."""
        beat = self.beat
        alone = (beat.keys & beat.first) | beat.values | beat.channel
        alone = delay(m, _ADVANCE, "alone", alone, AT_CHOICE - AT_FACTORS)[-1]
        products = []
        for lane, factor in enumerate(factors):
            slice_ = add(m, platform, f"multiplier_{lane}", Dsp48e2, MULTIPLIER)
            m.d.comb += [
                *(slice_.ce.eq(1), slice_.a.eq(factor), slice_.b.eq(beat.elements[lane])),
                slice_.z.eq(Mux(alone, Const(ZSource.ZERO, 3), Const(ZSource.P, 3))),
            ]
            products.append(slice_.p)
        return products

    def _score(self, m: Module, products: list[Value], later: list[Value]) -> None:
        """Add up the lanes, level by level; the last one holds."""
        bits = self.config.attention.score_bits
        values = [product[:bits].as_signed() for product in products]
        cycle = AT_PRODUCT
        while cycle + 1 < score_cycles(self.config):
            cycle += 1
            values = _level(m, f"sum_{cycle}", values, bits)
        beat = later[cycle - AT_FACTORS]
        with m.If(beat.keys & beat.last):
            m.d.sync += self.score.eq(sum(values))

    def _mixed(self, m: Module) -> tuple[data.View, memory.ReadPort, memory.WritePort]:
        """Return the memory of mixed sums: what it has read, and its ports."""
        m.submodules.mixed_sums = sums = memory.Memory(
            shape=partial_layout(self.config), depth=BINS << row_bits(self.config), init=[]
        )
        read = sums.read_port()
        return read.data, read, sums.write_port()

    def _read_mixed(
        self, m: Module, port: memory.ReadPort, beat: data.View, weight: data.View
    ) -> None:
        reading = self.reading
        mine = Cat(reading.row, reading.slot)
        m.d.comb += [
            port.addr.eq(Mux(reading.mixed, mine, Cat(beat.row, weight.slot))),
            port.en.eq(~reading.mixed | reading.enable),
        ]

    def _bank(self, m: Module, number: int, beat: data.View) -> tuple[data.View, memory.WritePort]:
        """Return a bank of approximate scores: what it has read, and its write port."""
        config, reading = self.config, self.reading
        scores = data.ArrayLayout(signed(config.attention.score_bits), config.lanes)
        m.submodules[f"bank_{number}"] = bank = memory.Memory(
            shape=scores, depth=1 << word_bits(config), init=[]
        )
        read = bank.read_port()
        m.d.comb += [
            read.addr.eq(Mux(reading.bank[number], reading.word, beat.word)),
            read.en.eq(~reading.bank[number] | reading.enable),
        ]
        return read.data, bank.write_port(granularity=1)

    def _write_banks(
        self, m: Module, ports: list[memory.WritePort], sums: data.View, later: list[Value]
    ) -> None:
        """A channel's sums, or a key's score, or zeros."""
        lanes = range(self.config.lanes)
        channel, tail = later[AT_WRITE - AT_FACTORS], later[score_cycles(self.config) - AT_FACTORS]
        scored = tail.keys & tail.tail & tail.last
        for number, port in enumerate(ports):
            clear = self.reading.clear[number]
            adds = channel.channel & (channel.bank == number)
            sets = scored & (tail.bank == number)
            m.d.comb += port.addr.eq(
                Mux(clear, self.reading.cleared, Mux(sets, tail.word, channel.word))
            )
            for lane in lanes:
                new = Mux(scored, self.score, sums[lane])
                own = sets & (tail.lane == lane if len(lanes) > 1 else Const(1))
                m.d.comb += [
                    port.data[lane].eq(Mux(clear, 0, new)),
                    port.en[lane].eq(clear | adds | own),
                ]


def _but_elements(beat: data.View) -> data.View:
    """Return a beat's fields without its elements."""
    members = {k: v.shape for k, v in beat.shape() if k != "elements"}
    layout = data.StructLayout(members)
    return layout(Cat(beat[name] for name in members))


def _level(m: Module, name: str, values: list[Value], bits: int) -> list[Value]:
    """Return each two neighbours' sum, a cycle later."""
    sums: list[Value] = []
    for k in range(0, len(values), 2):
        total = Signal(signed(bits), name=f"{name}_{k}", reset_less=True)
        m.d.sync += total.eq(values[k] + values[k + 1])
        sums.append(total)
    return sums
