"""The slice of the chain: all 2**24 factors in Verilator, and chains of slices, on every target."""

import itertools
import json
import re
from dataclasses import replace

import pytest
import torch
from slice_chains import SliceChains, exact, golden, stimulus, sums_seen, words

from golden.spec.sparse_chain import SparseChainConfig
from hw import cosim
from hw.benches.chain_slice import ChainSliceProof
from hw.benches.vectors import run_vectors
from hw.chain_slice import ChainSlice, LaneSplitter, cascade_layout
from hw.emit import emit

BENCH = "hw.benches.chain_slice"
TARGETS = ("generic", "ultrascale+", "ecp5")
CHAINS = [
    *(SparseChainConfig(m=length, products_per_dsp=1) for length in (4, 32)),
    *(SparseChainConfig(m=length) for length in (4, 8, 16, 32)),
]


def prove(design, folder):
    """Return whether the bench passed, and its result."""
    passed = cosim.run(cosim.build(design), BENCH, folder)
    return passed, json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="module")
def proof():
    return emit(ChainSliceProof, SparseChainConfig())


@pytest.mark.parametrize("target", TARGETS)
def test_both_lanes_are_exact_for_all_factors(target, tmp_path):
    passed, result = prove(emit(ChainSliceProof, SparseChainConfig(), target=target), tmp_path)
    assert passed
    assert (result["compared"], result["failed"]) == (2**24, False)


BREAKS = {
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


FACTORS, RESTARTS = stimulus(32)


def run_chains(configs, folder, factors=FACTORS, target="generic"):
    """Return each chain's configuration, its sums, and whether they are exact."""
    simulator = cosim.build(emit(SliceChains, *configs, target=target))
    (seen,) = run_vectors(simulator, words(factors, RESTARTS), folder)
    for config, sums in zip(configs, sums_seen(seen, configs, len(factors)), strict=True):
        yield config, sums, sums == exact(factors, RESTARTS, config)


@pytest.mark.parametrize(
    "target", [pytest.param(t, marks=[pytest.mark.full] * (t != "generic")) for t in TARGETS]
)
def test_chains_of_every_length_are_exact_on_every_target(target, tmp_path):
    for config, _, right in run_chains(CHAINS, tmp_path, target=target):
        assert right.all(), config


def test_a_longer_chain_has_more_bits_of_the_residue():
    assert [config.residue_bits for config in CHAINS] == [0, 0, 0, 0, 1, 2]


def test_the_stimulus_reaches_the_largest_and_the_lowest_sum_of_every_chain():
    for config in CHAINS:
        sums = exact(FACTORS, RESTARTS, config)[:, -1]
        lowest = -config.chain_length * 127 * 128
        for lane in range(config.products_per_dsp):
            assert (sums[:, lane].min(), sums[:, lane].max()) == (lowest, config.largest_sum)


@pytest.mark.parametrize("config", CHAINS[2:], ids=str)
def test_golden_splits_the_same_sums(config):
    whole = torch.zeros_like(RESTARTS)
    whole[:, 0] = True
    mine = FACTORS[:, : config.chain_length]
    assert torch.equal(golden(mine, config.residue_bits), exact(FACTORS, whole, config))


@pytest.mark.parametrize(("activation_bits", "weight_bits"), [(6, 8), (7, 7)])
def test_chains_of_narrower_operands_are_exact(activation_bits, weight_bits, tmp_path):
    config = SparseChainConfig(m=32, activation_bits=activation_bits, weight_bits=weight_bits)
    # Scaled down, extremes are extremes of the narrower operands.
    shift = torch.tensor([8 - activation_bits, 8 - activation_bits, 8 - weight_bits])
    for _, sums, right in run_chains([config], tmp_path, FACTORS >> shift):
        assert right.all() and sums.max() == config.largest_sum


def test_one_bit_of_the_residue_less_is_too_few(tmp_path):
    class OneFewer(SparseChainConfig):
        @property
        def residue_bits(self):
            return super().residue_bits - 1

    for config, _, right in run_chains([OneFewer(m=16), OneFewer(m=32)], tmp_path):
        by_slice = right.all(dim=0).all(dim=1)
        assert by_slice[: config.chain_length // 2].all() and not by_slice[-1]


FORMS = [*CHAINS[1:], SparseChainConfig(m=32, activation_bits=2)]


@pytest.mark.parametrize(
    ("target", "block"), list(itertools.product(TARGETS, (ChainSlice, LaneSplitter)))
)
def test_verilator_has_no_warning(target, block):
    for config in FORMS:
        assert cosim.lint(emit(block, config, target=target)) == []


@pytest.mark.parametrize("block", [ChainSlice, LaneSplitter])
@pytest.mark.parametrize("products", [1, 2])
def test_every_target_has_the_same_module_from_outside(block, products):
    config = SparseChainConfig(products_per_dsp=products)
    designs = [emit(block, config, target=target) for target in TARGETS]
    assert len({(d.top, d.ports) for d in designs}) == 1


@pytest.mark.parametrize(
    ("target", "cell", "count"),
    [("ultrascale+", "DSP48E2", (1, 1)), ("ecp5", "MULT18X18D", (1, 2)), ("generic", "", (0, 0))],
)
def test_a_slice_is_these_cells(target, cell, count):
    for products in (1, 2):
        design = emit(ChainSlice, SparseChainConfig(products_per_dsp=products), target=target)
        instances = re.findall(r"^  mult18x18d \w+ \(|^  DSP48E2 #\(", design.verilog, re.M)
        assert len(instances) == count[products - 1]
        assert set(re.findall(r"DSP48E2|MULT18X18D", design.verilog)) == ({cell} - {""})


def test_the_cascade_holds_a_residue_only_where_sums_may_spill():
    for products in (1, 2):
        config = SparseChainConfig(products_per_dsp=products)
        fields = dict(cascade_layout(config))
        assert set(fields) == ({"p", "residue"} if products == 2 else {"p"})
        assert ("high" in ChainSlice(config).signature.members) == (products == 2)
    assert set(dict(cascade_layout(SparseChainConfig(m=8)))) == {"p"}


def test_the_contract():
    ports = ("high", "low", "shared", "restart", "pcin")
    assert [ChainSlice.cycles(port) for port in ports] == [4, 4, 4, 2, 1]
    assert LaneSplitter.cycles() == 0
