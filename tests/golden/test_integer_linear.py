import re
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golden import gguf_weights, language_model
from golden.group_scale import scale_groups
from golden.integer_linear import (
    ENGINE,
    UNIT_SCALE,
    ZERO_FRACTION_BITS,
    IntegerLinear,
    RealWeights,
    integer_linear,
    plain_product,
)
from golden.matrix_engine import Mode, group_offsets, matrix_engine
from golden.quantise import quantise_groups
from golden.sparse_matrix import dense_matrix
from golden.spec.errors import ShapeError
from golden.spec.matrix_engine import MatrixEngineConfig
from golden.special_functions.scalars import exact, normalise

LAYER = ("model.layers.3.self_attn.k_proj", 3, "self_attn.k_proj")


def linear(rows=3, inputs=40, group_size=16, bits=8, seed=0, symmetric=False, **fields):
    generator = torch.Generator().manual_seed(seed)
    groups = -(-inputs // group_size)
    half = 2 ** (bits - 1)
    limit = 1 if symmetric else 128
    values = {
        "values": torch.randint(-half, half, (rows, inputs), generator=generator).to(torch.int8),
        "scales": torch.randint(0, 2**16, (rows, groups), generator=generator),
        "zeros": torch.randint(1 - limit, limit, (rows, groups), generator=generator),
    }
    return IntegerLinear(**values | fields, group_size=group_size, bits=bits, shift=0)


def random_bytes(*shape, seed=1):
    return torch.randint(-128, 128, shape, generator=torch.Generator().manual_seed(seed))


@given(
    st.integers(1, 5),
    st.integers(1, 100),
    st.sampled_from([16, 32, 48]),
    st.sampled_from([2, 4, 8]),
    st.integers(0, 2**32),
)
def test_outputs_are_the_formula_s(rows, inputs, group_size, bits, seed):
    layer = linear(rows, inputs, group_size, bits, seed=seed)
    x = random_bytes(2, inputs, seed=seed)
    given = layer.outputs(x).tolist()
    for token in range(2):
        for row in range(rows):
            total = 0
            for i in range(inputs):
                group = i // group_size
                weight = 8 * int(layer.values[row, i]) - int(layer.zeros[row, group])
                total += int(layer.scales[row, group]) * weight * int(x[token, i])
            # Python rounds a fraction of integers below 2**53 half to even, exactly.
            assert given[token][row] == round(total / 2**17)


@pytest.fixture(scope="module")
def smollm2():
    return language_model.load(language_model.smollm2_file())


def test_symmetric_weights_of_a_real_layer_through_the_engine(smollm2):
    quantised = quantise_groups(smollm2.weight(LAYER[0]), 8, 192)
    scales = quantised.scales.double()
    weights = RealWeights(quantised.values, scales, torch.zeros_like(scales), 192)
    layer = integer_linear(weights, 16, 16)
    config = MatrixEngineConfig(scale_shift=14, output_bits=27)
    x = random_bytes(2, 576)
    matrix = dense_matrix(layer.values, 192)
    through = [
        matrix_engine(matrix, x[i : i + 1], layer.scales, layer.zeros, config, Mode.MATRIX_VECTOR)
        for i in range(2)
    ]
    assert torch.equal(layer.outputs(x), torch.cat(through).long())


def test_codes_of_a_real_layer_through_the_engine(smollm2):
    whole = gguf_weights.layer_weights(language_model.smollm2_file(), *LAYER[1:])
    rows = {name: getattr(whole, name)[:32] for name in ("values", "scales", "zeros")}
    layer = integer_linear(replace(whole, **rows), 16, 16)
    x = random_bytes(1, 576)
    matrix = dense_matrix(layer.values, 32, bits=4)
    assert (layer.zeros % 2**ZERO_FRACTION_BITS).any()
    through = matrix_engine(matrix, x, layer.scales, layer.zeros, ENGINE, Mode.MATRIX_VECTOR)
    assert torch.equal(layer.outputs(x), through.long())


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 2**32))
def test_outputs_are_the_group_scale_s(rows, groups, seed):
    layer = linear(rows, 32 * groups, 32, 4, seed=seed)
    x = random_bytes(3, 32 * groups, seed=seed)
    sums = torch.einsum(
        "rgk,tgk->trg", layer.values.long().unflatten(1, (-1, 32)), x.unflatten(1, (-1, 32))
    )
    offsets = group_offsets(x, 32)[:, None]
    through = scale_groups(sums, layer.scales, layer.zeros, offsets, ENGINE)
    assert torch.equal(layer.outputs(x), through.long())


@pytest.mark.parametrize("inputs", [96, 80])
def test_a_layer_is_close_to_its_real_weights(inputs):
    generator = torch.Generator().manual_seed(5)
    groups = -(-inputs // 32)
    weights = RealWeights(
        torch.randint(-8, 8, (50, inputs), generator=generator).to(torch.int8),
        torch.rand(50, groups, generator=generator).double() * 3e-3 + 1e-3,
        torch.randint(-64, 64, (50, groups), generator=generator).double() / 8,
        group_size=32,
        bits=4,
    )
    layer = integer_linear(weights, 14, 17)
    x = random_bytes(7, inputs)
    magnitude = torch.randint(2**20, 2**24, (7,), generator=generator)
    real = x.double() * magnitude[:, None] / 127 * 2.0**-14
    expected = real @ weights.dequantise().T
    wide = layer(x, normalise(exact(magnitude))) * 2.0**-17
    assert (wide - expected).abs().max() < 2e-4 * expected.abs().max()


def test_scales_use_all_their_bits():
    values = torch.ones(2, 16, dtype=torch.int8)
    for scale in (1e-6, 0.3, 0.9, 1.0, 77.0):
        scales = torch.tensor([[scale], [scale / 3]], dtype=torch.float64)
        layer = integer_linear(RealWeights(values, scales, torch.zeros(2, 1), 16), 0, 0)
        assert 2**15 <= int(layer.scales[0]) < 2**16


def test_a_group_without_weights_takes_no_bits_from_the_others():
    values = torch.ones(2, 32, dtype=torch.int8)
    values[1, 16:] = 0
    scales = torch.full((2, 2), 1e-3, dtype=torch.float64)
    alone = integer_linear(RealWeights(values, scales, torch.zeros(2, 2), 16), 0, 0)
    scales[1, 1] = 1.0
    layer = integer_linear(RealWeights(values, scales, torch.zeros(2, 2), 16), 0, 0)
    assert layer.scales.tolist() == [[alone.scales[0, 0]] * 2, [alone.scales[0, 0], 0]]
    assert layer.shift == alone.shift


def test_scales_leave_room_for_the_totals():
    values = torch.full((1, 4096), 127, dtype=torch.int8)
    scales = torch.full((1, 16), 0.4, dtype=torch.float64)
    layer = integer_linear(RealWeights(values, scales, torch.zeros(1, 16), 256), 0, 0)
    assert int(layer.scales[0, 0]) < 2**15
    assert layer.outputs(torch.full((1, 4096), 127)) > 2**24


def test_a_layer_of_zeros():
    zero = torch.zeros(2, 16)
    layer = integer_linear(RealWeights(zero.to(torch.int8), zero[:, :1], zero[:, :1], 16), 0, 0)
    assert not layer.outputs(random_bytes(3, 16)).any()


def test_a_plain_product_is_the_engine_s_with_the_unit_scale():
    x, weights = random_bytes(3, 32), random_bytes(5, 32, seed=2)
    scales = torch.full((5, 2), UNIT_SCALE)
    layer = IntegerLinear(weights.to(torch.int8), scales, torch.zeros(5, 2).long(), 16, 8, 0)
    assert torch.equal(layer.outputs(x), plain_product(x, weights))
    assert torch.equal(plain_product(x, weights), x @ weights.T)
    long = torch.full((1, 4160), -128)
    assert plain_product(long, long).tolist() == [[2**26 - 1]]


def test_bits_in_memory():
    assert linear(2, 32, 16, symmetric=True).stored_bits == 2 * 32 * 8 + 4 * 16
    assert linear(2, 32, 16, bits=4).stored_bits == 2 * 32 * 4 + 4 * 24


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scales": torch.zeros(3, 2)}, "the scales are [3, 2]; [3, 3] are needed"),
        ({"zeros": torch.zeros(3, 4)}, "the zero points are [3, 4]; [3, 3] are needed"),
        (
            {"scales": torch.full((3, 3), 2**16)},
            "the scales spans 65536 to 65536; 17 signed bits hold -65536 to 65535",
        ),
        ({"scales": -torch.ones(3, 3).long()}, "scales go down to -1; 0 is the least"),
        (
            {"zeros": torch.full((3, 3), 128)},
            "the zero points spans 128 to 128; 8 signed bits hold -128 to 127",
        ),
        (
            {"bits": 4, "values": torch.full((3, 40), 8)},
            "the weight spans 8 to 8; 4 signed bits hold -8 to 7",
        ),
    ],
)
def test_what_does_not_fit_is_refused(fields, message):
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        linear(**fields)


def test_what_could_overflow_is_refused():
    fields = {"values": torch.full((1, 4096), -128, dtype=torch.int8)}
    small = {"inputs": 4096, "rows": 1, "symmetric": True}
    message = "^the group size is 456; the engine adds up groups of 455 inputs at most$"
    with pytest.raises(ShapeError, match=message):
        linear(group_size=456, **small, **fields)
    scales = torch.full((1, 16), 2**16 - 1)
    with pytest.raises(ShapeError, match=r"^a row's total can reach 3.51838e\+13; 44 signed bits"):
        linear(group_size=256, **small, **fields, scales=scales)
