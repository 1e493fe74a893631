"""Instructions of each unit with what they read and write, for `golden.token_schedule`.

A vector starts with a whole word and is named by it.
"""

from dataclasses import dataclass, field

from golden.spec.core import LANES, CoreConfig
from golden.spec.instruction import JOB_FIELDS
from golden.spec.isa import FORMATS, Memory, Unit, Weights
from golden.spec.special_function_unit import SLOT_BITS, Byte, Job
from golden.token_schedule import Region, Schedule, Space
from hls_gen.buffers import Places
from hls_gen.kv_cache import Fields, Part
from hls_gen.matrices import Product
from hls_gen.memory_map import Base
from hls_gen.program import Program

MAX_TOKENS = FORMATS[Unit.MM].field("tokens").span[1]
"""Most vectors that a matrix is multiplied with by one instruction."""


@dataclass(frozen=True)
class Task:
    """A job of the special function unit, and where its vectors lie.

    Attributes:
        a, b, out: words of the vector buffer, of vectors that the job has.
        out_byte: word of the activation memory.
        extended: the vectors have as many elements more as positions of the bucket are in front;
            that takes no more words.
    """

    job: Job
    a: int = 0
    b: int = 0
    out: int = 0
    out_byte: int = 0
    extended: bool = field(default=False, kw_only=True)


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

    def load(
        self, base: int, offset: int, words: int, out: int, *, times: int = 1, vectors: int = 1
    ) -> None:
        """Load vectors that lie side by side in the general memory.

        Args:
            words: of the vector buffer, of each. times: that each is loaded, one behind the other.
        """
        length = words * self.config.words_per_vector_word
        self._schedule.add(
            Unit.LD,
            {
                "base": base,
                "out": out,
                "length": length,
                "offset": offset,
                "count_1": times,
                "count_2": vectors,
                "stride_2": length * self.config.word_bytes,
            },
            writes=[Region(Space.VECTOR, out, words * times * vectors)],
        )

    def product(self, product: Product, inputs: Places, out: Places, tokens: int = 1) -> None:
        """Load a matrix and multiply it with the inputs of each token.

        Args:
            out: where strip 0 of each token's goes.
        """
        self._schedule.add(
            Unit.LD,
            {
                "base": Base.WEIGHTS,
                "channels": (1 << self.config.chains) - 1,
                "length": product.words,
                "offset": product.offset,
            },
        )
        fields = {
            "words": product.words,
            "strips": product.strips // self.config.cores,
            "columns": product.columns,
            "group": product.group,
            "sweeps": product.sweeps,
            "paired": product.paired,
        }
        outputs = out.moved(product.first_strip)
        self._multiply(fields, inputs, outputs, tokens, product.columns, product.strips)

    def plain_product(
        self, part: Part, cached: Region, offset: int, inputs: Places, out: Places, tokens: int
    ) -> None:
        """Load keys or values and multiply them with several vectors.

        They are loaded once, where the chains can keep them and an instruction counts so far.

        Args:
            cached: what is loaded. offset: where the head's begin.
            out: where strip 0 of all parts goes.
            tokens: vectors.
        """
        most = MAX_TOKENS if part.product["words"] <= self.config.replay_words else 1
        for first in range(0, tokens, most):
            count = min(tokens - first, most)
            moved = inputs.moved(first * inputs.size), out.moved(first * out.size)
            self._plain_product(part, cached, offset, *moved, count)

    def _plain_product(
        self, part: Part, cached: Region, offset: int, inputs: Places, out: Places, tokens: int
    ) -> None:
        engine, columns = self.config.engine, part.product["columns"]
        _, mine = self._channels(part.product["channels"])
        if mine:
            for load in part.loads:
                place = {"base": Base.CACHE, "offset": offset + load["offset"], "channels": mine}
                self._schedule.add(Unit.LD, load | place, reads=[cached])
        fields = part.product | {
            "channels": mine,
            "weights": Weights.RAW,
            "group": min(columns, self.config.max_group_columns),
            # With this scale an output is a sum itself.
            "scale": 1 << (engine.scale_shift - engine.zero_fraction_bits),
        }
        outputs = out.moved(part.first_strip)
        self._multiply(fields, inputs, outputs, tokens, columns, part.written, here=mine != 0)

    def _multiply(
        self,
        fields: Fields,
        inputs: Places,
        out: Places,
        tokens: int,
        columns: int,
        written: int,
        *,
        here: bool = True,
    ) -> None:
        """Add a product.

        Args:
            out: where the first of each token's strips goes, whichever core gives it.
            columns, written: words that it reads and all cores write, of each token.
        """
        shift = self._core * self.config.chains * LANES if fields.get("channels") else 0
        fields = fields | {"activation": inputs.start, "out": out.start + shift}
        if tokens > 1:
            fields |= {"tokens": tokens, "step": inputs.size, "out_step": out.size}
        self._schedule.add(
            Unit.MM if tokens > 1 else Unit.MV,
            fields if here else {},
            reads=[Region(Space.ACTIVATION, inputs[k], columns) for k in range(tokens)],
            writes=[Region(Space.VECTOR, out[k], written) for k in range(tokens)],
            here=here,
        )

    def run(self, task: Task) -> None:
        """Do a job of the special function unit."""
        job, words = task.job, self.config.functions.words(task.job.length)
        reads, writes = [], []
        if job.operation.is_pass:
            reads.append(Region(Space.VECTOR, task.a, words))
        if job.takes_b:
            reads.append(Region(Space.VECTOR, task.b, words))
        if job.gives and job.wide:
            writes.append(Region(Space.VECTOR, task.out, words))
        if job.gives and job.byte is not Byte.NONE:
            writes.append(Region(Space.ACTIVATION, task.out_byte, words))
        places = {"a": task.a, "b": task.b, "out": task.out, "out_byte": task.out_byte}
        fields = _job_fields(job) | places | {"extended": int(task.extended)}
        self._schedule.add(Unit.MISC, fields, reads=reads, writes=writes)

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

    def append(
        self, start: int, words: int, cached: Region, base: Base, offset: int, store: Fields
    ) -> None:
        """Append INT8 values to the cache: what this core's chains have of them.

        Args:
            start, words: what all store. cached: where to.
            base, offset, store: where keys or values begin, and the loops from there on.
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
            "base": base,
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
