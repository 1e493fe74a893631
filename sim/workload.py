"""What is asked of a system: sequences that are read (prefill), then written (decode)."""

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import model_validator

from golden.spec.errors import ConfigError
from golden.spec.records import Record

MOST_TOKENS = 10_000_000
"""Of one sequence: ten times the longest context window that a model was published with."""

MOST_SEQUENCES = 1_000_000


class Workload(Record):
    """A static batch: `batch` sequences start together, and each has the same length.

    Attributes:
        prefill: tokens of each prompt.
        decode: steps after it, each of which gives every sequence a token; the first at a context
            of `prefill` tokens, the next of one more, and so on.
    """

    batch: int = 1
    prefill: int
    decode: int

    @model_validator(mode="after")
    def _is_sane(self) -> "Workload":
        for name, unit, least, most in (
            ("batch", "sequences", 1, MOST_SEQUENCES),
            ("prefill", "tokens", 0, MOST_TOKENS),
            ("decode", "tokens", 0, MOST_TOKENS),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                raise ConfigError(
                    f"{name} is {value:,} {unit}; {least} to {most:,} {unit} are allowed"
                )
        return self

    @property
    def longest(self) -> int:
        """Tokens of each sequence at the end."""
        return self.prefill + self.decode


@dataclass(frozen=True)
class Pass:
    """One trip of tokens through the model.

    Attributes:
        batch: sequences; new: tokens of each that go through.
        context: cached positions that the last of them sees. So a prefill of L tokens has new = L
            and context = L, and a decode step after L tokens new = 1 and context = L.
        extra: tokens beside them, of other requests' prompts, that share the pass's weights.
        prompt: whether it reads a prompt; else it decodes, or verifies what was guessed.
    """

    batch: int
    new: int
    context: int
    extra: float = 0
    prompt: bool = False

    @property
    def tokens(self) -> float:
        """Tokens that go through the weights."""
        return self.batch * self.new + self.extra

    @property
    def seen(self) -> float:
        """Cached positions that a token sees, on average."""
        return self.context - (self.new - 1) / 2


def prefill_passes(workload: Workload, chunk: int | None = None) -> Iterator[Pass]:
    """Yield the passes that read the prompts: one, or as many as chunks of `chunk` tokens take."""
    if chunk is not None and chunk < 1:
        raise ConfigError(f"chunk is {chunk}; at least 1 token is read at a time")
    size = chunk or workload.prefill
    for done in range(0, workload.prefill, max(size, 1)):
        new = min(size, workload.prefill - done)
        yield Pass(workload.batch, new, done + new, prompt=True)
