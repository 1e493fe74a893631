"""A core's configuration, read by generator, compiler, interpreter and simulator."""

from dataclasses import dataclass
from functools import cached_property

from golden.spec.axi import AxiConfig
from golden.spec.errors import ConfigError
from golden.spec.instruction import Instruction
from golden.spec.isa import CHANNELS, PC_BITS, WORD_BITS, Unit, Weights
from golden.spec.matrix_engine import MatrixEngineConfig
from golden.spec.special_function_unit import (
    SLOT_BITS,
    WIDE_BITS,
    Byte,
    Job,
    SpecialFunctionUnitConfig,
)

SCALE_BITS, SCALE_SHIFT = 16, 14
"""Of the engine's scales: with a scale of 2**SCALE_SHIFT an output is a sum itself."""

LANES = 2
"""Products of a multiplier in a cycle, and so strips that a chain works on at once."""

GENERAL_BUFFER_BURSTS = 4
"""Bursts in the queue of the general port, and of the program's."""

MAX_CORES = 8
"""Of an accelerator."""

WRITE_BEATS = 4
"""Words of the longest burst that is written."""

_MEMORY_DEPTHS = tuple(1 << k for k in range(4, 17))


@dataclass(frozen=True)
class CoreConfig:
    """A core: a matrix engine and a special function unit between memories on the chip.

    One number sets all widths: a strip of the engine's rows, a column of its inputs and a word of
    the special function unit are `m` elements each. So a word of memory has 16 * m bits: as many
    INT8 weights as a chain uses in a cycle, or half a word of the vector buffer.

    Attributes:
        chains: of the matrix engine, each with a memory channel of its own: 1 to 32.
        m: 8 or 16.
        strips: in a chain's tile, as in `SparseChainConfig`.
        vector_depth: words of the vector buffer, of m wide elements each: a power of two from 16 to
            65536. Addresses are modulo it.
        activation_depth: words of the activation memory, of m INT8 elements in each of two lanes:
            the same.
        input_depth: inputs that the engine's activation buffers hold, a multiple of m: a matrix has
            as many at most.
        buffer_words: words in the queue behind each channel: so much is fetched ahead.
        replay_words: words that each chain keeps of a product for its further tokens: a power of
            two from 16 to 65536. An MM of more than one token has at most so many.
        burst_beats, outstanding: of the channels, as in `AxiConfig`.
        table_bits: of the special function unit.
        zero_fraction_bits: of the engine's zero points, as in `MatrixEngineConfig`.
        cores: of the accelerator that it is one of, all alike, 1 to 8; see
            `golden.accelerator_interpreter`. All else here is of each core.

    Raises:
        ConfigError: a field is outside its range.
    """

    chains: int = 2
    m: int = 16
    strips: int = 16
    vector_depth: int = 4096
    activation_depth: int = 512
    input_depth: int = 2048
    buffer_words: int = 512
    replay_words: int = 1024
    burst_beats: int = 16
    outstanding: int = 16
    table_bits: int = 8
    zero_fraction_bits: int = 3
    cores: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.chains, bool) or self.chains not in range(1, CHANNELS + 1):
            raise ConfigError(f"chains is {self.chains!r}; a core has 1 to {CHANNELS}")
        if self.m not in (8, 16):
            raise ConfigError(f"m is {self.m!r}; a core needs 8 or 16")
        if isinstance(self.cores, bool) or self.cores not in range(1, MAX_CORES + 1):
            raise ConfigError(f"cores is {self.cores!r}; an accelerator has 1 to {MAX_CORES}")
        for name in ("vector_depth", "activation_depth", "replay_words"):
            if (depth := getattr(self, name)) not in _MEMORY_DEPTHS:
                raise ConfigError(
                    f"{name} is {depth!r}; a power of two from {_MEMORY_DEPTHS[0]} to "
                    f"{_MEMORY_DEPTHS[-1]} is needed"
                )
        # Their configurations check what they are given.
        for part in (self.engine, self.functions, self.axi, self.general_axi, self.write_axi):
            assert part

    @cached_property
    def engine(self) -> MatrixEngineConfig:
        """The matrix engine."""
        return MatrixEngineConfig(
            chains=self.chains,
            m=self.m,
            strips=self.strips,
            activation_depth=self.input_depth,
            word_bits=self.word_bits,
            scale_bits=SCALE_BITS,
            scale_shift=SCALE_SHIFT + self.zero_fraction_bits,
            output_bits=WIDE_BITS,
            zero_fraction_bits=self.zero_fraction_bits,
        )

    @cached_property
    def functions(self) -> SpecialFunctionUnitConfig:
        """The special function unit."""
        return SpecialFunctionUnitConfig(self.m, self.table_bits)

    @cached_property
    def axi(self) -> AxiConfig:
        """What reads a channel; a job's tag is its instruction's program counter."""
        return AxiConfig(
            self.word_bits,
            burst_beats=self.burst_beats,
            outstanding=self.outstanding,
            buffer_words=self.buffer_words,
            tag_bits=PC_BITS,
        )

    @cached_property
    def general_axi(self) -> AxiConfig:
        """What reads the general port, and the program's."""
        return AxiConfig(
            self.word_bits,
            burst_beats=self.burst_beats,
            outstanding=GENERAL_BUFFER_BURSTS,
            buffer_words=GENERAL_BUFFER_BURSTS * self.burst_beats,
            length_bits=PC_BITS,
            tag_bits=PC_BITS,
        )

    @cached_property
    def write_axi(self) -> AxiConfig:
        """What writes, to any port."""
        return AxiConfig(
            self.word_bits,
            burst_beats=WRITE_BEATS,
            outstanding=self.outstanding,
            buffer_words=2 * WRITE_BEATS,
        )

    @property
    def all_chains(self) -> int:
        """Chains of all cores; those of core k are k * chains and the next ones."""
        return self.cores * self.chains

    @property
    def lanes(self) -> int:
        """INT8 products per cycle of all cores."""
        return self.cores * self.engine.lanes

    @property
    def raw_step(self) -> int:
        """From a chain's pair of strips to its next one, in a product with plain words."""
        return self.all_chains * LANES

    @property
    def max_columns(self) -> int:
        """Most columns of a product: what half an activation buffer holds."""
        return self.engine.activation_depth // self.m

    @property
    def max_group_columns(self) -> int:
        """Most columns of a scale group."""
        return self.engine.max_group_inputs // self.m

    def check_product(self, product: Instruction) -> None:
        """Refuse an MV or MM instruction that this core cannot execute.

        Raises:
            ConfigError: one of its fields is more than the core has, or does not go with others.
        """
        columns, addresses, unit = product["columns"], product["addresses"], product.unit.name
        limits = [("columns", self.max_columns), ("group", min(columns, self.max_group_columns))]
        equals = []
        if product.unit is Unit.MM and product["tokens"] > 1:
            limits.append(("words", self.replay_words))
        if product["weights"] == Weights.PACKED:
            equals.append(("channels", 0))
        else:
            limits.append(("addresses", self.strips))
            equals += [("sweeps", 1), ("paired", 0)]
            equals += [("words", columns * addresses * self.m)]
            equals += [("strips", self.chains * LANES * addresses)]
        for name, most in limits:
            if product[name] > most:
                raise ConfigError(f"{unit} {name} is {product[name]}; at most {most} fits here")
        for name, needed in equals:
            if product[name] != needed:
                raise ConfigError(
                    f"{unit} {name} is {product[name]}; {needed} goes with the others"
                )

    def check_pass(self, job: Job) -> None:
        """Refuse a job of a MISC instruction that this core cannot execute.

        Raises:
            ConfigError: its vector has more words than a memory that it goes through.
        """
        words = self.functions.words(job.length)
        memories = [("vector buffer", self.vector_depth)]
        if job.operation.is_pass and job.byte is not Byte.NONE:
            memories.append(("activation memory", self.activation_depth))
        for name, depth in memories:
            if words > depth:
                raise ConfigError(
                    f"MISC length is {job.length}, which is {words} words; the {name} has {depth}"
                )

    @property
    def word_bits(self) -> int:
        """Bits of a word of memory, of every port."""
        return 16 * self.m

    @property
    def word_bytes(self) -> int:
        """Bytes of a word of memory."""
        return self.word_bits // 8

    def program_bytes(self, words: int) -> int:
        """Return the bytes of memory, in whole words of it, of a program of `words` words."""
        return -(-words * WORD_BITS // self.word_bits) * self.word_bytes

    @property
    def words_per_vector_word(self) -> int:
        """Words of memory that a word of the vector buffer takes."""
        return self.m * SLOT_BITS // self.word_bits
