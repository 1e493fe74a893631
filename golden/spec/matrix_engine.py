"""The matrix engine's configuration, read by its generator, its twin and the simulator."""

from dataclasses import dataclass

from golden.spec.dsp48e2 import B_BITS, D_BITS, P_BITS
from golden.spec.errors import ConfigError
from golden.spec.expansion import MAX_WORD_BITS, ExpansionConfig
from golden.spec.sparse_chain import SparseChainConfig

OPERAND_BITS = 8
"""Bits of an activation and of an expanded weight in the engine."""

ZERO_BITS = 8
"""Bits of a group's signed zero point."""


@dataclass(frozen=True)
class MatrixEngineConfig:
    """`chains` sparse DSP chains with their buffers, accumulators, group scales and requantisation.

    In a tile every chain works on at most `strips` strips; all inputs of the tile pass through its
    activation buffer, column after column.

    Attributes:
        chains: chains side by side, 1 to 64.
        m, chain_length, group_length, products_per_dsp, strips: as in `SparseChainConfig`; a chain
            has at least 8 multipliers here.
        activation_depth: inputs in each half of a chain's activation buffer, a multiple of m from
            2 m to 16384.
        word_bits: width of a word of packed weights; a multiple of eight times the chain's lanes.
        weight_depth: words in a chain's weight buffer, 2 to 1024.
        index_depth: beats in a chain's index buffer, from `chain_length` (a pass) to 1024.
        pass_depth: passes in a chain's pass buffer, 2 to 1024.
        accumulator_bits: width of a group's signed sum, from what one column needs to 27.
        scale_bits: width of a group's unsigned scale, 1 to 17.
        scale_shift: an output is a total divided by 2**scale_shift, 1 to 40; so a scale counts in
            units of 2**(zero_fraction_bits - scale_shift).
        output_bits: width of a requantised output, 4 to 32.
        zero_fraction_bits: a zero point counts in units of 2**-zero_fraction_bits, 0 to 4.

    Raises:
        ConfigError: a field is outside its range.
    """

    chains: int = 2
    m: int = 16
    chain_length: int = 0
    group_length: int = 2
    products_per_dsp: int = 2
    strips: int = 16
    activation_depth: int = 2048
    word_bits: int = 256
    weight_depth: int = 32
    index_depth: int = 32
    pass_depth: int = 32
    accumulator_bits: int = 27
    scale_bits: int = 16
    scale_shift: int = 24
    output_bits: int = 8
    zero_fraction_bits: int = 0

    def __post_init__(self) -> None:
        if self.chain_length == 0:
            object.__setattr__(self, "chain_length", self.m)
        chain = self.chain
        if chain.chain_length < 8:
            # A row's sum must have left the group scale before the same row comes again.
            raise ConfigError(f"chain_length is {chain.chain_length!r}; the engine needs 8 or more")
        _check_range("chains", self.chains, 1, 64)
        _check_range("activation_depth", self.activation_depth, 2 * self.m, 16384)
        if self.activation_depth % self.m:
            raise ConfigError(
                f"activation_depth is {self.activation_depth!r}; a multiple of {self.m} is needed"
            )
        if self.word_bits not in range(chunk := 8 * chain.lanes, MAX_WORD_BITS + 1, chunk):
            raise ConfigError(
                f"word_bits is {self.word_bits!r}; {chain.lanes} lanes need a multiple of {chunk}, "
                f"at most {MAX_WORD_BITS}"
            )
        _check_range("weight_depth", self.weight_depth, 2, 1024)
        _check_range("index_depth", self.index_depth, chain.chain_length, 1024)
        _check_range("pass_depth", self.pass_depth, 2, 1024)
        # A group has at least one column, whatever its zero points.
        least = max(chain.sum_bits, 2 * OPERAND_BITS + self.m.bit_length())
        _check_range("accumulator_bits", self.accumulator_bits, least, D_BITS)
        _check_range("scale_bits", self.scale_bits, 1, B_BITS - 1)
        _check_range("scale_shift", self.scale_shift, 1, 40)
        _check_range("output_bits", self.output_bits, 4, 32)
        _check_range("zero_fraction_bits", self.zero_fraction_bits, 0, 4)

    @property
    def chain(self) -> SparseChainConfig:
        """The configuration of each chain."""
        return SparseChainConfig(
            self.m,
            self.chain_length,
            self.group_length,
            self.products_per_dsp,
            OPERAND_BITS,
            OPERAND_BITS,
            self.strips,
        )

    @property
    def expansion(self) -> ExpansionConfig:
        """The configuration of the unit that expands a chain's weights: one beat of all lanes."""
        return ExpansionConfig(self.word_bits, self.chain.lanes, beat_bits=32)

    @property
    def lanes(self) -> int:
        """Products per cycle of all chains."""
        return self.chains * self.chain.lanes

    @property
    def tile_rows(self) -> int:
        """Output rows of one chain's tile, in each of its lanes."""
        return self.strips * self.chain_length

    @property
    def pairs_rows(self) -> bool:
        """Whether rows leave a sparse matrix-vector product in pairs, one in each lane.

        The two are of different DSP groups, since a group's sums come one after the other.
        """
        return self.products_per_dsp == 2 and self.chain.groups > 1

    @property
    def max_group_inputs(self) -> int:
        """Most inputs of a scale group: no sum of (weight - zero point) * activation overflows.

        The accumulators hold sums of weight * activation, with room for whole zero points: so the
        largest product is (-128 - 127) * -128, less than 2**15. What a scale multiplies has the
        zero point's fraction bits too, and `D_BITS`.
        """
        in_accumulators = (2 ** (self.accumulator_bits - 1) - 1) >> (2 * OPERAND_BITS - 1)
        return int(min(in_accumulators, (2 ** (D_BITS - 1) - 1) // self._beyond_products))

    @property
    def max_inputs(self) -> int:
        """Most inputs of an output, whatever its groups: no sum of scaled sums overflows."""
        return int((1 << (P_BITS - 1 - self.scale_bits)) // self._beyond_products)

    @property
    def _beyond_products(self) -> int:
        """More than any (weight - zero point) * activation, in units of the zero point's.

        The largest product is (-128 * 2**zero_fraction_bits - 127) * -128.
        """
        return int(((1 << self.zero_fraction_bits) + 1) << (2 * OPERAND_BITS - 2))

    @property
    def offset_bits(self) -> int:
        """Bits of the signed sum of a group's activations."""
        return int((self.max_group_inputs << (OPERAND_BITS - 1)).bit_length() + 1)


def _check_range(field: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"{field} is {value!r}; allowed here are {low} to {high}")
