import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator

from bitstreams.image_simulation import received
from bitstreams.line_sender import LineSender
from bitstreams.pattern_source import PatternSource
from bitstreams.signature import FIRST, Signature, signature_of
from golden.spec.errors import ConfigError, ToolError


def simulate(component, bench):
    m = Module()
    m.submodules.dut = component
    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_a_signature_in_hardware_is_the_one_in_python():
    dut = Signature(26)
    payloads = np.random.default_rng(1).integers(0, 1 << 26, 100).tolist()

    async def bench(ctx):
        for number, payload in enumerate(payloads):
            # Others pass by in between, which are not taken.
            for valid in (0, 1) if number % 3 == 0 else (1,):
                ctx.set(dut.valid, valid)
                ctx.set(dut.payload, payload if valid else 5)
                await ctx.tick()
        assert ctx.get(dut.value) == signature_of(payloads)
        ctx.set(dut.restart, 1)
        await ctx.tick()
        assert ctx.get(dut.value) == FIRST

    simulate(dut, bench)


def test_a_signature_depends_on_every_bit_and_on_the_order():
    payloads = [3, 1, 4, 1, 5, 9, 2, 6]
    right = signature_of(payloads)
    assert right not in (signature_of(payloads[::-1]), signature_of(payloads[1:]))
    for place in range(len(payloads)):
        for bit in range(26):
            changed = list(payloads)
            changed[place] ^= 1 << bit
            assert signature_of(changed) != right


def test_a_payload_wider_than_a_signature_is_refused():
    with pytest.raises(ConfigError, match=r"^width is 33; a signature takes payloads of 1 to 32"):
        Signature(33)


@pytest.mark.parametrize("stall", [0, 3])
def test_a_source_gives_its_payloads_once_per_start(stall):
    payloads = (7, 5, 3, 1, 9)
    dut = PatternSource(4, payloads)

    async def bench(ctx):
        for _ in range(2):
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            taken, cycles = [], []
            for cycle in range(1, 40):
                ctx.set(dut.o.ready, cycle % (stall + 1) == 0)
                if ctx.get(dut.o.valid) and ctx.get(dut.o.ready):
                    taken.append(ctx.get(dut.o.payload))
                    cycles.append(cycle)
                await ctx.tick()
            assert taken == list(payloads)
            if not stall:
                first = PatternSource.cycles()
                assert cycles == list(range(first, first + len(payloads)))

    simulate(dut, bench)


def test_a_line_is_sent_as_a_host_reads_it():
    dut, sent = LineSender(3, 5), []

    async def bench(ctx):
        for line in ("Ok\n", "\xff\x00U"):
            ctx.set(dut.line, int.from_bytes(line.encode("latin-1"), "little"))
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            while ctx.get(dut.busy):
                sent.append(ctx.get(dut.tx))
                await ctx.tick()
            sent.extend([1] * 7)

    simulate(dut, bench)
    assert received(np.array(sent), 5) == "Ok\n\xff\x00U"


def test_a_line_without_a_stop_bit_is_refused():
    with pytest.raises(ToolError, match=r"^the serial line has no character at cycle 3$"):
        received(np.array([1] * 3 + [0] * 200), 5)
