"""Instructions of each unit with what they read and write, for `golden.token_schedule`.

A vector starts with a whole word and is named by it.
"""

from golden.spec.core import LANES, CoreConfig
from golden.spec.instruction import JOB_FIELDS
from golden.spec.isa import Memory, Unit, Weights
from golden.spec.special_function_unit import SLOT_BITS, Byte, Job
from golden.token_schedule import Region, Schedule, Space
from hls_gen.kv_cache import Fields, Part
from hls_gen.matrices import Product
from hls_gen.memory_map import Base
from hls_gen.program import Program


class Emitter:
    """Adds instructions to the program of one core.

    All cores do the same, but each with the chains that it has: products of its own rows, keys and
    values of its own, and only the first core stores vectors.

    Args:
        layers: of the cache.
        core: number of the core.
    """

    def __init__(self, config: CoreConfig, layers: int, core: int = 0) -> None:
        self.config = config
        self._core = core
        self._schedule = Schedule(
            {
                Space.VECTOR: config.vector_depth,
                Space.ACTIVATION: config.activation_depth,
                Space.KEYS: layers,
                Space.VALUES: layers,
            },
            config.cores,
        )

    def program(self) -> Program:
        """Return the program, with an END."""
        return Program(self._schedule.instructions())

    def load(self, base: Base, offset: int, words: int, out: int, times: int = 1) -> None:
        """Load words of the vector buffer from the general memory.

        Args:
            times: that the same words are loaded, one behind the other.
        """
        self._schedule.add(
            Unit.LD,
            {
                "base": base,
                "out": out,
                "length": words * self.config.words_per_vector_word,
                "offset": offset,
                "count_1": times,
            },
            writes=[Region(Space.VECTOR, out, words * times)],
        )

    def product(self, product: Product, activation: int, out: int) -> None:
        """Load a matrix and multiply it with the inputs at `activation`."""
        self._schedule.add(
            Unit.LD,
            {
                "base": Base.WEIGHTS,
                "channels": (1 << self.config.chains) - 1,
                "length": product.words,
                "offset": product.offset,
            },
        )
        self._schedule.add(
            Unit.MV,
            {
                "words": product.words,
                "strips": product.strips // self.config.cores,
                "activation": activation,
                "columns": product.columns,
                "group": product.group,
                "sweeps": product.sweeps,
                "out": out,
            },
            reads=[Region(Space.ACTIVATION, activation, product.columns)],
            writes=[Region(Space.VECTOR, out, product.strips)],
        )

    def plain_product(
        self, part: Part, cached: Region, offset: int, activation: int, out: int
    ) -> None:
        """Load keys or values and multiply them with the inputs at `activation`.

        Args:
            cached: what is loaded. offset: where the head's begin.
            out: where strip 0 of all parts goes.
        """
        engine, columns = self.config.engine, part.product["columns"]
        _, mine = self._channels(part.product["channels"])
        strips = Region(Space.VECTOR, out + part.first_strip, part.written)
        if not mine:
            self._schedule.add(Unit.MV, {}, writes=[strips], here=False)
            return
        place = {"base": Base.CACHE, "offset": offset + part.load.get("offset", 0)}
        self._schedule.add(Unit.LD, part.load | place | {"channels": mine}, reads=[cached])
        self._schedule.add(
            Unit.MV,
            part.product
            | {
                "channels": mine,
                "weights": Weights.RAW,
                "activation": activation,
                "group": min(columns, self.config.max_group_columns),
                # With this scale an output is a sum itself.
                "scale": 1 << (engine.scale_shift - engine.zero_fraction_bits),
                "out": strips.start + self._core * self.config.chains * LANES,
            },
            reads=[Region(Space.ACTIVATION, activation, columns)],
            writes=[strips],
        )

    def step(self, job: Job) -> None:
        """Do a step on scalars."""
        self._schedule.add(Unit.MISC, _job_fields(job))

    def run(self, job: Job, a: int, b: int = 0, out: int = 0, out_byte: int = 0) -> None:
        """Do a pass over vectors; `b`, `out` and `out_byte` are those that the job has."""
        words = self.config.functions.words(job.length)
        reads, writes = [Region(Space.VECTOR, a, words)], []
        if job.takes_b:
            reads.append(Region(Space.VECTOR, b, words))
        if job.wide:
            writes.append(Region(Space.VECTOR, out, words))
        if job.byte is not Byte.NONE:
            writes.append(Region(Space.ACTIVATION, out_byte, words))
        self._schedule.add(
            Unit.MISC,
            _job_fields(job) | {"a": a, "b": b, "out": out, "out_byte": out_byte},
            reads=reads,
            writes=writes,
        )

    def store(self, start: int, elements: int, base: Base, offset: int) -> None:
        """Store a wide vector to the general memory of the first core."""
        self._schedule.add(
            Unit.ST,
            {
                "base": base,
                "start": start,
                "length": elements * SLOT_BITS // 8,
                "offset": offset,
            },
            reads=[Region(Space.VECTOR, start, self.config.functions.words(elements))],
            here=self._core == 0,
        )

    def append(self, start: int, words: int, cached: Region, offset: int, store: Fields) -> None:
        """Append INT8 values to the cache: what this core's chains have of them.

        Args:
            start, words: what all store. cached: where to.
            offset, store: where keys or values begin, and the loops from there on.
        """
        channels = store["channels"]
        before, mine = self._channels(channels)
        if not mine:
            return
        words //= channels.bit_count()  # of each channel
        start += words * before.bit_count()
        words *= mine.bit_count()
        fields = {
            "memory": Memory.ACTIVATION,
            "base": Base.CACHE,
            "channels": mine,
            "start": start,
            "offset": offset + store["offset"],
        }
        self._schedule.add(
            Unit.ST,
            store | fields,
            reads=[Region(Space.ACTIVATION, start, words)],
            writes=[cached],
        )

    def _channels(self, mask: int) -> tuple[int, int]:
        """Return of a mask of all cores' chains what is before this core's, and this core's."""
        chains = self.config.chains
        before, mine = mask & ((1 << self._core * chains) - 1), mask >> self._core * chains
        return before, mine & ((1 << chains) - 1)


def _job_fields(job: Job) -> Fields:
    """Return a job's fields in MISC."""
    same = {name: int(getattr(job, name)) for name in JOB_FIELDS if name != "operation"}
    return same | {"op": int(job.operation)}
