"""Linear layers as weight streams: read back, and multiplied as the engine does."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from golden.integer_linear import IntegerLinear
from golden.spec.core import CoreConfig
from golden.spec.errors import ConfigError
from golden.spec.isa import FORMATS, Unit
from hls_gen.matrices import pack, place, place_parts, rows_of, stack
from hw.weight_stream_reader import read_weight_stream

CORE = CoreConfig(chains=3, m=8, strips=4)


def layer(rows, inputs, group_size, bits=8, zeros=False, seed=0, kept=1.0):
    random = torch.Generator().manual_seed(seed)
    groups = -(-inputs // group_size)
    high = 2 ** (bits - 1)
    values = torch.randint(-high, high, (rows, inputs), generator=random).to(torch.int8)
    values *= torch.rand(values.shape, generator=random) < kept
    scales = torch.randint(1, 2000, (rows, groups), generator=random)
    zero = torch.randint(-128, 128, (rows, groups), generator=random) * zeros
    return IntegerLinear(values, scales, zero, group_size, bits, shift=0)


def product(core, made, words, x):
    """What the engine gives for the words of all chains, int64 [strips * m]."""
    columns = made.columns * core.m
    inputs = np.zeros(columns, np.int8)
    inputs[: len(x)] = x
    outputs = np.zeros((made.strips, core.m), np.int64)
    for mine in words:
        rows = read_weight_stream(mine, core.engine)
        assert rows.tiles == made.sweeps
        assert rows.group_inputs == made.group * core.m
        assert rows.weights.shape[2] == columns
        outputs[rows.destinations] = rows.outputs(inputs, core.engine)
    return outputs.reshape(-1)


@pytest.mark.parametrize(
    ("core", "layers"),
    [
        (CORE, [layer(20, 24, 8), layer(7, 24, 8, seed=1), layer(50, 24, 8, seed=2)]),
        (CORE, [layer(20, 100, 48), layer(9, 100, 32, bits=4, zeros=True, seed=1)]),
        (CORE, [layer(130, 60, 200, bits=4, zeros=True)]),
        (replace(CORE, zero_fraction_bits=4), [layer(20, 800, 384)]),
        (replace(CORE, zero_fraction_bits=0, m=16), [layer(33, 70, 32), layer(1, 70, 455)]),
        (replace(CORE, chains=1, m=16, strips=2), [layer(100, 40, 16, bits=3, zeros=True)]),
        (CORE, [layer(70, 100, 48, bits=4, kept=0.05), layer(9, 100, 32, bits=4, seed=1)]),
        (replace(CORE, m=16, chains=2), [layer(300, 70, 32, bits=5, kept=0.1)]),
    ],
)
def test_stacked_layers_give_what_each_gives(core, layers):
    matrix = stack(layers, core)
    made, words = place(matrix, core, 64)
    assert words.shape == (core.chains, made.words, core.word_bytes)
    assert (made.offset, made.rows) == (64, len(matrix.values))
    random = torch.Generator().manual_seed(9)
    x = torch.randint(-128, 128, (layers[0].inputs,), generator=random)
    given = torch.from_numpy(product(core, made, words, x.numpy()))
    for strip, one in zip(matrix.starts, layers, strict=True):
        mine = given[strip * core.m :][: len(one.values)]
        assert torch.equal(mine, one.outputs(x[None])[0])


def blocks(counts, bits=8):
    """A layer of one strip: of its blocks of 8 inputs, in one group, each row keeps so many."""
    kept = torch.cat([torch.arange(8) < count for count in counts])
    one = layer(8, len(kept), 8 * len(counts), bits)
    values = torch.where(kept, one.values.where(one.values != 0, 1), 0).to(torch.int8)
    return replace(one, values=values)


@pytest.mark.parametrize(
    ("counts", "bits", "keep"),
    [
        ([0, 1, 2, 3, 4], 8, [0, 2, 2, 4, 4]),
        ([4, 4, 4], 8, [4, 4, 4]),
        ([4, 4, 4], 2, [8, 8, 8]),  # with an index of 3 bits each is longer
        ([5, 2, 2], 8, [8, 2, 2]),
        ([8, 8, 2], 8, [8, 8, 8]),
        ([8, 8, 8], 8, [8, 8, 8]),
    ],
)
def test_weights_that_are_0_are_left_out_where_that_is_faster(counts, bits, keep):
    matrix = pack(stack([blocks(counts, bits)], CORE), CORE.engine.chain)
    assert matrix.keep[0].tolist() == keep


def test_a_sparse_matrix_takes_fewer_words():
    words = [place(stack([blocks([n] * 12)], CORE), CORE, 0)[0].words for n in (8, 4, 2)]
    assert words == sorted(words, reverse=True) and words[0] > 2 * words[2]


def test_parts_of_a_sparse_matrix_fit_each():
    """The first rows keep less than the others."""
    one = layer(144, 96, 96)
    kept = torch.arange(96) % 8 < torch.where(torch.arange(144) < 48, 1, 4)[:, None]
    one = replace(one, values=torch.where(kept, one.values, 0).to(torch.int8))
    most = 200
    parts = list(place_parts(stack([one], CORE), CORE, 0, most))
    assert len(parts) == 2 < len(one.values) // 48
    assert all(words.shape[1] == product.words <= most for product, words in parts)
    assert [product.first_strip for product, _ in parts] == [0, parts[0][0].rows // 8]
    x = torch.arange(-48, 48)
    given = np.concatenate([product_of(made, words, x) for made, words in parts])
    assert given[:144].tolist() == one.outputs(x[None])[0].tolist()


def product_of(made, words, x):
    return product(CORE, made, words, x.numpy())[: made.rows]


def test_zero_points_need_a_dense_matrix():
    one = replace(blocks([2, 2]), zeros=torch.full((8, 1), 3))
    assert pack(stack([one], CORE), CORE.engine.chain).is_dense


def test_some_rows():
    one = layer(40, 24, 8)
    part = rows_of(stack([one], CORE), 16, 32)
    made, words = place(part, CORE, 0)
    x = torch.arange(-12, 12)
    given = product(CORE, made, words, x.numpy())
    assert given[:16].tolist() == one.outputs(x[None])[0, 16:32].tolist()


def test_a_group_is_cut_no_more_than_needed():
    core = replace(CORE, zero_fraction_bits=4)
    assert core.engine.max_group_inputs < 384
    assert stack([layer(8, 800, 384)], core).group_size == 192
    assert stack([layer(8, 800, 384)], CORE).group_size == 384


def test_a_matrix_that_no_load_holds(monkeypatch):
    field = FORMATS[Unit.LD].field("length")
    monkeypatch.setattr(type(field), "span", (0, 10))
    message = (
        "a matrix of 96 rows takes 78 words of each channel; one load takes up to 10: give the "
        "core more chains"
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        place(stack([layer(96, 24, 8)], CORE), CORE, 0)


@pytest.mark.parametrize(
    ("core", "one", "message"),
    [
        (
            replace(CORE, m=16),
            layer(8, 40, 8),
            "a group has 8 inputs; a core with m = 16 needs a multiple of that",
        ),
        (
            replace(CORE, zero_fraction_bits=2),
            layer(8, 40, 8, bits=4, zeros=True),
            "the weights have zero points with 3 fraction bits; the engine has "
            "zero_fraction_bits = 2; make the core with 3",
        ),
    ],
)
def test_layers_that_no_engine_takes(core, one, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        stack([one], core)
