"""Chains of slices for the tests: made of `ChainSlice`, with a `LaneSplitter` at every one."""

import numpy as np
import torch
from amaranth.hdl import Module, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.numbers import signed_range
from golden.packed_multiplier import cascade, high_residue, packed_product, split
from hw.chain_slice import ChainSlice, LaneSplitter
from hw.emit import add

LATENCY = ChainSlice.cycles("low")
RESTART_DELAY = LATENCY - ChainSlice.cycles("restart")


class SliceChains(wiring.Component):
    """Chains of different lengths that work on the same factors, each on as many as it is long.

    Members:
        i: `factors` (high, low, shared) and `restart` of every slice of the longest chain.
        o: for every chain, slice and lane (the low one first) the sum behind it.
    """

    def __init__(self, *configs):
        self.configs = configs
        self.longest = max(config.chain_length for config in configs)
        factors = data.ArrayLayout(data.ArrayLayout(signed(8), 3), self.longest)
        sums = sum(config.lanes for config in configs)
        super().__init__(
            {
                "i": In(data.StructLayout({"factors": factors, "restart": self.longest})),
                "o": Out(data.ArrayLayout(signed(32), sums)),
            }
        )

    @property
    def module_name(self):
        return "slice_chains"

    def elaborate(self, platform):
        m = Module()
        sums = iter(self.o)
        for c, config in enumerate(self.configs):
            before = 0
            for k in range(config.chain_length):
                slot = add(m, platform, f"slice_{c}_{k}", ChainSlice, config)
                splitter = add(m, platform, f"splitter_{c}_{k}", LaneSplitter, config)
                high, low, shared = self.i.factors[k]
                m.d.comb += [
                    *(slot.low.eq(low), slot.shared.eq(shared)),
                    *(slot.restart.eq(self.i.restart[k]), slot.pcin.eq(before)),
                    splitter.i.eq(slot.o),
                    *(next(sums).eq(lane) for lane in splitter.sums),
                ]
                if config.products_per_dsp == 2:
                    m.d.comb += slot.high.eq(high)
                before = slot.pcout
        return m


def words(factors, restarts):
    """Return the words for the bench: slice k works k cycles behind the first.

    Args:
        factors: int [vectors, length, 3]. restarts: bool [vectors, length].
    """
    vectors, length, _ = factors.shape
    cycles = vectors + length + LATENCY
    bytes_, bits = np.zeros((cycles, length, 3), np.uint8), np.zeros((cycles, length), np.uint8)
    for k in range(length):
        bytes_[k : k + vectors, k] = factors[:, k].numpy().astype(np.uint8)
        at = k + RESTART_DELAY
        bits[at : at + vectors, k] = restarts[:, k].numpy()
    packed = np.packbits(bits, axis=1, bitorder="little")
    return np.concatenate([bytes_.reshape(cycles, -1), packed], axis=1)


def sums_seen(seen, configs, vectors):
    """Return int64 [vectors, chain_length, lanes] for each configuration; `seen` of one run."""
    seen = torch.from_numpy(seen.view(np.int32).astype(np.int64))
    result, at = [], 0
    for config in configs:
        length, lanes = config.chain_length, config.products_per_dsp
        mine = seen[:, at : at + length * lanes].reshape(-1, length, lanes)
        columns = [mine[LATENCY + k : LATENCY + k + vectors, k] for k in range(length)]
        result.append(torch.stack(columns, 1))
        at += length * lanes
    return result


def sums_since(products, restarts):
    """Return the sums of int64 [vectors, length] since the last restart."""
    sums = torch.zeros_like(products)
    for k in range(products.shape[1]):
        before = sums[:, k - 1] if k else 0
        sums[:, k] = products[:, k] + torch.where(restarts[:, k], 0, before)
    return sums


def exact(factors, restarts, config):
    """Return what plain products and sums give, int64 [vectors, chain_length, lanes]."""
    factors, restarts = factors[:, : config.chain_length].long(), restarts[:, : config.chain_length]
    high, low, shared = factors.unbind(-1)
    lanes = [low, high][: config.products_per_dsp]
    return torch.stack([sums_since(lane * shared, restarts) for lane in lanes], -1)


def golden(factors, bits):
    """Return what golden's packed arithmetic gives without a restart, [vectors, length, 2]."""
    high, low, shared = factors.unbind(-1)
    p = cascade(packed_product(high, low, shared), 1)
    high_sum, low_sum = split(p, high_residue(high, shared, bits), bits)
    return torch.stack([low_sum, high_sum], -1)


def stimulus(length, seed=0, random=300):
    """Return factors [vectors, length, 3] and restarts: directed ones first, then random ones."""
    ends = torch.tensor(signed_range(8))
    corners = torch.cartesian_prod(ends, ends, ends)
    same = corners[:, None].expand(-1, length, -1)
    turning = corners[torch.arange(8)[:, None] ^ (torch.arange(length) % 2 * 7)]
    directed = torch.cat([same, turning])
    generator = torch.Generator().manual_seed(seed)
    shape = (random, length, 3)
    anywhere = torch.randint(-128, 128, shape, generator=generator)
    choice = ends[torch.randint(0, 2, shape, generator=generator)]
    mixed = torch.where(
        torch.rand(shape[:2], generator=generator)[..., None] < 0.5, anywhere, choice
    )
    factors, restarts = [], []
    for every in [2**k for k in range(length.bit_length())]:
        for part in (directed, mixed):
            factors.append(part)
            restarts.append((torch.arange(length) % every == 0).expand(len(part), length))
    factors.append(mixed)
    anyhow = torch.rand(shape[:2], generator=generator) < 0.1
    anyhow[:, 0] = True
    restarts.append(anyhow)
    return torch.cat(factors), torch.cat(restarts)
