import numpy as np
import pytest
import torch

from golden.sparse_matrix import pack
from golden.sparsity import keep_mask
from golden.spec.errors import ConfigError
from golden.spec.sparse_chain import SparseChainConfig
from hw.sparse_chain import block_layout, sums_layout, weight_layout
from hw.verify import (
    CaseResult,
    _block_beats,
    _expected_beats,
    _weight_beats,
    coverage,
    random_case,
    random_cases,
    run_cases,
)

CONFIG = SparseChainConfig(activation_bits=7, weight_bits=5)


def a_case(seed=0):
    random = np.random.default_rng(seed)
    return random_case(CONFIG, random, "a case", idle=False, stall=False)


def fields(layout, payload):
    return layout.from_bits(int.from_bytes(payload.tobytes(), "little"))


def test_weights_lie_in_a_beat_as_the_hardware_reads_them():
    matrix = a_case().matrix
    for beat, payload in enumerate(_weight_beats(matrix)):
        weights = fields(weight_layout(CONFIG), payload)
        assert [weights.value[i] for i in range(16)] == matrix.values[beat].tolist()
        assert [weights.index[i] for i in range(16)] == matrix.indices[beat].tolist()


def test_blocks_come_token_by_token_with_their_activations_and_n():
    case = a_case()
    strips, blocks = case.matrix.keep.shape
    beats = _block_beats(case)
    assert len(beats) == len(case.activations) * strips * blocks
    for number, payload in enumerate(beats):
        block = fields(block_layout(CONFIG), payload)
        token, strip, column = np.unravel_index(number, (len(case.activations), strips, blocks))
        inputs = case.activations[token, 16 * column : 16 * (column + 1)]
        assert [block.activation[i] for i in range(16)] == inputs.tolist()
        assert 2 << block.keep_code == case.matrix.keep[strip, column]
        assert block.last == ((column + 1) * 16 % case.matrix.group_size == 0)


def test_expected_sums_are_those_of_plain_matrix_products():
    random = np.random.default_rng(0)
    weight = torch.from_numpy(random.integers(-16, 16, (32, 64)))
    activations = torch.from_numpy(random.integers(-64, 64, (2, 64)))
    keep = torch.full((2, 4), 16)
    mask = keep_mask(weight.float(), keep, CONFIG)
    case = a_case()
    case = type(case)("dense", pack(weight, mask, keep, 32, CONFIG), activations)
    beats = iter(_expected_beats(case))
    for token in activations:
        for strip in weight.split(16):
            for group in range(2):
                part = slice(32 * group, 32 * (group + 1))
                assert next(beats).tolist() == (strip[:, part] @ token[part]).tolist()
    assert next(beats, None) is None
    assert len(sums_layout(CONFIG).from_bits(0)) == 16


def test_random_cases_repeat_with_their_seed_and_differ_without():
    first, again, other = (random_cases(CONFIG, 3, seed) for seed in (1, 1, 2))
    assert torch.equal(first[2].activations, again[2].activations)
    assert [case.matrix.keep.shape for case in first] != [case.matrix.keep.shape for case in other]


def test_coverage_counts_the_crosses_of_n_and_pauses():
    cases = random_cases(CONFIG, 1, seed=0)
    hit = len(cases[0].matrix.keep.unique())
    assert coverage(cases) == hit / 16


@pytest.mark.parametrize("configs", [[], [CONFIG, SparseChainConfig()]])
def test_cases_of_one_configuration_are_needed(configs):
    cases = [case for config in configs for case in random_cases(config, 1, seed=0)]
    with pytest.raises(
        ConfigError, match=rf"^the cases have {len(configs)} configurations; one is"
    ):
        run_cases(cases)


def test_a_case_passes_only_with_golden_sums_and_the_contracts_cycles():
    right = {"name": "", "products": 320, "lanes": 16, "compared": 16}
    assert CaseResult(**right, cycles=45, stall_cycles=4, contract_cycles=41, mismatches=0).passed
    assert not CaseResult(
        **right, cycles=45, stall_cycles=4, contract_cycles=41, mismatches=1
    ).passed
    assert not CaseResult(
        **right, cycles=45, stall_cycles=3, contract_cycles=41, mismatches=0
    ).passed
    counted = CaseResult(**right, cycles=40, stall_cycles=0, contract_cycles=40, mismatches=0)
    assert counted.utilisation == 0.5
