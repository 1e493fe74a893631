"""The timing contract of a core's products: words from the readers, strips to the vector buffer.

Which words a product takes follows from the program: each chain's loads give a stream, of which
one product after the other takes its part.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from golden.core_memories import channel, numbers_in
from golden.spec.core import CoreConfig
from golden.spec.errors import ConfigError
from golden.spec.instruction import Instruction
from golden.spec.isa import Unit, Weights
from hw.event_clock import Call, EventClock, Phase
from hw.load_timing import Offer, ReaderTiming, run_addresses
from hw.matrix_job_timing import PATIENCE, JobTiming, MergeTiming
from hw.matrix_unit_work import Product, instruction_product

Products = Callable[[Instruction], Product]
"""Returns the job of each MV of a program, in their order."""


class ProgramProducts:
    """The jobs of a program's MV instructions, one after the other.

    Args:
        program: all of it. bases: the base registers, in bytes.
        memories: of the channels, by port, uint8 [bytes]; weight streams are read from there.

    Raises:
        ConfigError: an MV takes more words than the program loads.
    """

    def __init__(
        self,
        config: CoreConfig,
        program: Sequence[Instruction],
        bases: Sequence[int],
        memories: Mapping[str, np.ndarray],
    ) -> None:
        self._config, self._memories = config, memories
        # What is left of the runs of each chain: byte address and words.
        self._runs: list[deque[tuple[int, int]]] = [deque() for _ in range(config.chains)]
        for load in program:
            if load.unit is Unit.LD and load["channels"]:
                runs = [(address, load["length"]) for address in run_addresses(load, bases)]
                for chain in numbers_in(load["channels"]):
                    self._runs[chain].extend(runs)

    def __call__(self, one: Instruction) -> Product:
        """Return the job of the next MV."""
        config = self._config
        named = one["channels"] or (1 << config.chains) - 1
        runs = [self._take(chain, one["words"]) for chain in numbers_in(named)]
        words = np.zeros((0, 0, 0), np.uint8)  # those of plain INT8 do not matter
        if one["weights"] == Weights.PACKED:
            words = np.stack([self._words(chain, parts) for chain, parts in enumerate(runs)])
        return instruction_product(config.engine, one, words)

    def _take(self, chain: int, count: int) -> list[tuple[int, int]]:
        """Take words of a chain's stream; return where they lie."""
        runs, taken = self._runs[chain], []
        left = count
        while left:
            if not runs:
                raise ConfigError(
                    f"an MV takes {count} words of channel {chain}, and {count - left} are left of "
                    "what the program loads; load as many as its products take"
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
                f"the program has an MV of packed weights and there is no memory of {port}; give "
                "those of all channels"
            )
        memory = self._memories[port]
        parts = [memory[address : address + words * size] for address, words in runs]
        return np.concatenate(parts).reshape(-1, size)


class ProductTiming:
    """`hw.product_unit.ProductUnit` between the readers and the merge of the vector buffer.

    Args:
        readers: of the chains' words.
        offer: is called when a strip is offered from a cycle on; then that waits for `written`.
        frees: is called in the cycle from which on another instruction is taken.
        ends: is called in the cycle in which an instruction is complete.
    """

    def __init__(
        self,
        clock: EventClock,
        config: CoreConfig,
        readers: Sequence[ReaderTiming],
        products: Products,
        offer: Offer,
        frees: Call,
        ends: Call,
    ) -> None:
        self._clock, self._config, self._readers = clock, config, readers
        self._products, self._offer = products, offer
        self._frees, self._ends = frees, ends
        self._merge = MergeTiming(config.chains)
        self._job: JobTiming | None = None
        self._reads: list[int] = []  # chains whose words come from memory
        self._some = np.ones(config.chains, bool)
        self._leaves = False
        self._progress = self._checked = 0

    def take(self, one: Instruction) -> bool:
        """Offer an instruction in this cycle; return whether it is taken."""
        if self._job is not None:
            return False
        now, product = self._clock.now, self._products(one)
        self._job = JobTiming(self._config.engine, self._merge, product, now)
        self._reads = np.flatnonzero(product.reads).tolist()
        self._some[:] = True
        self._checked, self._progress = now, 0
        self._clock.at(now + 1, Phase.STEP, self._step)
        return True

    def written(self) -> None:
        """Take the strip that is offered."""
        self._leaves = True

    def _step(self) -> None:
        job, now = self._job, self._clock.now
        assert job is not None
        for chain in self._reads:
            self._some[chain] = self._readers[chain].offers
        waits = job.offers and not self._leaves
        before = job.words.at.copy()
        if job.step(self._leaves, self._some):
            self._ends()
        self._leaves = False
        if job.offers and not waits:
            self._offer(now + 1)
        taken = job.words.at != before
        for chain in self._reads:
            if taken[chain]:
                self._readers[chain].take()
        if job.is_over:
            self._clock.following(self._rest)
            self._clock.at(now + 1, Phase.LOGIC, self._frees)
            return
        self._check(job)
        self._clock.at(now + 1, Phase.STEP, self._step)

    def _rest(self) -> None:
        self._job = None

    def _check(self, job: JobTiming) -> None:
        """Refuse a job for which nothing comes any more, and which does not go on by itself."""
        if not self._clock.is_empty:
            self._checked, self._progress = job.now, 0
        elif job.now - self._checked == PATIENCE:
            job.check(self._progress)
            self._checked, self._progress = job.now, job.progress
