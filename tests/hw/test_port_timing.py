"""A memory's contract is what the memory does, cycle by cycle: `hw/primitives/memory_channel.v`."""

from fractions import Fraction

import numpy as np
import pytest

from golden.spec.errors import ConfigError
from hw.event_clock import EventClock, Phase
from hw.memory_model import MemoryTiming
from hw.port_timing import PortTiming


class Memory:
    """The memory with all that it keeps, one cycle after the other.

    Args:
        reads: the cycle in which each burst begins, and its words.
        writes: cycles from which bursts are offered, and their words.
    """

    def __init__(self, timing, reads, writes):
        rate = timing.words_per_cycle
        self.gain, self.price, self.latency = rate.numerator, rate.denominator, timing.latency
        self.credit = self.price + self.gain - 1
        self.reads, self.due = dict(reads), []
        self.words = [(cycle, k == count - 1) for cycle, count in writes for k in range(count)]
        self.was_written, self.turn = False, True
        self.comes, self.taken, self.answers = [], [], []

    def run(self, cycles):
        for now in range(cycles):
            if (words := self.reads.get(now - 1)) is not None:
                self.due += [now + self.latency] * words
            self.write(now)
            self.read(now + 1)
            self.credit = min(self.credit + self.gain, self.price + self.gain - 1)
            self.turn = self.credit >= self.price and not (self.was_written and self.due)
        return self.comes, self.taken, self.answers

    def write(self, now):
        if self.turn and self.words and self.words[0][0] <= now:
            _, ends_burst = self.words.pop(0)
            self.credit -= self.price
            self.was_written = True
            self.taken.append(now)
            if ends_burst:
                self.answers.append(now + self.latency)

    def read(self, following):
        if self.due and self.due[0] <= following and self.credit >= self.price:
            del self.due[0]
            self.credit -= self.price
            self.was_written = False
            self.comes.append(following)


def contract(timing, reads, writes):
    """Return when words come, and are taken, and when bursts are answered."""
    clock, taken, answers = EventClock(), [], []
    port = PortTiming(clock, timing)
    for cycle, words in reads:
        clock.at(cycle, Phase.LOGIC, lambda words=words: port.read(words))
    for cycle, words in writes:
        left = [words]

        def take(left=left):
            taken.append(clock.now)
            left[0] -= 1
            if not left[0]:
                answers.append(port.answer())

        port.write(cycle, words, take)
    clock.run()
    return port.comes.tolist(), taken, answers


def bursts(random, count, most, span):
    cycles = np.sort(random.choice(np.arange(2, span), count, replace=False))
    return list(zip(cycles.tolist(), random.integers(1, most + 1, count).tolist(), strict=True))


@pytest.mark.parametrize("seed", range(8))
def test_words_come_and_go_as_the_memory_lets_them(seed):
    random = np.random.default_rng(seed)
    for _ in range(50):
        gain, price = sorted(random.integers(1, 10, 2).tolist())
        latency = int(random.choice([1, 2, 5, 30]))
        timing = MemoryTiming(latency, words_per_cycle=Fraction(gain, price))
        span = int(random.choice([30, 100, 400]))
        reads = bursts(random, int(random.integers(11)), 16, span)
        writes = bursts(random, int(random.integers(11)), 4, span)
        assert contract(timing, reads, writes) == Memory(timing, reads, writes).run(3000)


def test_a_memory_gives_its_next_word_to_who_waited_for_it():
    """Words read from a port every cycle, and words that are offered to be written there."""
    clock = EventClock()
    timing = MemoryTiming(3)
    port, written = PortTiming(clock, timing), []
    clock.at(0, Phase.LOGIC, lambda: port.read(6))
    port.write(2, 4, lambda: written.append(clock.now))
    clock.run()
    # It was read first, in cycle 4: up to there a second word to be written waits.
    assert written == [2, 4, 6, 8]
    assert port.comes.tolist() == [4, 6, 8, 10, 11, 12]
    assert [port.is_written(cycle) for cycle in (8, 9, 10)] == [True, True, False]
    assert PortTiming(clock, timing, is_written=True).is_written(8)


def test_a_memory_with_random_latency_is_refused():
    message = (
        r"^extra_latency is 5; the timing contract is of memories without random latency, so 0 is "
        r"needed$"
    )
    with pytest.raises(ConfigError, match=message):
        PortTiming(EventClock(), MemoryTiming(extra_latency=5))
