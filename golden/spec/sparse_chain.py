"""The sparse DSP chain's configuration, read by its generator, its twin and the simulator."""

from dataclasses import dataclass

from golden.spec.dsp48e2 import P_BITS
from golden.spec.errors import ConfigError

MAX_ACCUMULATOR_BITS = P_BITS
"""The widest accumulator that one DSP48E2 adds."""


@dataclass(frozen=True)
class SparseChainConfig:
    """One chain of `m` multipliers that works on `m` x `m` blocks of N:m sparse weights.

    Attributes:
        m: inputs and output rows of a block, and multipliers in the chain: 4, 8, 16 or 32.
        activation_bits: width of a signed activation, 2 to 8.
        weight_bits: width of a signed weight, 2 to 8.
        accumulator_bits: width of a row's signed accumulator, at least `cascade_bits`, at most 48.

    Raises:
        ConfigError: a field is outside its range.
    """

    m: int = 16
    activation_bits: int = 8
    weight_bits: int = 8
    accumulator_bits: int = 32

    def __post_init__(self) -> None:
        if not isinstance(self.m, int) or self.m not in (4, 8, 16, 32):
            raise ConfigError(f"m is {self.m!r}; a block is 4, 8, 16 or 32 inputs wide")
        for field in ("activation_bits", "weight_bits"):
            bits = getattr(self, field)
            if not isinstance(bits, int) or not 2 <= bits <= 8:
                raise ConfigError(f"{field} is {bits!r}; allowed are 2 to 8 bits")
        bits = self.accumulator_bits
        if not isinstance(bits, int) or not self.cascade_bits <= bits <= MAX_ACCUMULATOR_BITS:
            raise ConfigError(
                f"accumulator_bits is {bits!r}; a chain of {self.m} needs "
                f"{self.cascade_bits} to {MAX_ACCUMULATOR_BITS} bits"
            )

    @property
    def keeps(self) -> tuple[int, ...]:
        """The legal N of a block: powers of two from one DSP group (2) to dense (`m`)."""
        return tuple(2**i for i in range(1, self.index_bits + 1))

    @property
    def index_bits(self) -> int:
        """Bits of an index that names one of a block's `m` inputs."""
        return self.m.bit_length() - 1

    @property
    def keep_code_bits(self) -> int:
        """Bits of the code that stands for N in the streams, log2(N) - 1."""
        return (len(self.keeps) - 1).bit_length()

    @property
    def groups(self) -> int:
        """DSP groups of two multipliers, each with its own tap on the cascade."""
        return self.m // 2

    @property
    def product_bits(self) -> int:
        """Bits of one signed product."""
        return self.activation_bits + self.weight_bits

    @property
    def cascade_bits(self) -> int:
        """Bits that hold the sum of `m` products exactly."""
        return self.product_bits + self.index_bits

    @property
    def max_terms(self) -> int:
        """Most products that one accumulator adds without any chance of overflow.

        The largest magnitude of a product is 2**(product_bits - 2), both operands at their minimum.
        """
        return (2 ** (self.accumulator_bits - 1) - 1) // 2 ** (self.product_bits - 2)
