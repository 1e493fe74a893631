"""The timing contract of a core's products: words from the readers, strips to the vector buffer.

Which words a product takes follows from the program: each chain's loads give a stream, of which
one product after the other takes its part. For further tokens the words are there already.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from golden.core_memories import channel, numbers_in
from golden.spec.core import CoreConfig
from golden.spec.errors import ConfigError
from golden.spec.instruction import Instruction
from golden.spec.isa import Unit, Weights
from golden.spec.matrix_engine import MatrixEngineConfig
from hw.event_clock import Call, EventClock, Phase
from hw.known_job import JobInWork, KnownJobs
from hw.load_timing import Offer, ReaderTiming, run_addresses
from hw.matrix_job_timing import MergeTiming
from hw.matrix_unit_timing import transfers
from hw.matrix_unit_work import Product, instruction_product

Products = Callable[[Instruction], Product]
"""Returns the job of a token of each product of a program, in the order in which they are taken."""


def tokens_of(product: Instruction) -> int:
    """Return how many tokens an MV or MM has."""
    return product["tokens"] if product.unit is Unit.MM else 1


def unit_cycles(
    config: MatrixEngineConfig, products: Sequence[Instruction], words: Sequence[np.ndarray]
) -> list[int]:
    """Return the cycles of successive instructions; see `hw.product_unit.ProductUnit.cycles`."""
    tokens = np.array([tokens_of(one) for one in products])
    jobs = [instruction_product(config, *each) for each in zip(products, words, strict=True)]
    passed = transfers(config, [job for job, n in zip(jobs, tokens, strict=True) for _ in range(n)])
    ends = np.cumsum(tokens)
    taken, complete = np.array(passed["i_job"]), np.array(passed["complete"])
    return (1 + complete[ends - 1] - taken[ends - tokens]).tolist()


class ProgramProducts:
    """The jobs of a program's products, one after the other.

    Args:
        program: all of it. bases: the base registers, in bytes.
        memories: of the channels, by port, uint8 [bytes]; weight streams are read from there.

    Raises:
        ConfigError: a product takes more words than the program loads.
    """

    def __init__(
        self,
        config: CoreConfig,
        program: Sequence[Instruction],
        bases: Sequence[int],
        memories: Mapping[str, np.ndarray],
    ) -> None:
        self._config, self._memories = config, memories
        self._plain: dict[tuple[int, ...], Product] = {}
        # What is left of the runs of each chain: byte address and words.
        self._runs: list[deque[tuple[int, int]]] = [deque() for _ in range(config.chains)]
        for load in program:
            if load.unit is Unit.LD and load["channels"]:
                runs = [(address, load["length"]) for address in run_addresses(load, bases)]
                for chain in numbers_in(load["channels"]):
                    self._runs[chain].extend(runs)

    def __call__(self, one: Instruction) -> Product:
        """Return the job of a token of the next product."""
        config = self._config
        named = one["channels"] or (1 << config.chains) - 1
        runs = [self._take(chain, one) for chain in numbers_in(named)]
        if one["weights"] == Weights.PACKED:
            words = np.stack([self._words(chain, parts) for chain, parts in enumerate(runs)])
            return instruction_product(config.engine, one, words)
        # Words of plain INT8 do not matter; so alike products are the same one.
        shape = tuple(one[name] for name in ("columns", "group", "addresses", "channels"))
        if shape not in self._plain:
            none = np.zeros((0, 0, 0), np.uint8)
            self._plain[shape] = instruction_product(config.engine, one, none)
        return self._plain[shape]

    def _take(self, chain: int, one: Instruction) -> list[tuple[int, int]]:
        """Take words of a chain's stream; return where they lie."""
        runs, taken = self._runs[chain], []
        left = count = one["words"]
        while left:
            if not runs:
                raise ConfigError(
                    f"an {one.unit.name} takes {count} words of channel {chain}, and "
                    f"{count - left} are left of what the program loads; load as many as its "
                    "products take"
                )
            address, words = runs.popleft()
            here = min(words, left)
            taken.append((address, here))
            if words > here:
                runs.appendleft((address + here * self._config.word_bytes, words - here))
            left -= here
        return taken

    def _words(self, chain: int, runs: Sequence[tuple[int, int]]) -> np.ndarray:
        """Return the words of some runs, uint8 [words, bytes]."""
        size, port = self._config.word_bytes, channel(chain)
        if port not in self._memories:
            raise ConfigError(
                f"the program has a product of packed weights and there is no memory of {port}; "
                "give those of all channels"
            )
        memory = self._memories[port]
        parts = [memory[address : address + words * size] for address, words in runs]
        return np.concatenate(parts).reshape(-1, size)


class ProductTiming:
    """`hw.product_unit.ProductUnit` between the readers and the merge of the vector buffer.

    Args:
        readers: of the chains' words.
        offer: is called when a strip is offered from a cycle on; then that waits for `written`.
        calls: of MM and MV: what is called in the cycle from which on another instruction is taken,
            and in the cycle in which one is complete.
    """

    def __init__(
        self,
        clock: EventClock,
        config: CoreConfig,
        readers: Sequence[ReaderTiming],
        products: Products,
        offer: Offer,
        calls: Mapping[Unit, tuple[Call, Call]],
    ) -> None:
        self._clock, self._config, self._readers = clock, config, readers
        self._products, self._offer, self._calls = products, offer, calls
        self._jobs = KnownJobs(config.engine, MergeTiming(config.chains))
        self._job: JobInWork | None = None
        self._unit = Unit.MV  # whose instruction is in work
        self._tokens = 0  # of it, that have not begun
        self._no_mm = False  # is offered in this cycle
        self._reads: list[int] = []  # chains whose words come from memory
        self._some = np.ones(config.chains, bool)
        self._leaves = False
        clock.progress.append(self._progress)

    def take(self, one: Instruction) -> bool:
        """Offer an instruction in this cycle; return whether it is taken."""
        if self._job is not None:
            return False
        if one.unit is Unit.MV and not self._no_mm:
            self._clock.at(self._clock.now, Phase.CHOICE, self._offer_mv)
            return False
        product = self._products(one)
        self._unit, self._tokens = one.unit, tokens_of(one) - 1
        self._reads = np.flatnonzero(product.reads).tolist()
        self._begin(product, self._clock.now)
        return True

    def _offer_mv(self) -> None:
        """Let an MV be taken if there is still nothing in work: an MM comes first."""
        self._no_mm = True
        frees, _ = self._calls[Unit.MV]
        frees()
        self._no_mm = False

    def _begin(self, product: Product, cycle: int) -> None:
        """Begin a token in a cycle."""
        self._product = product
        has_words = all(
            self._readers[chain].has(len(product.chains[chain].words["kind"]))
            for chain in self._reads
        )
        self._job = self._jobs.begin(product, cycle, has_words, again=not self._reads)
        self._some[:] = True
        self._clock.at(self._job.next, Phase.STEP, self._step)

    def written(self) -> None:
        """Take the strip that is offered."""
        self._leaves = True

    def _step(self) -> None:
        job, now = self._job, self._clock.now
        assert job is not None
        if not job.is_known:
            for chain in self._reads:
                self._some[chain] = self._readers[chain].offers
        waits = job.offers and not self._leaves
        if job.step(self._leaves, self._some) and not self._tokens:
            self._calls[self._unit][1]()
        self._leaves = False
        if job.offers and not waits:
            self._offer(now + 1)
        for chain in job.taken:
            if chain in self._reads:
                self._readers[chain].take()
        if job.is_over:
            self._go_on()
            return
        if self._clock.is_stuck:
            job.check()
        self._clock.at(job.next, Phase.STEP, self._step)

    def _go_on(self) -> None:
        """Begin the next token, whose words are there, or rest."""
        following = self._clock.now + 1
        if self._tokens:
            self._tokens -= 1
            self._reads = []
            self._begin(self._product, following)
            return
        self._clock.following(self._rest)
        for frees, _ in self._calls.values():
            self._clock.at(following, Phase.LOGIC, frees)

    def _rest(self) -> None:
        self._job = None

    def _progress(self) -> int:
        """Return what changes while words are on their way, or the job goes on."""
        now, job = self._clock.now, self._job
        if job is None:
            return 0
        comes = any(self._readers[chain].rests > now for chain in self._reads)
        return now if comes or job.is_known else job.progress
