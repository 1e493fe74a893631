"""What a drive's attention computes, read by golden, generator, driver and simulator.

A drive keeps the keys and values of a sequence and answers one query at a time: dense decode
attention, or SparF, which reads part of the channels first and part of the tokens then. All that
changes a result's bits is here; docs/sparf.md says what it does, step by step.
"""

from dataclasses import dataclass
from enum import Enum
from fractions import Fraction

from golden.spec.errors import ConfigError

BIN_OCTAVES, BINS = 8, 4
"""Sums of powers of 2 are kept in bins of 8 octaves, the highest four of them."""

LOGIT_FRACTION_BITS = 16
"""A logit counts in units of 2**-16 octaves: exp(x) is 2**(x * log2(e))."""

OUTPUT_BITS = 24
"""Bits of an attention's output before it becomes FP16, but for its sign."""

WEIGHT_FRACTION_BITS = 16
"""Fraction bits of alpha, the weight of the compensation."""

MAX_CONTEXT_BITS = 17
"""Sums have room for 2**17 tokens at most."""


class KvFormat(Enum):
    """How keys and values are stored, by a name, and the bits with which the engine computes."""

    INT8 = "int8"
    FP16 = "fp16"

    @property
    def stored_bytes(self) -> int:
        """Bytes of a stored element."""
        return 1 if self is KvFormat.INT8 else 2

    @property
    def bits(self) -> int:
        """Bits of an element as the engine computes with it: signed fixed point."""
        return 8 * self.stored_bytes


class Temperature(Enum):
    """What the logits of some channels are multiplied with; a = |q|_1, b = that of the channels.

    SPARQ: sqrt(a / b), of SparQ (arXiv 2312.04985). RATIO: a / b. NONE: 1.
    """

    SPARQ = "sparq"
    RATIO = "ratio"
    NONE = "none"


class Selection(Enum):
    """How the query heads of a group, which share keys and values, choose channels and tokens.

    LOGITS: all together, channels by the sum of |q| and tokens by the sum of the logits.
    PROBABILITIES: the same, but tokens by the sum of the probabilities, as SparQ does; that needs
    all logits a second time, when their sums are known.
    PER_HEAD: each head alone; what any of them needs is read.
    """

    LOGITS = "logits"
    PROBABILITIES = "probabilities"
    PER_HEAD = "per head"


@dataclass(frozen=True)
class AttentionConfig:
    """Decode attention of one kv head and the query heads that share it.

    Attributes:
        head_size: channels of a head, a multiple of 8 from 16 to 256.
        queries: query heads that share the kv head, 1 to 16.
        kv_format: how keys and values are stored.
        ratio: SparF reads about 1/ratio of what dense attention reads, 1 to 64.
        r: channels of the first step; 0 for round(head_size / ratio).
        k: tokens of the second step, beside the current one; 0 for round(context / (2 * ratio)), at
            least 1. More than there are means all.
        local: of those k, how many are the newest ones whatever their logits; at most k // 2 are.
        temperature: of the first step's logits.
        selection: of a group.
        compensation: what the kept tokens miss is made up for with the mean of all values.
        query_bits: of a query's elements as the engine computes with them, 8 to 16.
        probability_bits: of the mantissa of a power of 2, 8 to 16.
        context_bits: sums have room for 2**context_bits tokens, 10 to 17.

    Raises:
        ConfigError: a field is outside its range.
    """

    head_size: int = 128
    queries: int = 1
    kv_format: KvFormat = KvFormat.FP16
    ratio: int = 8
    r: int = 0
    k: int = 0
    local: int = 16
    temperature: Temperature = Temperature.SPARQ
    selection: Selection = Selection.LOGITS
    compensation: bool = True
    query_bits: int = 16
    probability_bits: int = 16
    context_bits: int = 15

    def __post_init__(self) -> None:
        _check_range("head_size", self.head_size, 16, 256)
        if self.head_size % 8:
            raise ConfigError(f"head_size is {self.head_size!r}; a multiple of 8 is needed")
        _check_range("queries", self.queries, 1, 16)
        _check_range("ratio", self.ratio, 1, 64)
        _check_range("r", self.r, 0, self.head_size)
        _check_range("context_bits", self.context_bits, 10, MAX_CONTEXT_BITS)
        for field in ("k", "local"):
            _check_range(field, getattr(self, field), 0, 1 << self.context_bits)
        for field in ("query_bits", "probability_bits"):
            _check_range(field, getattr(self, field), 8, 16)
        for field, kind in (
            ("kv_format", KvFormat),
            ("temperature", Temperature),
            ("selection", Selection),
        ):
            if not isinstance(getattr(self, field), kind):
                choices = ", ".join(f"{kind.__name__}.{each.name}" for each in kind)
                raise ConfigError(
                    f"{field} is {getattr(self, field)!r}; allowed here are {choices}"
                )
        if not isinstance(self.compensation, bool):
            raise ConfigError(f"compensation is {self.compensation!r}; it is True or False")

    @property
    def max_context(self) -> int:
        """Most tokens of a sequence."""
        return 1 << self.context_bits

    @property
    def channels(self) -> int:
        """Channels that SparF's first step reads, r."""
        return self.r or max(round(Fraction(self.head_size, self.ratio)), 1)

    def tokens(self, context: int) -> int:
        """Return how many of a context's tokens SparF chooses, k, beside the current one."""
        k = self.k or max(round(Fraction(context, 2 * self.ratio)), 1)
        return min(k, max(context - 1, 0))

    def newest(self, context: int) -> int:
        """Return how many of them are the newest ones, whatever their logits."""
        return min(self.local, self.tokens(context) // 2)

    @property
    def element_bits(self) -> int:
        """Bits of a key's or value's element in the engine."""
        return self.kv_format.bits

    @property
    def score_bits(self) -> int:
        """Bits of the signed sum of a query's products with a key."""
        return self.query_bits + self.element_bits - 1 + (self.head_size - 1).bit_length()

    @property
    def power_bits(self) -> int:
        """Bits of an unsigned power of 2 within its bin: what values are multiplied with."""
        return self.probability_bits + BIN_OCTAVES - 1

    @property
    def mass_bits(self) -> int:
        """Bits of a bin's unsigned sum of powers."""
        return self.power_bits + self.context_bits

    @property
    def mixed_bits(self) -> int:
        """Bits of a bin's signed sum of powers times values."""
        return self.mass_bits + self.element_bits

    @property
    def output_fraction_bits(self) -> int:
        """Fraction bits of an output, in units of the values' least bit."""
        return OUTPUT_BITS - self.element_bits


def _check_range(field: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"{field} is {value!r}; allowed here are {low} to {high}")
