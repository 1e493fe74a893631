"""The sparse DSP chain's configuration, read by its generator, its twin and the simulator."""

from dataclasses import dataclass

from golden.spec.dsp48e2 import LANE_BITS
from golden.spec.errors import ConfigError

MAX_STRIPS = 64
"""The most strips whose sums are kept apart: the depth of a LUT memory on UltraScale+."""


@dataclass(frozen=True)
class SparseChainConfig:
    """One chain of `chain_length` multipliers for blocks in which each row keeps N of m weights.

    A strip is `chain_length` output rows. A pass multiplies the kept weights of one strip in one
    column of `m` inputs; it takes N beats if N <= `chain_length`, and a dense block on a shorter
    chain is several passes, one for each segment of `chain_length` inputs.

    Attributes:
        m: inputs and output rows of a block: 4, 8, 16 or 32.
        chain_length: multipliers in the chain, a power of two from `group_length` to `m`; 0 for m.
        group_length: multipliers of a DSP group, 2, 4 or 8: a row ends only behind a group, so it
            is also the smallest N.
        products_per_dsp: 2 with two products that share a factor in each multiplier, else 1.
        activation_bits, weight_bits: width of a signed activation and weight, 2 to 8.
        strips: strips whose sums are kept apart behind the chain, a power of two from 2 to 64.

    Raises:
        ConfigError: a field is outside its range.
    """

    m: int = 16
    chain_length: int = 0
    group_length: int = 2
    products_per_dsp: int = 2
    activation_bits: int = 8
    weight_bits: int = 8
    strips: int = 16

    def __post_init__(self) -> None:
        _check("m", self.m, (4, 8, 16, 32))
        _check("group_length", self.group_length, tuple(n for n in (2, 4, 8) if n <= self.m))
        if self.chain_length == 0:
            object.__setattr__(self, "chain_length", self.m)
        _check("chain_length", self.chain_length, _powers(self.group_length, self.m))
        _check("products_per_dsp", self.products_per_dsp, (1, 2))
        for field in ("activation_bits", "weight_bits"):
            _check(field, getattr(self, field), tuple(range(2, 9)), unit=" bits")
        _check("strips", self.strips, _powers(2, MAX_STRIPS))

    @property
    def keeps(self) -> tuple[int, ...]:
        """The N that a block may have, beside 0: from one DSP group to dense (`m`)."""
        return _powers(self.group_length, self.m)

    @property
    def beats_of_pass(self) -> tuple[int, ...]:
        """The beats that a pass may have, by its code: N, or `chain_length` where N is larger."""
        return _powers(self.group_length, self.chain_length)

    @property
    def code_bits(self) -> int:
        """Bits of the code that stands for a pass's beats, log2(beats / group_length)."""
        return max((len(self.beats_of_pass) - 1).bit_length(), 1)

    @property
    def index_bits(self) -> int:
        """Bits of an index that names one of a block's `m` inputs."""
        return self.m.bit_length() - 1

    @property
    def segments(self) -> int:
        """Passes of a dense block."""
        return self.m // self.chain_length

    @property
    def groups(self) -> int:
        """DSP groups of the chain, each with its own reduction node."""
        return self.chain_length // self.group_length

    @property
    def lanes(self) -> int:
        """Products per cycle."""
        return self.chain_length * self.products_per_dsp

    @property
    def largest_sum(self) -> int:
        """The largest magnitude of a row's sum in one pass: all operands at their minimum."""
        return self.chain_length << (self.activation_bits + self.weight_bits - 2)

    @property
    def sum_bits(self) -> int:
        """Bits that hold a row's sum in one pass exactly."""
        return self.largest_sum.bit_length() + 1

    @property
    def residue_bits(self) -> int:
        """Bits of the high lane's sum that are computed apart, to undo what the low lane spills.

        A packed sum's low lane spills beyond its 18 bits: its sign, and so many bits more. 0 where
        there is one product per multiplier.
        """
        if self.products_per_dsp == 1:
            return 0
        return (self.largest_sum >> LANE_BITS).bit_length()


def _powers(first: int, last: int) -> tuple[int, ...]:
    return tuple(2**i for i in range(first.bit_length() - 1, last.bit_length()))


def _check(field: str, value: object, allowed: tuple[int, ...], unit: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value not in allowed:
        *others, last = map(str, allowed)
        choices = f"{', '.join(others)} or {last}" if others else last
        raise ConfigError(f"{field} is {value!r}; allowed here are {choices}{unit}")
