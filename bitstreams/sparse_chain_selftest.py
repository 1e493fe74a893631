"""The design `sparse-chain-selftest`: chains that test themselves, round after round, for ever.

In each round every chain takes a matrix with blocks of every N out of block RAM. The board itself
compares what comes with golden's signatures, and the cycle of the last sums with the timing
contract. Then a line goes to the host, and the next round begins:

    PASS 0 6F1D20C3

The verdict, then the chains that failed as a bit mask in hexadecimal, chain 0 lowest, then the
signature of all sums.
"""

import functools
from dataclasses import dataclass
from operator import xor

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from bitstreams.chain_pattern import chain_pattern
from bitstreams.chain_tester import ChainTester
from bitstreams.line_sender import LineSender, hexadecimal, text
from bitstreams.signature import BITS
from golden.spec.errors import ConfigError
from golden.spec.sparse_chain import SparseChainConfig
from hw.emit import add

LEDS = 8
MOST_CHAINS = 64
_BEAT_BIT = 8
"""The round counter's bit that the last LED shows: it changes about twice a second."""


@dataclass(frozen=True)
class SelfTestConfig:
    """The design's configuration.

    Attributes:
        chains: 1 to 64. chain_length: multipliers of each, 2, 4, 8 or 16. m: as of the chain.
        clock_mhz: the clock that the image runs at, 10 to 200 MHz. baud: of the serial port, 9600
            to 1000000 bits/s.

    Raises:
        ConfigError: a field is outside its range.
    """

    chains: int = 4
    chain_length: int = 8
    m: int = 16
    clock_mhz: int = 100
    baud: int = 115_200

    def __post_init__(self) -> None:
        for field, least, most in (
            ("chains", 1, MOST_CHAINS),
            ("clock_mhz", 10, 200),
            ("baud", 9600, 1_000_000),
        ):
            value = getattr(self, field)
            if not least <= value <= most:
                raise ConfigError(f"{field} is {value!r}; allowed here are {least} to {most}")
        assert self.chain  # checks what is left

    @property
    def chain(self) -> SparseChainConfig:
        """The configuration of each chain: a product in each multiplier, as an ECP5 has them."""
        return SparseChainConfig(m=self.m, chain_length=self.chain_length, products_per_dsp=1)

    @property
    def bit_cycles(self) -> int:
        """Cycles of a bit on the serial line."""
        return round(self.clock_mhz * 1e6 / self.baud)

    @property
    def round_cycles(self) -> int:
        """Cycles from a round's begin to its verdict."""
        return max(ChainTester.round_cycles(self.chain, k) for k in range(self.chains)) + 1

    @property
    def mask_digits(self) -> int:
        """Hexadecimal digits of the mask of chains that failed."""
        return -(-self.chains // 4)

    @property
    def report_cycles(self) -> int:
        """Cycles of a round with its line."""
        line = len(expected_line(self))
        return self.round_cycles + 10 * line * self.bit_cycles + 4


def expected_line(config: SelfTestConfig) -> str:
    """Return the line that a design without a fault sends, by golden."""
    patterns = (chain_pattern(config.chain, number) for number in range(config.chains))
    signatures = [signature for pattern in patterns for signature in pattern.signatures]
    return f"PASS {0:0{config.mask_digits}X} {functools.reduce(xor, signatures):08X}\r\n"


class SparseChainSelfTest(wiring.Component):
    """Testers side by side, and what reports for them.

    Members:
        leds: 0: the last round passed. 1: a round has failed since the reset. 2: a round is under
            way. 7: changes every 256 rounds. The others are dark.
        uart: the serial line to the host.
    """

    def __init__(self, config: SelfTestConfig) -> None:
        self.config = config
        super().__init__({"leds": Out(LEDS), "uart": Out(1, init=1)})

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return "sparse_chain_selftest"

    def elaborate(self, platform: object) -> Module:
        """Start all testers, wait for the verdict, send it, begin again."""
        m = Module()
        config = self.config
        cycle = Signal(range(config.round_cycles + 1))
        start = Signal()
        rounds = Signal(_BEAT_BIT + 1)
        testers = []
        for number in range(config.chains):
            tester = add(m, platform, f"tester_{number}", ChainTester, config.chain, number)
            m.d.comb += tester.start.eq(start)
            testers.append(tester)

        failed = Signal(config.chains)
        signature = Signal(BITS)
        m.d.sync += [
            start.eq(0),
            failed.eq(~Cat(tester.passed for tester in testers)),
            signature.eq(functools.reduce(xor, (tester.total for tester in testers))),
        ]
        line = Cat(
            Mux(failed == 0, text("PASS "), text("FAIL ")),
            hexadecimal(Cat(failed, Signal(-config.chains % 4)), config.mask_digits),
            text(" "),
            hexadecimal(signature, BITS // 4),
            text("\r\n"),
        )
        sender = add(m, platform, "sender", LineSender, len(line) // 8, config.bit_cycles)
        m.d.comb += [sender.line.eq(line), self.uart.eq(sender.tx)]

        with m.FSM():
            with m.State("start"):
                m.d.sync += [start.eq(1), cycle.eq(0)]
                m.next = "test"
            with m.State("test"):
                m.d.sync += cycle.eq(cycle + 1)
                with m.If(cycle == config.round_cycles):
                    m.next = "report"
            with m.State("report"):
                m.d.comb += sender.start.eq(1)
                m.d.sync += [
                    self.leds[0].eq(failed == 0),
                    self.leds[1].eq(self.leds[1] | (failed != 0)),
                    rounds.eq(rounds + 1),
                ]
                m.next = "send"
            with m.State("send"), m.If(~sender.busy):
                m.next = "start"
        m.d.sync += [self.leds[2].eq(cycle != 0), self.leds[7].eq(rounds[-1])]
        return m
