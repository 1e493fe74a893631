"""Weight streams read back: products as golden's, and streams that are none."""

import inspect
import re
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from matrices import integers, sparse

from golden.matrix_engine import Mode, chain_passes, reference_outputs
from golden.passes import make_passes
from golden.spec.errors import ConfigError, ShapeError
from golden.spec.matrix_engine import MatrixEngineConfig
from hw import weight_stream_reader
from hw.random_matrices import patterns, random_matrix
from hw.weight_stream import PARTIAL, Kind, equally_long, unpacked_layouts, weight_stream
from hw.weight_stream_reader import read_weight_stream

M16 = MatrixEngineConfig(chains=2, strips=4, scale_shift=14, output_bits=27)
M8 = MatrixEngineConfig(
    chains=3, m=8, strips=4, word_bits=128, output_bits=27, weight_depth=8, pass_depth=4
)
SHORT = replace(M16, chain_length=8)
"""Chains shorter than a block, whose dense blocks are two segments."""

SINGLE = replace(M8, products_per_dsp=1)


def scales_of(random, matrix, config):
    """Return random scales and, where all blocks are dense, zero points."""
    shape = (matrix.rows, matrix.groups)
    scales = torch.from_numpy(random.integers(1, 2**config.scale_bits, shape))
    zeros = torch.zeros(shape, dtype=torch.int64)
    if matrix.is_dense:
        zeros = torch.from_numpy(random.integers(-128, 128, shape))
    return scales, zeros


def read_outputs(streams, activations, config, mode=Mode.MATRIX_VECTOR):
    """Return the outputs of all rows in the matrix's order, int64 [rows], those beyond it too."""
    chains = [read_weight_stream(words, config, mode) for words in streams]
    inputs = chains[0].weights.shape[2]
    padded = np.pad(activations.numpy().astype(np.int8), (0, inputs - len(activations)))
    strips = np.concatenate([rows.destinations for rows in chains])
    assert sorted(strips) == list(range(len(strips)))
    outputs = np.concatenate([rows.outputs(padded, config) for rows in chains])
    return outputs[np.argsort(strips)].reshape(-1)


def check(matrix, config, random):
    scales, zeros = scales_of(random, matrix, config)
    chains = chain_passes(matrix, config, Mode.MATRIX_VECTOR)
    streams = equally_long([weight_stream(p, scales, zeros, config) for p in chains])
    activations = torch.from_numpy(random.integers(-128, 128, (1, matrix.inputs)))
    wanted = reference_outputs(matrix, activations, scales, zeros, config)[0].numpy()
    given = read_outputs(streams, activations[0], config)
    assert given[: matrix.rows].tolist() == wanted.tolist()
    assert not given[matrix.rows :].any()
    rows = read_weight_stream(streams[0], config)
    columns = -(-matrix.inputs // config.m)
    assert rows.group_inputs == min(matrix.group_size, columns * config.m)
    assert rows.tiles == len(chains[0].strips)
    assert rows.two_rows == chains[0].shares_activations


@pytest.mark.parametrize("config", [M16, M8, SHORT, SINGLE], ids=["m16", "m8", "short", "single"])
@pytest.mark.parametrize("bits", [8, 4, 3])
def test_products_are_golden_ones(config, bits):
    random = np.random.default_rng(bits)
    for pattern in patterns(config.chain):
        for _ in range(3):
            check(random_matrix(config.chain, random, pattern, bits), config, random)


@pytest.mark.parametrize("keep", [2, 16])
def test_a_matrix_of_several_tiles_and_groups(keep):
    random = np.random.default_rng(0)
    config = replace(M16, strips=2)
    check(sparse(config, keep, (400, 200), group_size=48), config, random)


def test_groups_too_long_for_float32():
    """Sums of 2032 largest products have more than 24 bits."""
    random = np.random.default_rng(0)
    matrix = sparse(M16, 16, torch.full((32, 2032), -128))
    scales, zeros = torch.ones(32, 1, dtype=torch.int64), torch.zeros(32, 1, dtype=torch.int64)
    scales *= 2**14
    chains = chain_passes(matrix, M16, Mode.MATRIX_VECTOR)
    streams = [weight_stream(p, scales, zeros, M16) for p in chains]
    activations = torch.from_numpy(random.integers(-128, -120, 2032))
    given = read_outputs(streams, activations, M16)
    assert given[:32].tolist() == [int(activations.sum()) * -128] * 32


def test_a_stream_of_matrix_matrix_products():
    random = np.random.default_rng(0)
    matrix = sparse(M16, 4, (90, 64), group_size=32)
    scales, zeros = scales_of(random, matrix, M16)
    words = weight_stream(
        make_passes(matrix, M16.chain), scales, zeros, M16, mode=Mode.MATRIX_MATRIX
    )
    activations = integers((1, 64))
    wanted = reference_outputs(matrix, activations, scales, zeros, M16)[0]
    given = read_outputs([words], activations[0], M16, Mode.MATRIX_MATRIX)
    assert given[:90].tolist() == wanted.tolist()


def streams_of(keep=4, config=M8, rows=64):
    """Return the stream of a small matrix that one chain works on alone, and its kinds."""
    config = replace(config, chains=1)
    matrix = sparse(config, keep, (rows, 24), group_size=16)
    scales, zeros = scales_of(np.random.default_rng(0), matrix, config)
    (passes,) = chain_passes(matrix, config, Mode.MATRIX_VECTOR)
    words = weight_stream(passes, scales, zeros, config)
    kinds = np.zeros(len(words), int)
    at = 0
    while at < len(words):
        nibbles = [n for byte in words[at].tolist() for n in (byte & 15, byte >> 4)]
        count = [*nibbles, 0].index(0)
        kinds[at + 1 : at + 1 + count] = nibbles[:count]
        at += 1 + count
    return config, words, kinds


REFUSED = "the words are no weight stream of this engine: "


def refused(config, words, why):
    with pytest.raises(ShapeError, match=f"^{re.escape(REFUSED)}.*{why}.*$"):
        read_weight_stream(words, config)


def test_words_that_are_no_stream_are_refused():
    config, words, _ = streams_of()
    with pytest.raises(ShapeError, match=r"^the words are \[3, 32\]; 16 bytes each are needed$"):
        read_weight_stream(np.zeros((3, 32), np.uint8), config)
    with pytest.raises(ConfigError, match="word_bits is 384"):
        read_weight_stream(words, replace(config, word_bits=384))
    refused(config, np.zeros((3, 16), np.uint8), "it has no pass")
    refused(config, words[: int(words[0, 0] != 0)], "are missing")
    broken = words.copy()
    broken[0, 0] |= 7
    refused(config, broken, "unknown kind")


def same(one, other):
    """Whether two chains have the same rows."""
    pairs = [(getattr(one, f.name), getattr(other, f.name)) for f in fields(one)]
    return all(np.array_equal(a, b) for a, b in pairs)


def changed(config, words, row, bit, original):
    """Whether another bit is refused or gives other rows."""
    broken = words.copy()
    broken[row, bit // 8] ^= 1 << bit % 8
    try:
        return not same(read_weight_stream(broken, config), original)
    except ShapeError as error:
        return str(error).startswith(REFUSED)


@pytest.mark.parametrize("keep", [4, 8])
def test_every_bit_of_a_payload_counts(keep):
    """All bits of the first payload of the first word of each kind, and of a part of a header."""
    config, words, kinds = streams_of(keep)
    original = read_weight_stream(words, config)
    sizes = {kind: layout.size for kind, layout in unpacked_layouts(config).items()}
    sizes |= {Kind.HEADER: 4 * 8, Kind.WEIGHTS: config.word_bits}
    if keep == 8:
        del sizes[Kind.INDICES]
    for kind, size in sizes.items():
        row = np.flatnonzero(kinds % PARTIAL == kind)[0]
        unseen = [bit for bit in range(size) if not changed(config, words, row, bit, original)]
        if kind is Kind.HEADER:  # PARTIAL says nothing of a word of weights
            unseen = [bit for bit in unseen if (bit % 4, kinds[1 + bit // 4]) != (3, Kind.WEIGHTS)]
        assert not unseen, kind


def test_damaged_words_are_read_or_refused():
    """Whatever the words are, nothing but a ShapeError comes of it."""
    random = np.random.default_rng(0)
    for keep in (4, 8):
        config, words, _ = streams_of(keep)
        for _ in range(300):
            broken = words.copy()
            for _ in range(int(random.integers(1, 4))):
                row = int(random.integers(len(words)) * random.random() ** 2)
                broken[row, random.integers(words.shape[1])] ^= 1 << random.integers(8)
            broken = broken[: len(words) - int(random.integers(3))]
            try:
                read_weight_stream(broken, config)
            except ShapeError as error:
                assert str(error).startswith(REFUSED)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("(numbers ^ sign) - sign", "numbers"),
        ("slots[:, -1, 0]", "1 + slots[:, -1, 0]"),
        (
            "if two_rows else 1, config.chain_length)",
            "if not two_rows else 1, config.chain_length)",
        ),
        ("// n * n + np", "// n + np"),
        ("transpose(0, 2, 1, 3)", "transpose(0, 2, 3, 1)"),
        (
            "scales[name].reshape(len(group), rows, -1)",
            "scales[name].reshape(len(group), -1, rows)",
        ),
        ("ordered[work.place[finished]] = used", "ordered[:] = used"),
        ("work.group_columns * config.m,\n", "config.m,\n"),
        ("(np.cumsum(addresses) - addresses)[tile]", "0"),
        ("at += count", "at += 1"),
    ],
)
def test_a_broken_reader_is_seen(right, wrong, monkeypatch):
    source = inspect.getsource(weight_stream_reader)
    assert source.count(right) == 1
    names = {"__name__": weight_stream_reader.__name__}
    exec(source.replace(right, wrong), names)
    monkeypatch.setitem(globals(), "read_weight_stream", names["read_weight_stream"])
    random = np.random.default_rng(0)
    config = replace(M16, strips=2)
    uneven = torch.from_numpy(random.choice([0, 2, 4], (13, 8)))
    with pytest.raises((AssertionError, ShapeError, ValueError, IndexError)):
        for keep, bits in ((2, 8), (16, 4), (uneven, 8)):
            check(sparse(config, keep, (200, 128), group_size=48, bits=bits), config, random)
