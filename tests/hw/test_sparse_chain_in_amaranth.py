"""The same chain in Amaranth's own simulator: the generator without emission and Verilator."""

import numpy as np
import torch
from amaranth.sim import Simulator

from golden.spec.sparse_chain import SparseChainConfig
from hw.sparse_chain import SparseChain
from hw.verify import _block_beats, _expected_beats, _weight_beats, random_case

CONFIG = SparseChainConfig(m=4, activation_bits=4, weight_bits=4, accumulator_bits=16)


def integers(payloads):
    return [int.from_bytes(payload.tobytes(), "little") for payload in payloads]


def test_the_chain_is_golden_under_amaranths_simulator():
    case = random_case(CONFIG, np.random.default_rng(5), "", idle=False, stall=False)
    expected = _expected_beats(case)
    chain = SparseChain(CONFIG)
    sums = []

    def feed(stream, payloads):
        async def bench(ctx):
            for payload in payloads:
                ctx.set(stream.payload, stream.payload.shape().from_bits(payload))
                ctx.set(stream.valid, 1)
                await ctx.tick().until(stream.ready)
            ctx.set(stream.valid, 0)

        return bench

    async def take(ctx):
        ctx.set(chain.o.ready, 1)
        for _ in expected:
            (payload,) = await ctx.tick().sample(chain.o.payload).until(chain.o.valid)
            sums.append([payload[i] for i in range(CONFIG.m)])

    simulator = Simulator(chain)
    simulator.add_clock(1e-6)
    simulator.add_testbench(feed(chain.i_block, integers(_block_beats(case))))
    weights = integers(_weight_beats(case.matrix)) * len(case.activations)
    simulator.add_testbench(feed(chain.i_weight, weights))
    simulator.add_testbench(take)
    simulator.run()
    assert torch.equal(torch.tensor(sums), torch.from_numpy(expected))
