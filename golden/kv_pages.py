"""What decode attention multiplies and reads, counted: MACs by step, and pages of a flash.

A kv head's keys and values lie in pages of whole tokens; a second copy of the keys lies in pages of
a few channels of many tokens. A page is read whole if anything in it is wanted. For a group of
query heads a page is read once.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch

from golden.spec.attention_engine import AttentionConfig
from golden.spec.errors import ConfigError

FUNCTION_PRODUCTS = 2
"""Products that make a power of 2 of a score: its scale, and the line between a table's points."""


@dataclass(frozen=True)
class PageLayout:
    """How keys and values lie in pages.

    Attributes:
        page_bytes: of a page's payload: 4096, 8192 or 16384.
        channels_per_page: of the copy of the keys by channels: neighbouring channels of a page.
        paired: a page holds keys and values of the same tokens, half of it each; else a page has
            keys or values.

    Raises:
        ConfigError: a field is outside its range.
    """

    page_bytes: int = 4096
    channels_per_page: int = 2
    paired: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.page_bytes, bool) or self.page_bytes not in (4096, 8192, 16384):
            raise ConfigError(
                f"page_bytes is {self.page_bytes!r}; allowed here are 4096, 8192 and 16384"
            )
        if isinstance(self.channels_per_page, bool) or self.channels_per_page not in (1, 2, 4, 8):
            raise ConfigError(
                f"channels_per_page is {self.channels_per_page!r}; allowed here are 1, 2, 4 and 8"
            )

    def tokens(self, config: AttentionConfig) -> int:
        """Return the tokens whose keys, or values, or both if paired, are in a page."""
        token_bytes = config.head_size * config.kv_format.stored_bytes * (1 + self.paired)
        return max(self.page_bytes // token_bytes, 1)

    def channel_tokens(self, config: AttentionConfig) -> int:
        """Return the tokens of which a page holds `channels_per_page` channels."""
        return self.page_bytes // (self.channels_per_page * config.kv_format.stored_bytes)


class Reads(NamedTuple):
    """Pages and wanted bytes by step: tensors of the leading dimensions.

    Attributes:
        channel_pages: of the keys by channels. token_pages: of keys and values.
        channel_bytes, token_bytes: what is wanted of them.
    """

    channel_pages: torch.Tensor
    token_pages: torch.Tensor
    channel_bytes: torch.Tensor
    token_bytes: torch.Tensor

    @property
    def pages(self) -> torch.Tensor:
        """All pages."""
        return self.channel_pages + self.token_pages


class Work(NamedTuple):
    """Multiplications of one group of queries, by step.

    Attributes:
        approximate: products of the chosen channels. scores: of whole keys. values: of values.
        functions: all others, of powers of 2, division and compensation.
    """

    approximate: int
    scores: int
    values: int
    functions: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)


def dense_reads(config: AttentionConfig, layout: PageLayout, contexts: torch.Tensor) -> Reads:
    """Return what dense attention reads of contexts of so many tokens, int64 [...]."""
    pages = _ceil(contexts, layout.tokens(config)) * (1 if layout.paired else 2)
    nothing = torch.zeros_like(contexts)
    return Reads(nothing, pages, nothing, contexts * _entry_bytes(config))


def sparf_reads(
    config: AttentionConfig,
    layout: PageLayout,
    channels: torch.Tensor,
    tokens: torch.Tensor,
    contexts: torch.Tensor,
) -> Reads:
    """Return what SparF reads for each group of queries.

    Args:
        channels: bool [..., queries, head_size]. tokens: bool [..., queries, tokens].
        contexts: int64 [...].
    """
    some, kept = channels.any(dim=-2), tokens.any(dim=-2)
    rows = _touched(some, layout.channels_per_page)
    channel_pages = rows * _ceil(contexts, layout.channel_tokens(config))
    token_pages = _touched(kept, layout.tokens(config)) * (1 if layout.paired else 2)
    channel_bytes = some.sum(dim=-1) * contexts * config.kv_format.stored_bytes
    return Reads(channel_pages, token_pages, channel_bytes, kept.sum(dim=-1) * _entry_bytes(config))


def dense_work(config: AttentionConfig, context: int) -> Work:
    """Return the multiplications of dense attention."""
    products = config.queries * context * config.head_size
    functions = config.queries * (FUNCTION_PRODUCTS * context + config.head_size)
    return Work(0, products, products, functions)


def sparf_work(config: AttentionConfig, context: int) -> Work:
    """Return the multiplications of SparF."""
    kept = min(config.tokens(context) + 1, context)
    products = config.queries * kept * config.head_size
    # Outputs are divided; with compensation both parts are weighted, and a group's mean divided.
    outputs = config.queries * (3 if config.compensation else 1) + config.compensation
    functions = config.queries * FUNCTION_PRODUCTS * (context + kept) + outputs * config.head_size
    return Work(config.queries * context * config.channels, products, products, functions)


def _entry_bytes(config: AttentionConfig) -> int:
    """Return the bytes of a token's key and value."""
    return 2 * config.head_size * config.kv_format.stored_bytes


def _touched(wanted: torch.Tensor, size: int) -> torch.Tensor:
    """Return how many groups of `size` neighbours have one that is wanted, int64 [...]."""
    missing = -wanted.shape[-1] % size
    padded = torch.nn.functional.pad(wanted, (0, missing))
    return padded.unflatten(-1, (-1, size)).any(dim=-1).sum(dim=-1)


def _ceil(values: torch.Tensor, size: int) -> torch.Tensor:
    return -(-values // size)
