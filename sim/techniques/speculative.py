"""Speculative decoding: some tokens are guessed, and one pass of the model verifies them all.

The guesses of a pass are a tree of `depth` levels; a chain has one guess on each. With acceptance
a_i, the probability that the right token of level i is among its guesses where level i - 1 was
right, a pass gives

    tau = 1 + a_1 + a_1 a_2 + ... + a_1 ... a_depth

tokens; with the same a on all levels (1 - a^(depth + 1)) / (1 - a), which is 3.36 at a = 0.8 and
depth 4. All guesses and one token before them go through the model. A time between tokens is
(guessing + verifying) / tau. Guesses come from a smaller model, from further heads on the model's
last layer, or from something that takes no time (a table). The result is the model's own, so
nothing is lost.
Sources: speculative decoding (arXiv 2211.17192, equation 1); Medusa (arXiv 2401.10774;
FasterDecoding/Medusa at e2a5d20, medusa_model.py: a head is one h x h layer and its own h x V
matrix, 16 bits).
"""

from dataclasses import replace
from itertools import accumulate
from typing import ClassVar

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from golden import model_shapes
from golden.model_shapes import ModelShape
from golden.spec.errors import ConfigError
from sim.operators import Forward
from sim.result import Quality
from sim.technique import Emission, Technique
from sim.workload import Pass, Workload

MOST_GUESSES = 1024


class Speculative(Technique):
    """Speculative decoding, a chain or a tree, by acceptance.

    Attributes:
        accept: acceptance on every level, or one for each, as 0.7/0.5/0.4.
        depth: levels, where accept is one number.
        width: guesses on every level, or on each, as 4/3/2.
        draft: the model that guesses, one pass for each level; nothing for none.
        heads: further heads of the model that guess, at most one for each level.
    """

    title: ClassVar[str] = "some tokens are guessed, and a pass verifies them all"
    source: ClassVar[str] = "arXiv 2211.17192; Medusa, arXiv 2401.10774"
    touches: ClassVar[str] = "tokens of a pass"

    accept: float | str = 0.8
    depth: PositiveInt = Field(default=4, le=64)
    width: int | str = 1
    draft: str | None = None
    heads: NonNegativeInt = 0

    @model_validator(mode="after")
    def _is_a_tree(self) -> "Speculative":
        if not all(0 <= one <= 1 for one in self.acceptances):
            raise ConfigError(f"accept is {self.accept}; shares from 0 to 1 are allowed")
        if len(self.widths) != len(self.acceptances):
            raise ConfigError(
                f"width is {self.width} and accept {self.accept}; as many levels are needed"
            )
        if min(self.widths) < 1 or sum(self.widths) > MOST_GUESSES:
            raise ConfigError(
                f"width is {self.width}; at least 1 guess on each level and {MOST_GUESSES} "
                "together are allowed"
            )
        if self.draft and self.heads:
            raise ConfigError(f"draft is {self.draft!r} and heads is {self.heads}; one guesses")
        if self.heads > len(self.widths):
            raise ConfigError(f"heads is {self.heads}; there are {len(self.widths)} levels")
        return self

    @property
    def acceptances(self) -> list[float]:
        """The acceptance on each level."""
        found = _numbers("accept", self.accept)
        return found if isinstance(self.accept, str) else found * self.depth

    @property
    def widths(self) -> list[int]:
        """The guesses on each level."""
        found = [int(one) for one in _numbers("width", self.width)]
        return found if isinstance(self.width, str) else found * len(self.acceptances)

    @property
    def tokens(self) -> float:
        """Tokens that a pass gives on average."""
        return 1 + sum(accumulate(self.acceptances, lambda a, b: a * b))

    def refusal(self, system: object, model: ModelShape) -> str | None:
        """Return why it makes no sense on a model."""
        if not self.draft:
            return None
        draft = model_shapes.load(self.draft)
        if draft.vocabulary != model.vocabulary:
            return (
                f"{draft.name} has {draft.vocabulary:,} tokens and {model.name} "
                f"{model.vocabulary:,}, so one cannot guess for the other"
            )
        return None

    def emission(self) -> Emission:
        """Return how many tokens a pass gives, and what goes through."""
        draft = model_shapes.load(self.draft) if self.draft else None
        return Emission(self.tokens, 1 + sum(self.widths), draft, len(self.widths) if draft else 0)

    def forward(self, work: Forward, model: ModelShape, job: Pass) -> Forward:
        """Return the operators with those of the heads that guess, on one token of a sequence."""
        if not self.heads:
            return work
        first = replace(work.tail[0], vectors=job.batch, matrices=self.heads, bits=16.0)
        guessing = (
            replace(first, name="draft layers", rows=model.hidden),
            replace(first, name="draft heads"),
        )
        return Forward(work.layer, work.layers, (*work.tail, *guessing))

    def added_bytes(self, model: ModelShape, workload: Workload) -> float:
        """Return the bytes of the draft model and its cache, at 16 bits."""
        if not self.draft:
            return 0.0
        draft = model_shapes.load(self.draft)
        cached = workload.batch * workload.longest * draft.cached_elements
        return 2.0 * (draft.weights + cached)

    def quality(self) -> Quality:
        """Return that nothing is lost."""
        return Quality(self.name(), "nothing, by construction", "arXiv 2211.17192, appendix A")


def _numbers(name: str, value: float | str) -> list[float]:
    try:
        return [float(one) for one in str(value).split("/")]
    except ValueError:
        raise ConfigError(f"{name} is {value!r}; numbers with / between them are allowed") from None
