"""200 small faults in the slice and in the splitter: each is seen, or is none."""

import re

import pytest
import torch
from one_port import OnePort, pack

from golden.packed_multiplier import cascade, packed_product
from golden.spec.dsp48e2 import LANE_BITS
from golden.spec.sparse_chain import SparseChainConfig
from hw import cosim
from hw.benches.vectors import run_vectors
from hw.chain_slice import ChainSlice, LaneSplitter
from hw.emit import emit
from hw.mutation import mutate

CONFIG = SparseChainConfig(m=16)
FAULTS = 200
BITS = CONFIG.residue_bits


def killed(mutants, words, expected, folder, resets=None):
    """Return the numbers of the mutants that differ anywhere; the whole design does not."""
    simulator, every = cosim.build(mutants.design), list(range(FAULTS + 1))
    seen = run_vectors(simulator, words, folder, resets=resets, mutants=every)
    right = (seen == expected).all(axis=(1, 2))
    assert right[0]
    return {k for k in every if not right[k]}


def check_survivors(mutants, dead, equivalent, most):
    """Fail where a survivor is not explained, or where there are more than so many."""
    survivors = [fault for k, fault in enumerate(mutants.faults, 1) if k not in dead]
    unexplained = [f for f in survivors if not any(re.fullmatch(p, f) for p in equivalent)]
    assert unexplained == []
    assert len(survivors) <= most


def earlier(values, cycles, first=0):
    """Return the values of so many cycles before; `first` before the first cycle."""
    return torch.cat([torch.full((cycles,), first, dtype=values.dtype), values[:-cycles]])


def slice_case(cycles=600):
    """Return words for a slice, resets among them, and what it must give beside each."""
    generator = torch.Generator().manual_seed(0)

    def mixed(low, high):
        ends = torch.tensor([low, low + 1, -1, 0, 1, high])
        chosen = ends[torch.randint(0, len(ends), (cycles,), generator=generator)]
        anywhere = torch.randint(low, high + 1, (cycles,), generator=generator)
        return torch.where(torch.rand(cycles, generator=generator) < 0.3, chosen, anywhere)

    factors = {name: mixed(-128, 127) for name in ("high", "low", "shared")}
    p, residue = mixed(-(2**47), 2**47 - 1), mixed(-(2**47), 2**47 - 1) % 2**BITS
    restart, resets = (torch.rand(cycles, generator=generator) < part for part in (0.3, 0.1))
    slot = OnePort(ChainSlice, CONFIG)
    inputs = factors | {"restart": restart, "pcin": joined(p, residue)}
    words = pack(slot.i.shape(), inputs)

    lost = torch.stack([earlier(resets, k, True) for k in (1, 2, 3)]).any(0)
    high, low, shared = (torch.where(lost, 0, earlier(f, 3)) for f in factors.values())
    begins = earlier(restart | resets, 1, True)
    before = torch.where(begins, 0, p)
    sums = cascade(torch.stack([before, packed_product(high, low, shared)], 1))[:, 1]
    residues = (torch.where(begins, 0, residue) + high * shared) % 2**BITS
    behind = [torch.where(resets, 0, s) for s in (sums, residues)]
    both = joined(*(earlier(s, 1) for s in behind))
    return words, pack(slot.o.shape(), {"o": both, "pcout": both}), resets.numpy()


def joined(p, residue):
    """Return P with the residue above it, as they stand in `cascade_layout`."""
    return [(r << 48) + s % 2**48 for s, r in zip(p.tolist(), residue.tolist(), strict=True)]


SLICE_EQUIVALENT = {
    # Yosys' equiv_induct proves these.
    r"\w+ .*procmux.*": "a reset's multiplexer of which only the sign's bit is read, or a constant",
    r"const0 .*ternary.* B\[\d+\]": "a constant 0 that is stuck at 0",
    # Z is PCIN, C or, after a reset, 0; and C is 0: what does not come from PCIN is 0 anyhow.
    r"\w+ .*dsp\.\$eq.* [AB]\[0\]": "C in place of nothing, or nothing in place of C",
    r"const0 block\.dsp\.\$\d+ Y\[0\]": "nothing in place of C",
}


@pytest.mark.full
def test_the_bench_kills_every_mutant_of_the_slice(tmp_path):
    mutants = mutate(emit(OnePort, ChainSlice, CONFIG), FAULTS, seed=1)
    words, expected, resets = slice_case()
    dead = killed(mutants, words, expected, tmp_path, resets)
    check_survivors(mutants, dead, SLICE_EQUIVALENT, most=16)


def splitter_case(vectors=2000):
    """Return packed sums, the ends of their range and near them too, with both lanes."""
    generator = torch.Generator().manual_seed(0)
    lowest, largest = -CONFIG.chain_length * 127 * 128, CONFIG.largest_sum
    powers = 2 ** torch.arange(18)
    near = torch.cat([lowest + powers, largest - powers, powers, -powers, powers - 1])
    # Below the sign, the lowest sums have any one of these bits; the largest has none.
    first_bits = torch.tensor([-largest + 2**k for k in range(11, 18)])
    ends = torch.tensor([lowest, largest, 0]).repeat(20)
    some = torch.cat([near, first_bits.repeat(4), ends])
    chosen = some[torch.randint(0, len(some), (vectors, 2), generator=generator)]
    anywhere = torch.randint(lowest, largest + 1, (vectors, 2), generator=generator)
    lanes = torch.where(torch.rand((vectors, 2), generator=generator) < 0.5, anywhere, chosen)
    low, high = lanes.unbind(1)
    width = CONFIG.sum_bits
    both = [low % 2**width + (high % 2**width << width) for low, high in lanes.tolist()]
    splitter = OnePort(LaneSplitter, CONFIG)
    packed = joined((high << LANE_BITS) + low, high % 2**BITS)
    return pack(splitter.i.shape(), {"i": packed}), pack(splitter.o.shape(), {"sums": both})


SPLITTER_EQUIVALENT = {
    # (a ^ b) | b is a | b.
    r"cnot1 o A\[\d\]": "a bit of an OR, inverted by another bit of the same OR",
}


@pytest.mark.full
def test_the_bench_kills_every_mutant_of_the_splitter(tmp_path):
    mutants = mutate(emit(OnePort, LaneSplitter, CONFIG), FAULTS, seed=1)
    words, expected = splitter_case()
    check_survivors(
        mutants, killed(mutants, words, expected, tmp_path), SPLITTER_EQUIVALENT, most=4
    )
