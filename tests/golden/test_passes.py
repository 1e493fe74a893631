import re
import time
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from samples import pruned

from golden.pass_order import cut_into_tiles
from golden.passes import make_passes, work_of_strips
from golden.sparse_matrix import dense_matrix, prune
from golden.sparsity import keep_mask, uniform_keep
from golden.spec.errors import ShapeError
from golden.spec.sparse_chain import SparseChainConfig

M4 = SparseChainConfig(m=4)
SVG = "{http://www.w3.org/2000/svg}"
PER_PASS = "tile column group n code strip segment dense two_rows first last end_column end_group"


def refuses(message):
    return pytest.raises(ShapeError, match=f"^{re.escape(message)}$")


def headers(passes):
    """The passes as dictionaries of plain numbers."""
    fields = {name: getattr(passes, name).tolist() for name in PER_PASS.split()}
    return [dict(zip(fields, row, strict=True)) for row in zip(*fields.values(), strict=True)]


def expected_beats(matrix, config, strip, column):
    """(value, index) of each multiplier in each beat of one block, straight from the definition."""
    m, length = config.m, config.chain_length
    keep = matrix.keep[strip * length // m, column].item()
    rows = []
    for row in range(strip * length, strip * length + length):
        kept = [
            (matrix.weights[row, x].item(), x - column * m)
            for x in range(column * m, min(column * m + m, matrix.inputs))
            if row < matrix.rows and matrix.mask[row, x]
        ]
        # Slots that a matrix's edge leaves empty: zeros of inputs 0, 1 ... that are outside.
        outside = [x for x in range(m) if row >= matrix.rows or column * m + x >= matrix.inputs]
        rows.append(kept + [(0, x) for x in outside if x < keep])
    beats = []
    n = min(keep, length)
    for part in range(keep // n):
        for j in range(n):
            slots = [((i // n) * n + j, part * n + i % n) for i in range(length)]
            beats.append([rows[row][term] for row, term in slots])
    return beats


def test_a_block_by_hand():
    weight = torch.tensor([[5, 0, 6, 0], [0, 7, 8, 0], [9, 0, 0, 1], [0, 0, 2, 3]])
    passes = make_passes(prune(weight, weight != 0, torch.tensor([[2]]), 4, m=4), M4)
    assert passes.values.tolist() == [[5, 6, 9, 1], [7, 8, 2, 3]]
    assert passes.second.tolist() == [[0, 2, 0, 3], [1, 2, 2, 3]]
    marks = dict.fromkeys(("first", "last", "end_column", "end_group"), True)
    place = dict.fromkeys(("tile", "column", "group", "code", "strip", "segment"), 0)
    assert headers(passes) == [place | marks | {"n": 2, "dense": False, "two_rows": False}]


def test_a_dense_block_on_a_shorter_chain():
    config = SparseChainConfig(m=4, chain_length=2, products_per_dsp=1)
    passes = make_passes(dense_matrix(torch.arange(16).reshape(4, 4), 4, m=4), config)
    assert passes.values.tolist() == [
        *([0, 1], [4, 5], [2, 3], [6, 7]),
        *([8, 9], [12, 13], [10, 11], [14, 15]),
    ]
    assert passes.input_of_slot().tolist() == [[0, 1], [0, 1], [2, 3], [2, 3]] * 2
    assert passes.segment.tolist() == [0, 1, 0, 1] and passes.dense.all()
    assert passes.first.tolist() == [True, False] * 2
    assert not passes.second.any()


def test_a_sparse_block_with_more_terms_than_the_chain():
    config = SparseChainConfig(m=8, chain_length=2, products_per_dsp=1)
    weight = torch.zeros(2, 8, dtype=torch.int64)
    weight[0, [0, 2, 4, 6]] = torch.tensor([1, 2, 3, 4])
    weight[1, [1, 3, 5, 7]] = torch.tensor([5, 6, 7, 8])
    passes = make_passes(prune(weight, weight != 0, torch.tensor([[4]]), 8, m=8), config)
    assert passes.values.tolist() == [[1, 2], [5, 6], [3, 4], [7, 8]]
    assert passes.second.tolist() == [[0, 2], [1, 3], [4, 6], [5, 7]]
    assert not passes.dense.any() and passes.n.tolist() == [2, 2]


def test_two_rows_share_an_address():
    matrix = dense_matrix(torch.arange(-24, 24).reshape(12, 4), 4, bits=6, m=4)
    passes = make_passes(matrix, M4, two_rows=True)
    assert passes.strips.tolist() == [[[0, 1], [2, 3]]]
    assert passes.values.reshape(-1, 4, 4).tolist() == matrix.weights.reshape(3, 4, 4)[::2].tolist()
    other = passes.second.view(np.int8).reshape(-1, 4, 4)
    assert other[0].tolist() == matrix.weights[4:8].tolist() and not other[1].any()
    assert passes.two_rows.all() and passes.dense.all()


def test_the_second_row_of_a_chain_of_narrow_weights():
    config = SparseChainConfig(m=4, weight_bits=3)
    weight = torch.arange(-4, 4).repeat(4).reshape(8, 4)
    passes = make_passes(dense_matrix(weight, 4, bits=3, m=4), config, two_rows=True)
    assert passes.second.tolist() == (weight[4:] % 8).tolist()


def test_what_stands_in_for_absent_blocks():
    keep = torch.tensor([[0, 4], [0, 2], [0, 0]])
    mask = keep_mask(torch.ones(12, 8), keep, M4)
    passes = make_passes(prune(torch.ones(12, 8, dtype=torch.int64), mask, keep, 8, m=4), M4)
    # Strip 2 has nothing, and gets its zeros in the emptier column 0, which then has a pass.
    found = [(p["column"], p["strip"], p["n"], p["first"], p["last"]) for p in headers(passes)]
    assert found == [(0, 2, 2, True, True), (1, 0, 4, True, True), (1, 1, 2, True, True)]
    assert not passes.values[:2].any() and not passes.second[:2].any()
    assert passes.end_column.tolist() == [True, False, True]
    assert passes.end_group.tolist() == [False, False, True]


@given(pruned())
def test_passes_come_in_their_order_with_their_beats(sample):
    config, matrix = sample.config, sample.matrix
    passes = make_passes(matrix, config)
    found = iter(zip(headers(passes), passes.first_beat, strict=True))
    stand_ins = []
    strips = -(-matrix.rows // config.chain_length)
    assert passes.strips[passes.strips >= 0].tolist() == list(range(strips))
    for tile, addresses in enumerate(passes.strips[:, :, 0]):
        for column in range(-(-matrix.inputs // config.m)):
            for address, strip in enumerate(addresses):
                block = matrix.keep[strip * config.chain_length // config.m, column].item()
                if strip < 0 or block == 0:
                    stand_ins.append((tile, column, address))
                    continue
                beats = expected_beats(matrix, config, strip, column)
                for part in range(-(-block // config.chain_length)):
                    header, start = next(found)
                    while (header["tile"], header["column"], header["strip"]) in stand_ins:
                        header, start = next(found)
                    n = min(block, config.chain_length)
                    dense = block == config.m
                    assert (header["tile"], header["column"]) == (tile, column)
                    assert (header["strip"], header["n"]) == (address, n)
                    assert (header["dense"], header["segment"]) == (dense, dense * part)
                    assert 2 ** header["code"] * config.group_length == n
                    values = passes.values[start : start + n]
                    indices = passes.input_of_slot()[start : start + n] - column * config.m
                    due = beats[part * n : part * n + n]
                    assert values.tolist() == [[value for value, _ in beat] for beat in due]
                    assert indices.tolist() == [[index for _, index in beat] for beat in due]


@given(pruned(), st.data())
def test_every_column_and_every_strips_group_has_a_pass_and_its_marks(sample, data):
    config, matrix = sample.config, sample.matrix
    two_rows = matrix.is_dense and config.products_per_dsp == 2 and data.draw(st.booleans())
    passes = make_passes(matrix, config, two_rows=two_rows)
    rows = headers(passes)
    per_group = matrix.group_size // config.m
    columns = -(-matrix.inputs // config.m)
    assert all(p["group"] == p["column"] // per_group for p in rows)
    order = [(p["tile"], p["column"], p["strip"], p["segment"]) for p in rows]
    assert order == sorted(order)
    tiles, addresses, _ = passes.strips.shape
    assert addresses <= config.strips
    used = [(t, a) for t, a in np.ndindex(tiles, addresses) if passes.strips[t, a, 0] >= 0]
    assert {p["column"] for p in rows if p["tile"] == 0} == set(range(columns))
    assert len({(p["tile"], p["column"]) for p in rows}) == tiles * columns
    sums = [(p["tile"], p["strip"], p["group"]) for p in rows]
    assert set(sums) == {(t, a, g) for t, a in used for g in range(matrix.groups)}
    for number, p in enumerate(rows):
        assert p["first"] == (sums[number] not in sums[:number])
        assert p["last"] == (sums[number] not in sums[number + 1 :])
        after = rows[number + 1] if number + 1 < len(rows) else dict.fromkeys(p, -1)
        changes = [p[name] != after[name] for name in ("tile", "column")]
        assert p["end_column"] == any(changes)
        assert p["end_group"] == ((p["tile"], p["group"]) != (after["tile"], after["group"]))
        assert p["last"] or not p["end_group"]
    assert (passes.columns, passes.groups) == (columns, matrix.groups)


@given(pruned(), st.data())
def test_some_strips_are_those_of_the_whole_and_zeros_beyond(sample, data):
    config, matrix = sample.config, sample.matrix
    count = -(-matrix.rows // config.chain_length)
    strips = data.draw(st.lists(st.integers(0, count + 2), min_size=1, max_size=5, unique=True))
    passes = make_passes(matrix, config, np.array(strips))
    assert passes.strips[passes.strips >= 0].tolist() == strips
    dense = np.zeros((len(strips), config.chain_length, passes.columns * config.m), np.int64)
    sizes = np.cumsum([0, *(passes.strips[:, :, 0] >= 0).sum(axis=1)])
    inputs = passes.input_of_slot()
    for number, (n, start) in enumerate(zip(passes.n, passes.first_beat, strict=True)):
        which = sizes[passes.tile[number]] + passes.strip[number]
        for j, i in np.ndindex(n, config.chain_length):
            value = passes.values[start + j, i]
            dense[which, (i // n) * n + j, inputs[start + j, i]] += value
    whole = np.zeros(((count + 3) * config.chain_length, dense.shape[2]), np.int64)
    whole[: matrix.rows, : matrix.inputs] = matrix.weights
    assert (dense == whole.reshape(count + 3, config.chain_length, -1)[strips]).all()


@given(st.integers(1, 200), st.integers(2, 64))
def test_tiles_are_few_and_of_nearly_equal_size(slots, strips):
    bounds = cut_into_tiles(slots, strips)
    sizes = [b - a for a, b in pairwise(bounds.tolist())]
    assert (bounds[0], bounds[-1], len(sizes)) == (0, slots, -(-slots // strips))
    assert max(sizes) <= strips and max(sizes) - min(sizes) <= 1


def test_eighteen_strips_are_nine_and_nine():
    assert cut_into_tiles(18, 16).tolist() == [0, 9, 18]


@given(pruned(config=M4))
def test_the_work_of_a_strip_is_its_beats(sample):
    work = work_of_strips(sample.matrix, sample.config)
    assert work.tolist() == sample.matrix.keep.sum(1).tolist()


def test_a_matrix_for_another_chain():
    keep = uniform_keep(8, 8, 2, SparseChainConfig(m=8))
    mask = keep_mask(torch.ones(8, 8), keep, SparseChainConfig(m=8))
    matrix = prune(torch.ones(8, 8, dtype=torch.int64), mask, keep, 8, m=8)
    with refuses("the matrix has blocks of m = 8; the chain has m = 4"):
        make_passes(matrix, M4)
    with refuses("keep holds N = 2; this chain runs [0, 4, 8]"):
        make_passes(matrix, SparseChainConfig(m=8, group_length=4))


def test_weights_that_do_not_fit_the_chain():
    matrix = dense_matrix(torch.full((4, 4), 8), 4, m=4)
    with refuses("the weight spans 8 to 8; 4 signed bits hold -8 to 7"):
        make_passes(matrix, SparseChainConfig(m=4, weight_bits=4))
    message = (
        "two rows share an activation only where all blocks are dense and each multiplier has "
        "two products"
    )
    with refuses(message):
        make_passes(matrix, SparseChainConfig(m=4, products_per_dsp=1), two_rows=True)
    mask = torch.eye(4).bool() | torch.eye(4).roll(1, 1).bool()
    sparse = prune(torch.ones(4, 4, dtype=torch.int64), mask, torch.tensor([[2]]), 4, m=4)
    with refuses(message):
        make_passes(sparse, M4, two_rows=True)


def test_a_large_layer_takes_seconds():
    config = SparseChainConfig()
    keep = uniform_keep(4096, 2752, 8, config)  # a quarter of Llama-2-7B's 4096 x 11008
    mask = (torch.arange(2752) % 2 == 0).expand(4096, -1)
    matrix = prune(torch.ones(4096, 2752, dtype=torch.int8), mask, keep, 128, 4)
    start = time.perf_counter()
    passes = make_passes(matrix, config)
    assert time.perf_counter() - start < 10
    assert len(passes.values) == 4096 * 2752 // 2 // 16


def test_the_drawing_shows_the_passes():
    config = SparseChainConfig(strips=2)
    keep = torch.tensor([[8, 2, 0], [0, 4, 0], [16, 0, 2], [2, 8, 0]])
    mask = keep_mask(torch.ones(64, 48), keep, config)
    passes = make_passes(prune(mask.long(), mask, keep, 48), config)
    strips = passes.strips[passes.tile, passes.strip, 0]
    zeros = keep.numpy()[strips, passes.column] == 0
    drawing = Path(__file__).parents[2] / "docs" / "drawings" / "passes.svg"
    panel = ElementTree.parse(drawing).find(".//*[@id='passes']")
    texts = [x.text for x in panel.iter(f"{SVG}text") if "pass" in x.get("class").split()]
    widths = [int(x.get("width")) for x in panel.iter(f"{SVG}rect")]
    assert texts == ["zeros" if z else f"strip {s}" for z, s in zip(zeros, strips, strict=True)]
    assert [width * passes.n[0] / widths[0] for width in widths] == passes.n.tolist()
