"""What a load's contract says of a reader is what the reader's own contract says."""

import numpy as np
import pytest

from golden.spec.axi import AxiConfig
from hw.axi_reader import AxiReader
from hw.event_clock import EventClock, Phase
from hw.fifo import Fifo
from hw.load_timing import ReaderTiming
from hw.memory_model import MemoryTiming
from hw.port_timing import PortTiming

CONFIGS = [
    AxiConfig(burst_beats=4, outstanding=2, buffer_words=64),
    AxiConfig(burst_beats=4, outstanding=16, buffer_words=8),
    AxiConfig(),
]


def cycles(config, jobs, latency):
    """Return the cycles of jobs as `AxiReader.cycles` does."""
    clock, left = EventClock(), list(jobs)

    def give():
        if left and reader.give(*left[0]):
            del left[0]

    def offer(cycle):
        clock.at(cycle, Phase.CHOICE, reader.take)

    reader = ReaderTiming(clock, config, PortTiming(clock, MemoryTiming(latency)), offer, give)
    give()
    clock.run()
    assert not left
    return reader.rests + Fifo.cycles()


@pytest.mark.parametrize("config", CONFIGS, ids=("few bursts", "few words", "default"))
def test_a_readers_cycles(config):
    random = np.random.default_rng(0)
    for latency in (1, 2, 7, 100):
        for most in (1, 10, 300):
            jobs = [
                (config.word_bytes * int(random.integers(1000)), int(random.integers(1, most + 1)))
                for _ in range(20)
            ]
            assert cycles(config, jobs, latency) == AxiReader.cycles(config, jobs, latency)
