"""The key equation: from a chunk's syndromes to the polynomial whose roots are its wrong bits.

Berlekamp-Massey without inversions, one coefficient per cycle with three multipliers: two make a
coefficient of the next polynomial, the third adds its part to the next discrepancy. A step r goes
over the coefficients that can differ from 0 by then, 2 r + 2 but at most t + 1 of them, the highest
first: so the auxiliary polynomial may be overwritten in place. Its factor x^shift is only a number.
"""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.galois_field import GaloisField, galois_field
from golden.spec.bch import BchConfig
from hw.mux import select
from storage_engine.bch_encoder import configuration_name
from storage_engine.bch_field import multiply, sparse_linear, squared
from storage_engine.bch_syndromes import syndromes_layout


def locator_layout(config: BchConfig) -> data.StructLayout:
    """What is known of a chunk's wrong bits.

    `coefficients` are those of the error locator polynomial, coefficient i times `start_power(i)`.
    `errors` is the number of roots that it must have; `search` is 0 where there is nothing to
    search: no error, or, with `failed`, too many. Then the coefficients are any.
    """
    return data.StructLayout(
        {
            "coefficients": data.ArrayLayout(unsigned(config.m), config.t + 1),
            "errors": range(config.t + 1),
            "search": 1,
            "failed": 1,
        }
    )


def steps(config: BchConfig) -> list[int]:
    """Return how many coefficients each step goes over."""
    return [min(2 * r + 2, config.t + 1) for r in range(config.t)]


class BchKeyEquation(wiring.Component):
    """Solves the key equation of one chunk after the other.

    Where all syndromes are 0 it takes one cycle, else always the same number: `cycles`.

    Args:
        start: exponent of the element at which the search begins; `middle`: the coefficient that
            stays as it is. Coefficient i is multiplied with a^(start (i - middle)).

    Members:
        i: stream of `syndromes_layout`.
        o: stream of `locator_layout`.
    """

    def __init__(self, config: BchConfig, start: int, middle: int) -> None:
        self.config = config
        self.start = start
        self.middle = middle
        super().__init__(
            {
                "i": In(stream.Signature(syndromes_layout(config))),
                "o": Out(stream.Signature(locator_layout(config))),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"bch_key_equation_{configuration_name(self.config)}"

    @staticmethod
    def cycles(config: BchConfig, *, clean: bool) -> int:
        """Return the cycles from syndromes offered to the locator offered: the contract.

        Exact when the unit is idle and `o` takes what is offered.

        Args:
            clean: all syndromes are 0.
        """
        if clean:
            return 1
        update = sum(coefficients + 2 for coefficients in steps(config))
        return 1 + 2 * config.t + update + config.t + 2

    def elaborate(self, platform: object) -> Module:
        """Three small memories with three multipliers behind them, and what leads them."""
        m = Module()
        config, t = self.config, self.config.t
        field = galois_field(config.m)
        lead = self._lead(m)
        at, step = lead.at, lead.step

        # First, a coefficient of both polynomials is read.
        locator = _Store(m, "locator", config.m, t + 1)
        auxiliary = _Store(m, "auxiliary", config.m, t + 1)
        behind = Signal(range(2 * t + 2))
        m.d.comb += [locator.read_at.eq(at), behind.eq(at - lead.shift)]
        m.d.comb += auxiliary.read_at.eq(behind)
        old, other, factor = Signal(config.m), Signal(config.m), Signal(config.m)
        powers = {i: self._start_power(field, i) for i in range(t + 1)}
        has_other = lead.updates & (at >= lead.shift) & (behind < lead.auxiliary_size)
        m.d.sync += [
            old.eq(Mux(at < lead.size, locator.read, 0)),
            other.eq(Mux(has_other, auxiliary.read, 0)),
            factor.eq(Mux(lead.updates, lead.gamma, select(at[: t.bit_length()], powers))),
        ]

        # Then that of the next polynomial is made of them,
        new = Signal(config.m)
        m.d.comb += new.eq(
            multiply(m, field, old, factor, "kept_part")
            ^ multiply(m, field, other, lead.discrepancy, "added_part")
        )
        coefficients = Value.cast(self.o.payload.coefficients)
        with m.If(lead.gives):
            m.d.sync += coefficients.eq(Cat(new, coefficients))

        # and at last it is written, and its part of the next discrepancy is added.
        made, before = Signal(config.m), Signal(config.m)
        read_at = _delayed(m, at, 1)
        made_at, is_made = _delayed(m, read_at, 1), _delayed(m, lead.updates, 2)
        m.d.sync += [made.eq(new), before.eq(old)]
        syndromes = _Store(m, "syndromes", config.m, 2 * t + 2)
        syndrome = Signal(range(2 * t + 2))
        m.d.sync += syndrome.eq(Mux(lead.loads, (at + 1) >> 1, 2 * step + 3 - read_at))
        m.d.comb += syndromes.read_at.eq(syndrome)
        sum_ = Signal(config.m)
        m.d.comb += [
            lead.sum.eq(sum_ ^ multiply(m, field, made, syndromes.read, "term")),
            locator.enable.eq(is_made | lead.loads),
            locator.write_at.eq(Mux(lead.loads, 0, made_at)),
            locator.write.eq(Mux(lead.loads, 1, made)),
            auxiliary.enable.eq((is_made & lead.longer) | lead.loads),
            auxiliary.write_at.eq(Mux(lead.loads, 0, made_at)),
            auxiliary.write.eq(Mux(lead.loads, 1, before)),
        ]
        with m.If(is_made):
            m.d.sync += sum_.eq(Mux(lead.ends, 0, lead.sum))

        # Before all that, odd syndromes come from the stream and even ones are squares.
        odd = select(at[1:], dict(enumerate(self.i.payload)))
        square = sparse_linear(m, syndromes.read, squared(field), config.m, "square")
        m.d.comb += [
            lead.first.eq(self.i.payload[0]),
            syndromes.enable.eq(lead.loads),
            syndromes.write_at.eq(at),
            syndromes.write.eq(Mux(at[0], odd, square)),
        ]
        return m

    def _start_power(self, field: GaloisField, coefficient: int) -> Const:
        return Const(field.power(self.start * (coefficient - self.middle)), field.m)

    def _lead(self, m: Module) -> "_Lead":
        """Go from state to state, and keep what Berlekamp-Massey knows of the polynomials."""
        t = self.config.t
        lead = _Lead(self.config)
        at, step = lead.at, lead.step
        idle, waits, gives, done = Signal(init=1), Signal(), Signal(), Signal()
        dirty, begins, loaded, last = Signal(), Signal(), Signal(), Signal()
        free = Signal()
        located = self.o.payload
        m.d.comb += [
            free.eq(~self.o.valid | self.o.ready),
            dirty.eq(Value.cast(self.i.payload).any()),
            begins.eq(idle & self.i.valid & dirty),
            loaded.eq(lead.loads & (at == 2 * t)),
            last.eq(lead.ends & (step == t - 1)),
            self.i.ready.eq(loaded | (idle & ~dirty & free)),
            lead.reads.eq(gives & free),
            lead.longer.eq(lead.discrepancy.any() & (lead.errors <= step)),
        ]
        m.d.sync += [
            idle.eq(done | (idle & ~begins)),
            lead.loads.eq(begins | (lead.loads & ~loaded)),
            lead.updates.eq(loaded | (lead.ends & ~last) | (lead.updates & (at != 0))),
            waits.eq(lead.updates & (at == 0)),
            lead.ends.eq(waits),
            gives.eq(last | (gives & ~(free & (at == 0)))),
            lead.gives.eq(lead.reads),
            done.eq(lead.reads & (at == 0)),
        ]
        with m.If(idle):
            m.d.sync += at.eq(1)
        with m.Elif(lead.loads):
            m.d.sync += [at.eq(Mux(loaded, 1, at + 1)), lead.begin()]
        with m.Elif(lead.ends):
            m.d.sync += [at.eq(Mux(2 * step + 3 > t, t, 2 * step + 3)), lead.update()]
        with m.Elif(lead.updates | lead.reads):
            m.d.sync += at.eq(at - 1)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        clean = idle & self.i.valid & ~dirty & free
        with m.If(clean | done):
            m.d.sync += [
                self.o.valid.eq(1),
                located.errors.eq(Mux(done, lead.errors, 0)),
                located.search.eq(done & (lead.errors <= t)),
                located.failed.eq(done & (lead.errors > t)),
            ]
        return lead


class _Lead:
    """What the states say, and what is known of the polynomials.

    Attributes:
        at: the syndrome or the coefficient in this cycle; step: r.
        loads, updates, reads: a syndrome is loaded; a coefficient is read to update it, or to give
            it. gives: one has been read to be given. ends: a step's last coefficient is written.
        first: S_1. sum: the next discrepancy, when the step ends.
        size, auxiliary_size: coefficients of both polynomials that are written; above are zeros.
        shift: the auxiliary polynomial is multiplied with x^shift.
        errors: the length of the shift register; longer: the step makes it longer.
    """

    def __init__(self, config: BchConfig) -> None:
        t = config.t
        self.at = Signal(range(2 * t + 1))
        self.step = Signal(range(t + 1))
        self.loads, self.updates, self.reads = Signal(), Signal(), Signal()
        self.gives, self.ends, self.longer = Signal(), Signal(), Signal()
        self.first, self.sum = Signal(config.m), Signal(config.m)
        self.discrepancy, self.gamma = Signal(config.m), Signal(config.m)
        self.size, self.auxiliary_size = Signal(range(t + 2)), Signal(range(t + 2))
        self.shift = Signal(range(2 * t + 2))
        self.errors = Signal(range(2 * t + 1))
        self._t = t

    def begin(self) -> list[Any]:
        """Both polynomials are 1."""
        return [
            *(self.discrepancy.eq(self.first), self.gamma.eq(1), self.errors.eq(0)),
            *(self.shift.eq(1), self.size.eq(1), self.auxiliary_size.eq(1), self.step.eq(0)),
        ]

    def update(self) -> list[Any]:
        """The next polynomial takes the place of this one; if it is longer, this one is kept."""
        longer, last = self.longer, 2 * self.step + 1
        return [
            self.discrepancy.eq(self.sum),
            self.shift.eq(Mux(longer, 2, self.shift + 2)),
            self.size.eq(Mux(last > self._t, self._t, last) + 1),
            self.gamma.eq(Mux(longer, self.discrepancy, self.gamma)),
            self.auxiliary_size.eq(Mux(longer, self.size, self.auxiliary_size)),
            self.errors.eq(Mux(longer, last - self.errors, self.errors)),
            self.step.eq(self.step + 1),
        ]


def _delayed(m: Module, signal: Signal, cycles: int) -> Signal:
    """Return what `signal` was so many cycles ago."""
    for number in range(cycles):
        before, signal = signal, Signal.like(signal, name=f"{signal.name}_{number}")
        m.d.sync += signal.eq(before)
    return signal


class _Store:
    """A small memory in look-up tables, with a port to write and one to read at once."""

    def __init__(self, m: Module, name: str, width: int, depth: int) -> None:
        rows = memory.Memory(shape=unsigned(width), depth=depth, init=[])
        m.submodules[name] = rows
        write, read = rows.write_port(), rows.read_port(domain="comb")
        self.enable, self.write_at, self.write = write.en, write.addr, write.data
        self.read_at, self.read = read.addr, read.data
