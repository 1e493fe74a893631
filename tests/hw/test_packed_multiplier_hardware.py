"""The packed multiplier: all 2**24 inputs in Verilator, and cascades against golden."""

import json
import re
from dataclasses import replace

import pytest
import torch
from amaranth.hdl import Module, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from golden.packed_multiplier import (
    INT8,
    SYMMETRIC_INT8,
    cascade,
    most_products,
    packed_product,
    split,
)
from golden.spec.dsp48e2 import PACKED_MULTIPLIER, Dsp48e2Config, ZSource
from golden.spec.errors import ConfigError
from hw import cosim
from hw.benches.packed_multiplier import PackedMultiplierProof
from hw.emit import add, emit
from hw.packed_multiplier import LaneSplitter, PackedMultiplier

BENCH = "hw.benches.packed_multiplier"


@pytest.fixture(scope="module")
def proof():
    return emit(PackedMultiplierProof)


def prove(design, folder):
    """Return whether the bench passed, and its result."""
    passed = cosim.run(cosim.build(design), BENCH, folder)
    return passed, json.loads((folder / "results.json").read_text())


def test_both_lanes_are_exact_for_all_inputs(proof, tmp_path):
    passed, result = prove(proof, tmp_path)
    assert passed
    assert (result["compared"], result["failed"]) == (2**24, False)


BREAKS = {
    "a borrow that is not paid back": (r"p\[47:18\] \+ p\[17\]", "p[47:18]"),
    "a low factor without its sign": (r"\.d\(\{ (low\[7\], )+low \}\)", ".d({ 19'h0, low })"),
    "a high factor that is a bit too low": (r"\.a\(\{ .*high, 18'h0+ \}\)", ".a({ high, 17'h0 })"),
    "a shared factor with a wrong bit": (r"\.b\(\{ (.*)shared \}\)", r".b({ \1shared ^ 8'h40 })"),
}


@pytest.mark.parametrize("what", BREAKS)
def test_the_proof_sees(what, proof, tmp_path):
    pattern, replacement = BREAKS[what]
    verilog, found = re.subn(pattern, replacement, proof.verilog)
    assert found == 1
    passed, result = prove(replace(proof, verilog=verilog), tmp_path)
    assert result["failed"] and not passed
    assert result["compared"] < 2**24


def test_the_first_input_that_shows_a_missing_borrow(proof, tmp_path):
    pattern, replacement = BREAKS["a borrow that is not paid back"]
    broken = replace(proof, verilog=re.sub(pattern, replacement, proof.verilog))
    _, result = prove(broken, tmp_path)
    high, low, shared = result["first"]
    # The proof counts `shared` fastest, then `low`: the first negative product of the low lane.
    assert (high, low, shared) == (0, 1, -128)


class Cascade(wiring.Component):
    """A chain of `length` packed multipliers, each with a splitter of full width at its tap."""

    def __init__(self, length):
        self.length = length
        factors = {name: In(signed(8)) for name in ("high", "low", "shared")}
        super().__init__(
            {
                "advance": In(1),
                "restart": In(length),
                "factors": In(wiring.Signature(factors)).array(length),
                "p": Out(signed(48)).array(length),
                "high_sum": Out(signed(30)).array(length),
                "low_sum": Out(signed(18)).array(length),
            }
        )

    def elaborate(self, platform):
        m = Module()
        before = 0
        for i in range(self.length):
            slot = add(m, platform, f"multiplier_{i}", PackedMultiplier)
            splitter = add(m, platform, f"splitter_{i}", LaneSplitter, 30)
            m.d.comb += [
                slot.advance.eq(self.advance),
                *(getattr(slot, n).eq(getattr(self.factors[i], n)) for n in FACTORS),
                *(slot.restart.eq(self.restart[i]), slot.pcin.eq(before)),
                *(splitter.p.eq(slot.p), self.p[i].eq(slot.p)),
                *(self.high_sum[i].eq(splitter.high), self.low_sum[i].eq(splitter.low)),
            ]
            before = slot.pcout
        return m


FACTORS = ("high", "low", "shared")


def run_cascade(factors, restarts=None):
    """Return (p, high, low) at every tap, int64 [vectors, length], for one vector per cycle.

    Args:
        factors: int [vectors, length, 3], high, low and shared of every multiplier.
        restarts: bool [vectors, length]; by default only the first multiplier begins a sum.
    """
    vectors, length, _ = factors.shape
    if restarts is None:
        restarts = (torch.arange(length) == 0).expand(vectors, length)
    latency, chosen = PackedMultiplier.cycles("high"), PackedMultiplier.cycles("restart")
    dut = Cascade(length)
    taps = torch.zeros(3, vectors, length, dtype=torch.int64)
    words, begins = factors.tolist(), restarts.tolist()

    async def bench(ctx):
        ctx.set(dut.advance, 1)
        for cycle in range(vectors + latency + length):
            restart = 0
            # Multiplier i works i cycles behind the first.
            for i in range(length):
                if 0 <= (vector := cycle - i) < vectors:
                    for name, value in zip(FACTORS, words[vector][i], strict=True):
                        ctx.set(getattr(dut.factors[i], name), value)
                if 0 <= (vector := cycle - i - latency + chosen) < vectors:
                    restart |= begins[vector][i] << i
                if 0 <= (vector := cycle - i - latency) < vectors:
                    outputs = (dut.p, dut.high_sum, dut.low_sum)
                    for number, output in enumerate(outputs):
                        taps[number, vector, i] = ctx.get(output[i])
            ctx.set(dut.restart, restart)
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return taps


def random_factors(vectors, length, factor=INT8, seed=0):
    """Return int8 factors [vectors, length, 3], half of them at the ends of their range."""
    generator = torch.Generator().manual_seed(seed)
    shape = (vectors, length, 3)
    anywhere = torch.randint(factor[0], factor[1] + 1, shape, generator=generator)
    ends = torch.tensor(factor)[torch.randint(0, 2, shape, generator=generator)]
    return torch.where(torch.rand(shape, generator=generator) < 0.5, anywhere, ends)


def uniform_factors(length, *triples):
    return torch.tensor(triples)[:, None].expand(-1, length, 3)


def exact_sums(factors):
    """Return the sums of the plain products, (high, low), of every length."""
    high, low, shared = factors.unbind(-1)
    return (high * shared).cumsum(1), (low * shared).cumsum(1)


EXTREMES = [(a, b, c) for a in INT8 for b in INT8 for c in INT8]


@pytest.mark.parametrize("factor", [INT8, SYMMETRIC_INT8])
def test_a_cascade_is_exact_for_every_length_up_to_the_bound(factor):
    bound = most_products(factor, factor)
    ends = [tuple(factor[v > 0] for v in triple) for triple in EXTREMES]
    factors = torch.cat([uniform_factors(bound, *ends), random_factors(300, bound, factor)])
    p, high, low = run_cascade(factors)
    assert torch.equal(p, cascade(packed_product(*factors.unbind(-1)), 1))
    for got, exact, golden in zip((high, low), exact_sums(factors), split(p), strict=True):
        assert torch.equal(got, exact)
        assert torch.equal(got, golden)


@pytest.mark.parametrize("factor", [INT8, SYMMETRIC_INT8])
def test_one_product_more_overflows_as_golden_says(factor):
    length = most_products(factor, factor) + 1
    factors = uniform_factors(length, (1, factor[0], factor[0]))
    p, high, low = run_cascade(factors)
    exact_high, exact_low = exact_sums(factors)
    assert torch.equal(low[:, :-1], exact_low[:, :-1])
    assert low[0, -1] == exact_low[0, -1] - 2**18
    assert high[0, -1] == exact_high[0, -1] + 1
    assert torch.equal(torch.stack(split(p)), torch.stack([high, low]))


def test_a_sum_may_begin_at_any_multiplier():
    factors = random_factors(200, 8, SYMMETRIC_INT8, seed=1)
    restarts = torch.rand(200, 8, generator=torch.Generator().manual_seed(2)) < 0.3
    restarts[:, 0] = True
    _, high, low = run_cascade(factors, restarts)
    for got, products in zip((high, low), (factors[..., 0], factors[..., 1]), strict=True):
        sums = torch.zeros(200, dtype=torch.int64)
        for i in range(8):
            sums = torch.where(restarts[:, i], 0, sums) + products[:, i] * factors[:, i, 2]
            assert torch.equal(got[:, i], sums)


@pytest.mark.parametrize(
    "config", [PACKED_MULTIPLIER, Dsp48e2Config(areg=0, breg=0, mreg=0, preg=1, pre_adder="add")]
)
def test_a_held_multiplier_takes_nothing_and_gives_the_same(config):
    dut = PackedMultiplier(config)
    seen = []

    async def bench(ctx):
        for name, value in {"high": 5, "low": -3, "shared": 7, "restart": 1, "advance": 1}.items():
            ctx.set(getattr(dut, name), value)
        await ctx.tick().repeat(PackedMultiplier.cycles("high", config))
        ctx.set(dut.advance, 0)
        seen.append(ctx.get(dut.p))
        ctx.set(dut.shared, 0)
        await ctx.tick().repeat(8)
        seen.append(ctx.get(dut.p))
        ctx.set(dut.advance, 1)
        await ctx.tick().repeat(PackedMultiplier.cycles("shared", config))
        seen.append(ctx.get(dut.p))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen == [35 * 2**18 - 21, 35 * 2**18 - 21, 0]


@pytest.mark.parametrize("bits", [1, 18, 30])
def test_verilator_has_no_warning_about_the_splitter(bits):
    assert cosim.lint(emit(LaneSplitter, bits)) == []


def test_verilator_has_no_warning_about_the_proof(proof):
    assert cosim.lint(proof) == []


def test_the_contract():
    cycles = {port: PackedMultiplier.cycles(port) for port in (*FACTORS, "restart", "pcin")}
    assert cycles == {"high": 4, "low": 4, "shared": 4, "restart": 2, "pcin": 1}
    assert LaneSplitter.cycles() == 0


def refuses(message):
    return pytest.raises(ConfigError, match=f"^{re.escape(message)}$")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pre_adder": "subtract"}, "pre_adder is 'subtract'; packing needs 'add'"),
        ({"z": (ZSource.ZERO,)}, f"z is {(ZSource.ZERO,)!r}; a cascade needs ZERO and PCIN"),
        ({"a_cascade": True}, "a_cascade is True; a packed multiplier has no such input"),
        ({"b_cascade": True}, "b_cascade is True; a packed multiplier has no such input"),
        (
            {"breg": 1},
            "areg, dreg and breg are 1, 1 and 1: the factors meet after 4, 4 and 3 cycles; "
            "the same number is needed",
        ),
    ],
)
def test_a_slice_that_cannot_pack_is_refused(fields, message):
    with refuses(message):
        PackedMultiplier(replace(PACKED_MULTIPLIER, **fields))


@pytest.mark.parametrize("bits", [0, 31, "18"])
def test_a_splitter_without_such_a_lane_is_refused(bits):
    with refuses(f"high_bits is {bits!r}; allowed are 1 to 30 bits"):
        LaneSplitter(bits)
