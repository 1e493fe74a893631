"""Where keys and values lie in the channels, and the loops that store and load them.

They lie as the words of plain INT8 matrices, so that a product takes them as they come: a word has
m bytes of each of two strips, A and B. With C chains, of all cores:

    keys      a row is a token: pairs of strips of 2 m tokens, dealt to the chains in turn.
              word = ((pair // C) * columns + column) * m + token % m
    values    a row is a channel of the head: pairs of strips of 2 m channels, dealt as well.
              word = ((token // m) * addresses + pair // C) * m + channel % m

A layer has the keys of all its heads, then the values of all.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from golden.spec.core import CoreConfig
from golden.spec.errors import ConfigError

Fields = dict[str, int]
"""Fields of an instruction."""


@dataclass(frozen=True)
class Part:
    """A product with plain words: a load, and the fields of the product behind it.

    Attributes:
        load: loops and channels of LD; `offset` counts from the head's keys or values on.
        product: channels, words, strips, columns and addresses of MV.
        first_strip: number of its first strip among those of all parts.
        written: words of the vector buffer from there on that it may write.

    The masks of channels are those of all cores' chains; all else is the same in every core.
    """

    load: Fields
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

    def keys(self, head: int) -> int:
        """Return where a head's keys begin in a layer."""
        return head * self.key_bytes

    def values(self, head: int) -> int:
        """Return where a head's values begin in a layer."""
        return self.kv_heads * self.key_bytes + head * self.value_bytes

    def score_words(self, tokens: int) -> int:
        """Return the words of the vector buffer that the scores of so many tokens take."""
        return max(part.first_strip + part.written for part in self.key_parts(tokens))

    @property
    def output_words(self) -> int:
        """Words of the vector buffer that a head's outputs take."""
        return self.value_part(1).written

    def store_keys(self, position: int) -> Fields:
        """Return the loops and channels of the ST of a token's keys, [kv_heads, head_size].

        Its mask of channels, and those below, are of all cores' chains.
        """
        m, chains = self.config.m, self.config.all_chains
        pair, place = divmod(position, 2 * m)
        word = pair // chains * self.columns * m + place % m
        return {
            "channels": 1 << (pair % chains),
            "offset": word * self.config.word_bytes + m * (place // m),
            "length": m,
            "count_1": self.columns,
            "stride_1": m * self.config.word_bytes,
            "count_2": self.kv_heads,
            "stride_2": self.key_bytes,
        }

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

    def key_parts(self, tokens: int) -> Iterator[Part]:
        """Yield the products that give the scores of the first `tokens` tokens."""
        m, chains = self.config.m, self.config.all_chains
        pairs = _ceil(tokens, 2 * m)
        for row in range(0, self._key_rows(tokens), self.config.strips):
            here = min(pairs - row * chains, self.config.strips * chains)
            rows = _ceil(here, chains)
            yield self._part(
                chains=min(here, chains),
                addresses=rows,
                columns=self.columns,
                first_strip=2 * chains * row,
                load={
                    "offset": row * self._key_row_bytes,
                    "length": m,
                    "count_1": rows,
                    "stride_1": self._key_row_bytes,
                    "count_2": self.columns,
                    "stride_2": m * self.config.word_bytes,
                },
            )

    def value_part(self, tokens: int) -> Part:
        """Return the product that mixes the values of the first `tokens` tokens."""
        columns = _ceil(tokens, self.config.m)
        return self._part(
            chains=min(_ceil(self.columns, 2), self.config.all_chains),
            addresses=self.addresses,
            columns=columns,
            first_strip=0,
            load={"length": columns * self.addresses * self.config.m},
        )

    def _part(
        self, *, chains: int, addresses: int, columns: int, first_strip: int, load: Fields
    ) -> Part:
        mask = (1 << chains) - 1
        product = {
            "channels": mask,
            "words": columns * addresses * self.config.m,
            "strips": 2 * self.config.chains * addresses,
            "columns": columns,
            "addresses": addresses,
        }
        written = 2 * (self.config.all_chains * (addresses - 1) + chains)
        return Part(load | {"channels": mask}, product, first_strip, written)

    def _key_rows(self, tokens: int) -> int:
        """Return the addresses of so many tokens' keys in each chain."""
        return _ceil(_ceil(tokens, 2 * self.config.m), self.config.all_chains)

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
