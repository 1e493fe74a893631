"""Block-sparse attention: which blocks of tokens a prompt's queries see.

Tokens are cut into blocks of the same size, from the first one on. The queries of a block see whole
blocks of keys: the first ones of the text (sinks), the last ones up to their own, and any others
that are named. Within their own block they see the keys up to themselves, and what lies behind it
never: attention is causal.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch

from golden.spec.errors import ConfigError

BLOCK = 64
"""Tokens of a block, if nothing else is said."""


@dataclass(frozen=True)
class BlockSparse:
    """Which blocks of keys each block of queries sees; its own one always.

    Attributes:
        sink: blocks at the beginning of the text.
        local: the last blocks, with the queries' own: 1 is that one alone.
        block: tokens of a block.
        others: further ones: pairs of a block of queries and one of keys.

    Raises:
        ConfigError: a field is outside its range, or keys lie behind their queries.
    """

    sink: int = 1
    local: int = 1
    block: int = BLOCK
    others: frozenset[tuple[int, int]] = frozenset()

    def __post_init__(self) -> None:
        for name, least in (("sink", 0), ("local", 1), ("block", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(
                    f"{name} is {value!r}; {least} is the least, and it is an integer"
                )
        for queries, keys in self.others:
            if not 0 <= keys <= queries:
                raise ConfigError(
                    f"others has {(queries, keys)}; a block of queries sees blocks 0 to its own"
                )

    def blocks(self, queries: int) -> tuple[int, ...]:
        """Return the blocks of keys that block number `queries` sees, in rising order."""
        first_local = max(queries + 1 - self.local, 0)
        seen = {*range(min(self.sink, queries)), *range(first_local, queries + 1)}
        return tuple(sorted(seen | {keys for mine, keys in self.others if mine == queries}))

    def runs(self, first: int, end: int) -> tuple[range, ...]:
        """Return the keys in front of `end` that the queries from `first` on see, side by side.

        Raises:
            ConfigError: the queries are not of one block.
        """
        queries = first // self.block
        if not 0 <= first < end <= (queries + 1) * self.block:
            raise ConfigError(
                f"queries {first} to {end - 1} are not of one block of {self.block}; read them in "
                "parts"
            )
        return tuple(self._runs(self.blocks(queries), end))

    def _runs(self, blocks: tuple[int, ...], end: int) -> Iterator[range]:
        """Yield blocks that follow each other as one run of tokens."""
        start = blocks[0]
        for block, following in pairwise(blocks):
            if following != block + 1:
                yield range(start * self.block, (block + 1) * self.block)
                start = following
        yield range(start * self.block, end)

    def seen(self, queries: torch.Tensor, positions: int) -> torch.Tensor:
        """Return which keys each query sees, bool [queries, positions].

        Args:
            queries: positions of the queries, int64 [queries].
        """
        seen = torch.zeros(len(queries), positions, dtype=torch.bool)
        for row, query in zip(seen, queries.tolist(), strict=True):
            for run in self.runs(query, query + 1):
                row[run.start : run.stop] = True
        return seen


def causal(queries: torch.Tensor, positions: int) -> torch.Tensor:
    """Return which keys queries see that see all up to their own, as `BlockSparse.seen`."""
    return torch.arange(positions) <= queries[:, None]
