"""A GPU that computes the cache again where its memory cannot keep it."""

from typing import Literal

from pydantic import PositiveInt

from golden.model_shapes import ModelShape
from golden.spec.errors import ConfigError
from sim.cost import Cost, total
from sim.gpu import GpuSystem
from sim.system import Footprint, Span
from sim.workload import Pass, Workload

AGAIN = "cache computed again"


class RecomputeSystem(GpuSystem):
    """A GPU whose sequences take turns where their caches do not fit together.

    As many as fit are in memory. They write `turn_tokens` each, then make room for the next ones,
    whose caches are computed again from their tokens. Who was last in memory is first in the next
    round, so what fits is spared once a round.

    Attributes:
        turn_tokens: that a sequence writes before it makes room.
    """

    kind: Literal["recompute"] = "recompute"  # type: ignore[assignment]
    turn_tokens: PositiveInt = 1

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What an estimate for such a system takes for granted."""
        return (
            *super().assumptions,
            f"A sequence that does not fit writes {self.turn_tokens} tokens, then makes room.",
        )

    def footprint(self, model: ModelShape, workload: Workload) -> Footprint:
        """Return what the GPU's memory holds: of the cache no more than fits, or one sequence."""
        taken = super().footprint(model, workload)
        one = taken.cache / workload.batch
        room = self._room(taken) // one * one
        return Footprint(taken.weights, min(taken.cache, max(room, one)), taken.working, taken.held)

    def _room(self, taken: Footprint) -> float:
        return max(taken.held - taken.weights - taken.working, 0.0)

    def kept(self, model: ModelShape, batch: int, context: int) -> int:
        """Return how many of `batch` sequences have their caches in memory at a time.

        Raises:
            ConfigError: not one has room.
        """
        taken = super().footprint(model, Workload(batch=batch, prefill=1, decode=context - 1))
        one = super().cached(model, context, self.bits.cache).bytes
        fits = int(self._room(taken) // one)
        if not fits:
            raise ConfigError(
                f"{model.name} has no room for one sequence of {context:,} tokens on {self.name}"
            )
        return min(fits, batch)

    def step(self, model: ModelShape, job: Pass) -> Cost:
        """Return the cost of one pass; of a step, with what is computed again for it."""
        if job.new > 1:
            return super().step(model, job)
        kept = self.kept(model, job.batch, job.context)
        away = job.batch - kept
        here = super().step(model, Pass(kept, 1, job.context, job.extra))
        if not away:
            return here
        again = (
            super().step(model, Pass(kept, job.context, job.context, prompt=True)).renamed(AGAIN)
        )
        return total([(job.batch / kept, here), (away / kept / self.turn_tokens, again)])

    def seconds(self, model: ModelShape, job: Pass) -> float:
        """Return the time of one pass."""
        return self.step(model, job).seconds

    def spans(self, model: ModelShape, job: Pass) -> list[Span]:
        """Return what host and device do for the sequences in memory; the others are alike."""
        if job.new > 1:
            return super().spans(model, job)
        kept = self.kept(model, job.batch, job.context)
        return super().spans(model, Pass(kept, 1, job.context, job.extra))
