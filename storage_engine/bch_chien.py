"""The Chien search: which bits of a chunk are wrong, all bits of a word in one cycle.

Bit s of a chunk is wrong where the locator polynomial is 0 at x = a^(s + 1 - bits of the chunk).
Divided by x^middle that is a sum of coefficients times powers of x between x^-middle and
x^(t - middle), and each step to another bit multiplies them with constants. Around a middle those
constants are small powers of a, which are sparse: so a word is searched in groups of bits, each
around its own middle, and the words' middles in turn around one.

    coefficients at the word's middle -> at the groups' middles -> sums at every bit -> wrong bits
"""

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.galois_field import galois_field
from golden.spec.bch import BchConfig
from hw.emit import add
from storage_engine.bch_encoder import configuration_name
from storage_engine.bch_field import linear, multiplied_by_power
from storage_engine.bch_key_equation import locator_layout

GROUP = 4
"""Bits of a group."""

STAGES = 7
"""Registers on the way: coefficients, those of groups, sums, roots, word, number, output."""

LUT = 6
"""Inputs of a look-up table."""

_PART = 8
"""Bits of a word that are counted at once."""


def middle(config: BchConfig) -> int:
    """Return the coefficient that no step changes."""
    return config.t // 2


def start(config: BchConfig) -> int:
    """Return the exponent of x at the middle of the bits that are searched first."""
    return _middle_bit(config) + 1 - config.chunk_words * config.word_bits


def _middle_bit(config: BchConfig) -> int:
    return config.searched_bits // GROUP // 2 * GROUP + GROUP // 2


def found_layout(config: BchConfig) -> data.StructLayout:
    """The wrong bits of a word.

    `is_parity` marks words of parity. With the `last` word comes what is known of the chunk:
    `corrected` bits, or that it is `uncorrectable`.
    """
    return data.StructLayout(
        {
            "wrong": config.word_bits,
            "is_parity": 1,
            "last": 1,
            "corrected": range(config.t + 1),
            "uncorrectable": 1,
        }
    )


class BchChien(wiring.Component):
    """Finds the roots of one locator polynomial after the other.

    Throughput: one word per cycle, from one chunk to the next, and in chunks that are searched one
    per `config.searches` cycles. Latency: 7 cycles. A chunk whose polynomial has fewer roots than
    errors is uncorrectable.

    Members:
        i: stream of `locator_layout`.
        o: stream of `found_layout`, `chunk_words` beats a chunk.
    """

    def __init__(self, config: BchConfig) -> None:
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(locator_layout(config))),
                "o": Out(stream.Signature(found_layout(config))),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"bch_chien_{configuration_name(self.config)}"

    @staticmethod
    def cycles(config: BchConfig, searched: Iterable[bool]) -> int:
        """Return the cycles from the first locator taken to the last word given: the contract.

        Exact when no stream waits.

        Args:
            searched: of each chunk, whether there is anything to search.
        """
        words = [config.searches if search else 1 for search in searched]
        return sum(words) * config.chunk_words + STAGES

    def elaborate(self, platform: object) -> Module:
        """Coefficients, groups, sums, roots, words and their numbers, a register each."""
        m = Module()
        config = self.config
        advance = Signal()
        number, part = Signal(range(config.chunk_words)), Signal(range(config.searches))
        busy, whole, last, takes = Signal(), Signal(), Signal(), Signal()
        chunk = Signal(_chunk_layout(config))
        words = [Signal(_word_layout(config), name=f"word_{k}") for k in range(STAGES - 1)]
        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready),
            whole.eq((part == config.searches - 1) | ~chunk.search),
            last.eq(number == config.chunk_words - 1),
            takes.eq(advance & (~busy | (last & whole))),
            self.i.ready.eq(takes),
            words[0].valid.eq(busy & whole),
            words[0].is_parity.eq(number >= config.message_words),
            words[0].last.eq(last),
            words[0].chunk.eq(chunk),
        ]
        with m.If(advance):
            m.d.sync += [number.eq(number + whole), part.eq(Mux(whole, 0, part + 1))]
            m.d.sync += [after.eq(before) for before, after in pairwise(words)]
        with m.If(takes):
            m.d.sync += [busy.eq(self.i.valid), number.eq(0), part.eq(0)]
            m.d.sync += [chunk[name].eq(self.i.payload[name]) for name, _ in _chunk_layout(config)]

        roots = Signal(config.searched_bits)
        for group_number, coefficients in enumerate(self._coefficients(m, advance, takes)):
            group = add(m, platform, f"group_{group_number}", BchRoots, config)
            m.d.comb += [
                group.advance.eq(advance),
                group.search.eq(words[2].chunk.search),
                Cat(group.coefficients).eq(Cat(coefficients)),
                roots.word_select(group_number, GROUP).eq(group.roots),
            ]
        wrong = self._whole_word(m, advance, roots, words[3])
        self._count(m, advance, wrong, words[5])
        return m

    def _whole_word(self, m: Module, advance: Signal, roots: Signal, word: data.View) -> Signal:
        """Return the wrong bits of a word, of which the last ones are `roots`; padding is none."""
        config = self.config
        before = Signal(config.word_bits - config.searched_bits)
        in_word = config.word_bits - config.padding_bits
        allowed = Mux(word.last, (1 << in_word) - 1, (1 << config.word_bits) - 1)
        searched = Cat(before & word.chunk.search.replicate(len(before)), roots)
        wrong = Signal(config.word_bits)
        m.d.comb += wrong.eq(searched & allowed)
        with m.If(advance):
            m.d.sync += before.eq(searched >> len(roots))
        return wrong

    def _coefficients(self, m: Module, advance: Signal, takes: Signal) -> list[list[Value]]:
        """Return the coefficients at the middle of each group, by group, registered.

        Those at the middle of the bits that are searched go on to the next bits'.
        """
        config = self.config
        field = galois_field(config.m)
        groups = config.searched_bits // GROUP
        at_group: list[list[Value]] = [[] for _ in range(groups)]
        for i, first in enumerate(self.i.payload.coefficients):
            power = i - middle(config)
            now = Signal(config.m, name=f"coefficient_{i}")
            offsets = [GROUP * (group - groups // 2) for group in range(groups)]
            offsets.append(config.searched_bits)
            maps = [multiplied_by_power(field, power * offset) for offset in offsets]
            columns = [
                sum(image << k * config.m for k, image in enumerate(images))
                for images in zip(*maps, strict=True)
            ]
            moved = linear(m, now, columns, len(maps) * config.m, f"moved_{i}")
            with m.If(advance):
                m.d.sync += now.eq(moved.word_select(groups, config.m))
            with m.If(takes):
                m.d.sync += now.eq(first)
            for group in range(groups):
                here = Signal(config.m, name=f"coefficient_{i}_of_{group}")
                with m.If(advance):
                    m.d.sync += here.eq(moved.word_select(group, config.m))
                at_group[group].append(here)
        return at_group

    def _count(self, m: Module, advance: Signal, wrong: Signal, word: data.View) -> None:
        """Offer a word's wrong bits, and with the last one what is known of the chunk."""
        config = self.config
        found = self.o.payload
        # A polynomial has no more roots than t.
        number, before, total = (Signal(range(config.t + 1)) for _ in range(3))
        failed = Signal()
        m.d.comb += [
            total.eq(before + number),
            failed.eq(word.chunk.failed | (total != word.chunk.errors)),
        ]
        parts = [
            Signal(range(_PART + 1), name=f"part_{k}") for k in range(0, config.word_bits, _PART)
        ]
        wrong_1, wrong_2 = Signal.like(wrong), Signal.like(wrong)
        with m.If(advance):
            m.d.sync += [part.eq(_sum(wrong.word_select(k, _PART))) for k, part in enumerate(parts)]
            m.d.sync += [
                number.eq(_sum(parts)),
                wrong_1.eq(wrong),
                wrong_2.eq(wrong_1),
                self.o.valid.eq(word.valid),
                found.wrong.eq(wrong_2),
                found.is_parity.eq(word.is_parity),
                found.last.eq(word.last),
                found.corrected.eq(Mux(failed, 0, total)),
                found.uncorrectable.eq(failed),
            ]
            with m.If(word.valid):
                m.d.sync += before.eq(Mux(word.last, 0, total))


def _chunk_layout(config: BchConfig) -> data.StructLayout:
    """What stays the same for a chunk's words."""
    return data.StructLayout({"errors": range(config.t + 1), "search": 1, "failed": 1})


def _word_layout(config: BchConfig) -> data.StructLayout:
    """What goes beside a word."""
    return data.StructLayout(
        {"valid": 1, "is_parity": 1, "last": 1, "chunk": _chunk_layout(config)}
    )


def _sum(numbers: Sequence[Value]) -> Value:
    """Return the sum of numbers, as a tree."""
    if len(numbers) == 1:
        return numbers[0]
    half = len(numbers) // 2
    return _sum(numbers[:half]) + _sum(numbers[half:])


class BchRoots(wiring.Component):
    """Looks at the bits of one group: at which of them is the polynomial 0?

    Members:
        coefficients: those at the group's middle.
        search: else no bit is a root; one cycle of `advance` behind the coefficients.
        roots: two cycles of `advance` behind the coefficients, the bits that are.
    """

    simulated_apart = True

    def __init__(self, config: BchConfig) -> None:
        self.config = config
        super().__init__(
            {
                "advance": In(1),
                "search": In(1),
                "coefficients": In(config.m).array(config.t + 1),
                "roots": Out(GROUP),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"bch_roots_m{self.config.m}t{self.config.t}"

    def elaborate(self, platform: object) -> Module:
        """The sum of the coefficients times a sparse constant each.

        Sums of up to six bits, one look-up table each, are registered: so they stay what they are.
        """
        m = Module()
        config = self.config
        field = galois_field(config.m)
        bits = Signal(config.m * (config.t + 1))
        m.d.comb += bits.eq(Cat(self.coefficients))
        for bit in range(GROUP):
            columns: list[int] = []
            for i in range(config.t + 1):
                power = (bit - GROUP // 2) * (i - middle(config))
                columns += multiplied_by_power(field, power)
            rows = [
                [bits[k] for k, column in enumerate(columns) if column >> row & 1]
                for row in range(config.m)
            ]
            sums = [[Cat(row[k : k + LUT]).xor() for k in range(0, len(row), LUT)] for row in rows]
            registered = Signal(sum(map(len, sums)), name=f"sums_{bit}")
            ends = list(accumulate(map(len, sums), initial=0))
            value = Cat(registered[begin:end].xor() for begin, end in pairwise(ends))
            with m.If(self.advance):
                m.d.sync += registered.eq(Cat(*map(Cat, sums)))
                m.d.sync += self.roots[bit].eq(self.search & ~value.any())
        return m
