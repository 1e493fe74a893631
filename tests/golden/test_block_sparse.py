"""Which tokens a block-sparse prompt's queries see, and what that does to the transformer."""

import re

import pytest
import torch
from tiny_llama import tiny_llama, tiny_tokens

from golden.block_sparse import BlockSparse, causal
from golden.calibration import calibrate
from golden.recipe import Recipe
from golden.spec.errors import ConfigError
from golden.transformer import Cache
from golden.transformer_quantise import quantise_transformer


@pytest.mark.parametrize(
    ("blocks", "seen"),
    [
        (BlockSparse(0, 1, 4), [[0], [1], [2], [3], [4]]),
        (BlockSparse(1, 1, 4), [[0], [0, 1], [0, 2], [0, 3], [0, 4]]),
        (BlockSparse(1, 2, 4), [[0], [0, 1], [0, 1, 2], [0, 2, 3], [0, 3, 4]]),
        (BlockSparse(9, 1, 4), [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3, 4]]),
        (
            BlockSparse(0, 1, 4, frozenset({(3, 1), (4, 2), (4, 3), (4, 4)})),
            [[0], [1], [2], [1, 3], [2, 3, 4]],
        ),
    ],
)
def test_blocks_that_are_seen(blocks, seen):
    assert [list(blocks.blocks(queries)) for queries in range(5)] == seen
    # Of each query: keys of the blocks that its block sees, up to itself.
    mask = blocks.seen(torch.arange(20), 20)
    for query in range(20):
        for key in range(20):
            wanted = key // 4 in seen[query // 4] and key <= query
            assert bool(mask[query, key]) == wanted
    assert torch.equal(blocks.seen(torch.arange(7, 11), 11), mask[7:11, :11])


def test_runs_of_keys():
    blocks = BlockSparse(1, 2, 4, frozenset({(5, 2)}))
    assert blocks.runs(0, 1) == (range(1),)
    assert blocks.runs(5, 8) == (range(8),)
    assert blocks.runs(12, 14) == (range(4), range(8, 14))
    assert blocks.runs(21, 24) == (range(4), range(8, 12), range(16, 24))
    message = "queries 3 to 4 are not of one block of 4; read them in parts"
    with pytest.raises(ConfigError, match=f"^{message}$"):
        blocks.runs(3, 5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sink": -1}, "sink is -1; 0 is the least, and it is an integer"),
        ({"local": 0}, "local is 0; 1 is the least, and it is an integer"),
        ({"block": 0}, "block is 0; 1 is the least, and it is an integer"),
        ({"block": 6.5}, "block is 6.5; 1 is the least, and it is an integer"),
        (
            {"others": frozenset({(1, 2)})},
            "others has (1, 2); a block of queries sees blocks 0 to its own",
        ),
    ],
)
def test_blocks_that_cannot_be(fields, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        BlockSparse(**fields)


@pytest.fixture(scope="module")
def integer():
    tiny = tiny_llama()
    recipe = Recipe(group_size=32, max_positions=256)
    return quantise_transformer(tiny, calibrate(tiny, tiny_tokens(64)), recipe)


def test_all_blocks_are_causal_attention(integer):
    tokens = tiny_tokens(90)[0]
    assert torch.equal(
        BlockSparse(9, 1, 16).seen(torch.arange(90), 90), causal(torch.arange(90), 90)
    )
    given = integer.hidden(tokens, blocks=BlockSparse(9, 1, 16))
    assert torch.equal(given, integer.hidden(tokens))


def test_what_is_not_seen_makes_no_difference(integer):
    """Each block sees itself and the first one: others may say anything."""
    tokens = tiny_tokens(96)[0]
    blocks = BlockSparse(1, 1, 32)
    hidden = integer.hidden(tokens, blocks=blocks)
    changed = tokens.clone()
    changed[32:64] = changed[32:64].flip(0)
    given = integer.hidden(changed, blocks=blocks)
    assert torch.equal(given[64:], hidden[64:]) and torch.equal(given[:32], hidden[:32])
    assert not torch.equal(integer.hidden(changed)[64:], integer.hidden(tokens)[64:])
    changed = tokens.clone()
    changed[:32] = changed[:32].flip(0)
    assert not torch.equal(integer.hidden(changed, blocks=blocks)[64:], hidden[64:])


def test_tokens_may_be_given_in_any_parts(integer):
    tokens = tiny_tokens(96)[0]
    blocks = BlockSparse(1, 2, 16)
    cache, parts = Cache(), []
    for some in tokens.split([5, 40, 1, 50]):
        parts.append(integer.hidden(some, cache, blocks=blocks))
    assert torch.equal(torch.cat(parts), integer.hidden(tokens, blocks=blocks))
