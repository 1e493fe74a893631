"""Where keys and values lie in the channels, and the loops that store and load them.

They lie as the words of plain INT8 matrices, so that a product takes them as they come: a word has
m bytes of each of two strips, A and B. With C chains, of all cores:

    keys      a row is a token: pairs of strips of 2 m tokens, dealt to the chains in turn.
              word = ((pair // C) * columns + column) * m + token % m
    values    a row is a channel of the head: pairs of strips of 2 m channels, dealt as well.
              word = ((token // m) * addresses + pair // C) * m + channel % m

A layer has the keys of all its heads, then the values of all.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from golden.spec.core import CoreConfig
from golden.spec.errors import ConfigError

Fields = dict[str, int]
"""Fields of an instruction."""


@dataclass(frozen=True)
class Part:
    """A product with plain words: loads, and the fields of the product behind them.

    Attributes:
        loads: loops of each LD; `offset` counts from the head's keys or values on.
        product: channels, words, strips, columns and addresses of the product.
        first_strip: number of its first strip among those of all parts.
        written: words of the vector buffer from there on that it may write.

    The mask of channels is that of all cores' chains; all else is the same in every core.
    """

    loads: tuple[Fields, ...]
    product: Fields
    first_strip: int
    written: int


@dataclass(frozen=True)
class KvLayout:
    """The cache of one layer.

    Attributes:
        max_positions: tokens that it has room for.

    Raises:
        ConfigError: heads are not made of whole words of the vector buffer, or the matrix engine
            cannot take so many tokens or channels.
    """

    config: CoreConfig
    kv_heads: int
    head_size: int
    max_positions: int

    def __post_init__(self) -> None:
        m = self.config.m
        if self.head_size % m:
            raise ConfigError(
                f"a head has {self.head_size} elements; a core with m = {m} needs a multiple"
            )
        most = self.config.max_columns * m
        if not 1 <= self.max_positions <= most:
            raise ConfigError(
                f"max_positions is {self.max_positions}; a product takes 1 to {most} tokens"
            )
        rows = 2 * m * self.config.all_chains * self.config.strips
        if self.head_size > rows:
            raise ConfigError(
                f"a head has {self.head_size} elements; {self.config.all_chains} chains of "
                f"{self.config.strips} strips hold {rows}"
            )

    @property
    def columns(self) -> int:
        """Words of the vector buffer, and columns of a product, that a head takes."""
        return self.head_size // self.config.m

    @property
    def addresses(self) -> int:
        """Addresses of values in each chain."""
        return _ceil(_ceil(self.columns, 2), self.config.all_chains)

    @cached_property
    def key_bytes(self) -> int:
        """Bytes of a head's keys in each channel."""
        return self._key_rows(self.max_positions) * self._key_row_bytes

    @cached_property
    def value_bytes(self) -> int:
        """Bytes of a head's values in each channel."""
        return _ceil(self.max_positions, self.config.m) * self._value_column_bytes

    @property
    def layer_bytes(self) -> int:
        """Bytes of a layer in each channel."""
        return self.kv_heads * (self.key_bytes + self.value_bytes)

    @property
    def key_step(self) -> int:
        """Bytes from a token's keys to the next one's, of m that begin with a multiple of m."""
        return self.config.word_bytes

    @property
    def value_step(self) -> int:
        """Bytes from a token's values to the next one's, of the same tokens."""
        return 1

    def keys(self, head: int) -> int:
        """Return where a head's keys begin in a layer."""
        return head * self.key_bytes

    def values(self, head: int) -> int:
        """Return where a head's values begin in a layer."""
        return self.kv_heads * self.key_bytes + head * self.value_bytes

    def score_words(self, runs: Sequence[range]) -> int:
        """Return the words of the vector buffer that the scores of these tokens take."""
        return max(part.first_strip + part.written for part in self.key_parts(runs))

    @property
    def output_words(self) -> int:
        """Words of the vector buffer that a head's outputs take."""
        return self.value_part([range(1)]).written

    def store_keys(self, position: int, tokens: int) -> Iterator[tuple[range, Fields]]:
        """Yield the STs of the keys of some tokens, [tokens, kv_heads, head_size].

        With each its tokens, counted from 0 on, and its loops and channels. Its mask of channels,
        and those below, are of all cores' chains.
        """
        m, chains = self.config.m, self.config.all_chains
        first = 0
        while first < tokens:
            pair, place = divmod(position + first, 2 * m)
            count = min(tokens - first, m - place % m)  # those that lie side by side
            word = pair // chains * self.columns * m + place % m
            fields = {
                "channels": 1 << (pair % chains),
                "offset": word * self.config.word_bytes + m * (place // m),
                "length": m,
                "count_1": self.columns,
                "stride_1": m * self.config.word_bytes,
                "count_2": self.kv_heads,
                "stride_2": self.key_bytes,
                "count_3": count,
                "stride_3": self.config.word_bytes,
            }
            yield range(first, first + count), fields
            first += count

    def store_values(self, position: int) -> Iterator[tuple[int, int, Fields]]:
        """Yield the STs of one head's values: which words of the head's, loops and channels.

        One takes whole pairs of strips at an address of all chains; half a pair takes one more.
        """
        m, chains, word_bytes = self.config.m, self.config.all_chains, self.config.word_bytes
        for address in range(self.addresses):
            first = 2 * chains * address
            row = (position // m * self.addresses + address) * m * word_bytes + position % m
            strips = min(self.columns - first, 2 * chains)
            pairs, half = divmod(strips, 2)
            for begin, count, lanes in ((0, pairs, 2), (pairs, half, 1)):
                if count:
                    yield (
                        first + 2 * begin,
                        count * lanes,
                        {
                            "channels": ((1 << count) - 1) << begin,
                            "offset": row,
                            "length": 1,
                            "count_1": m,
                            "stride_1": word_bytes,
                            "count_2": lanes,
                            "stride_2": m,
                        },
                    )

    def key_parts(self, runs: Sequence[range]) -> Iterator[Part]:
        """Yield the products that give the scores of some tokens.

        A token's score comes to the same place whatever the others are.

        Args:
            runs: of tokens side by side, in rising order; each begins at a pair of strips.
        """
        m, chains = self.config.m, self.config.all_chains
        most = min(self.config.strips, max(self.config.replay_words // (self.columns * m), 1))
        for rows, mask in self._score_rows(runs):
            for row in rows[::most]:
                count = min(rows.stop - row, most)
                load = {
                    "offset": row * self._key_row_bytes,
                    "length": m,
                    "count_1": count,
                    "stride_1": self._key_row_bytes,
                    "count_2": self.columns,
                    "stride_2": m * self.config.word_bytes,
                }
                yield self._part((load,), mask, count, self.columns, 2 * chains * row)

    def _score_rows(self, runs: Sequence[range]) -> Iterator[tuple[range, int]]:
        """Yield rows of addresses that go in one product, and the mask of their chains."""
        chains = self.config.all_chains
        masks: dict[int, int] = {}
        for run in runs:
            for pair in range(run.start // (2 * self.config.m), self._pairs(run.stop)):
                row, chain = divmod(pair, chains)
                masks[row] = masks.get(row, 0) | 1 << chain
        last, behind = divmod(self._pairs(runs[-1].stop), chains)
        first, before = min(masks), masks[min(masks)]
        for row in range(first, max(masks) + 1):
            mask = masks.get(row, 0)
            # Chains behind the last token may take what lies there: nobody asks for its scores.
            if row == last and mask == before & ((1 << behind) - 1):
                mask = before
            if mask != before:
                if before:
                    yield range(first, row), before
                first, before = row, mask
        yield range(first, max(masks) + 1), before

    def value_part(self, runs: Sequence[range]) -> Part:
        """Return the product that mixes the values of some tokens, packed side by side.

        Args:
            runs: as in `key_parts`.
        """
        m, word_bytes = self.config.m, self.config.word_bytes
        loads, columns = [], 0
        for run in runs:
            count = _ceil(run.stop, m) - run.start // m
            words = self.addresses * m
            loads.append({"offset": run.start // m * words * word_bytes, "length": count * words})
            columns += count
        chains = min(_ceil(self.columns, 2), self.config.all_chains)
        return self._part(tuple(loads), (1 << chains) - 1, self.addresses, columns, 0)

    def _part(
        self, loads: tuple[Fields, ...], mask: int, addresses: int, columns: int, first_strip: int
    ) -> Part:
        product = {
            "channels": mask,
            "words": columns * addresses * self.config.m,
            "strips": 2 * self.config.chains * addresses,
            "columns": columns,
            "addresses": addresses,
        }
        written = 2 * (self.config.all_chains * (addresses - 1) + mask.bit_length())
        return Part(loads, product, first_strip, written)

    def _pairs(self, tokens: int) -> int:
        """Return the pairs of strips of so many tokens' keys."""
        return _ceil(tokens, 2 * self.config.m)

    def _key_rows(self, tokens: int) -> int:
        """Return the addresses of so many tokens' keys in each chain."""
        return _ceil(self._pairs(tokens), self.config.all_chains)

    @property
    def _key_row_bytes(self) -> int:
        """Bytes of an address: 2 m tokens of a head."""
        return self.columns * self.config.m * self.config.word_bytes

    @property
    def _value_column_bytes(self) -> int:
        """Bytes of m tokens of a head."""
        return self.addresses * self.config.m * self.config.word_bytes


def _ceil(value: int, by: int) -> int:
    return -(-value // by)
