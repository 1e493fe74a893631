"""Pages and multiplications, counted one by one."""

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golden.kv_pages import PageLayout, dense_reads, dense_work, sparf_reads, sparf_work
from golden.spec.attention_engine import AttentionConfig, KvFormat
from golden.spec.errors import ConfigError

OPT_13B = AttentionConfig(head_size=128)
LAYOUTS = st.builds(
    PageLayout,
    page_bytes=st.sampled_from([4096, 8192, 16384]),
    channels_per_page=st.sampled_from([1, 2, 4, 8]),
    paired=st.booleans(),
)


def test_a_page_of_the_paper():
    """16 tokens of 128 channels of FP16 are 4 KB; 2 to 8 channels are 1,024 to 256 tokens."""
    assert PageLayout().tokens(OPT_13B) == 16
    assert PageLayout(paired=True).tokens(OPT_13B) == 8
    tokens = [PageLayout(channels_per_page=c).channel_tokens(OPT_13B) for c in (2, 4, 8)]
    assert tokens == [1024, 512, 256]
    int8 = AttentionConfig(head_size=64, kv_format=KvFormat.INT8)
    assert PageLayout(16384).tokens(int8) == 256


@given(
    LAYOUTS,
    st.sampled_from([(64, KvFormat.FP16), (128, KvFormat.INT8), (80, KvFormat.FP16)]),
    st.integers(1, 700),
    st.integers(0, 999),
)
def test_pages_one_by_one(layout, shape, context, seed):
    config = AttentionConfig(head_size=shape[0], queries=2, kv_format=shape[1])
    size = config.kv_format.stored_bytes
    random = torch.Generator().manual_seed(seed)
    channels = torch.rand(1, 2, config.head_size, generator=random) < 0.1
    tokens = (torch.rand(1, 2, 700, generator=random) < 0.02) & (torch.arange(700) < context)
    wanted = {
        ("channels", int(c) // layout.channels_per_page, j // layout.channel_tokens(config))
        for c in channels.any(dim=1).nonzero()[:, 1]
        for j in range(context)
    }
    kept = tokens.any(dim=1).nonzero()[:, 1].tolist()
    of_tokens = {
        ("both" if layout.paired else what, j // layout.tokens(config))
        for what in ("keys", "values")
        for j in kept
    }
    reads = sparf_reads(config, layout, channels, tokens, torch.tensor([context]))
    assert int(reads.channel_pages) == len(wanted)
    assert int(reads.token_pages) == len(of_tokens)
    assert int(reads.pages) == len(wanted) + len(of_tokens)
    assert int(reads.channel_bytes) == int(channels.any(dim=1).sum()) * context * size
    assert int(reads.token_bytes) == 2 * len(kept) * config.head_size * size
    every = torch.arange(700).expand(1, 2, 700) < context
    dense = dense_reads(config, layout, torch.tensor([context]))
    nothing = torch.zeros_like(channels)
    whole = sparf_reads(config, layout, nothing, every, torch.tensor([context]))
    assert [int(x) for x in dense] == [int(x) for x in whole]


def test_what_is_wanted_at_1_8_is_an_eighth():
    config = AttentionConfig(head_size=128, local=0)
    channels = (torch.arange(128) < config.channels).expand(1, 1, 128)
    tokens = (torch.arange(2048) < config.tokens(2048)).expand(1, 1, 2048)
    contexts = torch.tensor([2048])
    reads = sparf_reads(config, PageLayout(), channels, tokens, contexts)
    dense = dense_reads(config, PageLayout(), contexts)
    assert int(reads.channel_bytes + reads.token_bytes) * 8 == int(dense.token_bytes)


@pytest.mark.parametrize("head_size", [64, 128])
@pytest.mark.parametrize("context", [1024, 2048, 32768])
def test_multiplications_at_1_8(head_size, context):
    config = AttentionConfig(head_size=head_size, queries=4)
    share = sparf_work(config, context).total / dense_work(config, context).total
    assert 0.125 < share < 0.15


def test_multiplications_one_by_one():
    config = AttentionConfig(head_size=16, queries=3, ratio=4)
    work = sparf_work(config, 80)
    assert (config.channels, config.tokens(80)) == (4, 10)
    assert work == (3 * 80 * 4, 3 * 11 * 16, 3 * 11 * 16, 3 * 2 * (80 + 11) + (3 * 3 + 1) * 16)
    assert dense_work(config, 80) == (0, 3 * 80 * 16, 3 * 80 * 16, 3 * 2 * 80 + 3 * 16)
    assert sparf_work(config, 3).scores == 3 * 2 * 16


def test_a_layout_is_checked():
    for fields, message in (
        ({"page_bytes": 2048}, "page_bytes is 2048; allowed here are 4096, 8192 and 16384"),
        ({"channels_per_page": 3}, "channels_per_page is 3; allowed here are 1, 2, 4 and 8"),
    ):
        with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
            PageLayout(**fields)
