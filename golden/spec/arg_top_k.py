"""The configuration of the unit that finds the k largest of many scores."""

from dataclasses import dataclass

from golden.spec.errors import ConfigError

LANES = (1, 2, 4, 8)
MAX_SCORES = 1 << 16
MAX_RUN = 1 << 12
MAX_SCORE_BITS = 48


@dataclass(frozen=True)
class ArgTopKConfig:
    """An arg-top-k unit.

    Score n of a job enters in beat `n // lanes`, lane `n % lanes`. Each lane sorts runs of `max_k`
    scores. The engine needs `max_scores=32768, max_k=1024`; the defaults are a small unit.

    Attributes:
        max_scores: most scores of a job, a power of two from 64 to 65536, and at least
            lanes * max_k.
        max_k: most scores that are kept, a power of two from 2 to 4096.
        score_bits: bits of a signed score, 2 to 48.
        lanes: scores that enter per cycle: 1, 2, 4 or 8.

    Raises:
        ConfigError: a field is outside its range.
    """

    max_scores: int = 4096
    max_k: int = 128
    score_bits: int = 27
    lanes: int = 1

    def __post_init__(self) -> None:
        if self.lanes not in LANES:
            raise ConfigError(f"lanes is {self.lanes!r}; allowed are 1, 2, 4 and 8")
        for field, low, high in (("max_k", 2, MAX_RUN), ("max_scores", 64, MAX_SCORES)):
            value = getattr(self, field)
            if not low <= value <= high or value & value - 1:
                raise ConfigError(
                    f"{field} is {value!r}; a power of two from {low} to {high} is needed"
                )
        if self.max_scores < self.lanes * self.max_k:
            raise ConfigError(
                f"max_scores is {self.max_scores}; {self.lanes} lanes that sort runs of "
                f"{self.max_k} need {self.lanes * self.max_k} or more"
            )
        if self.score_bits not in range(2, MAX_SCORE_BITS + 1):
            raise ConfigError(
                f"score_bits is {self.score_bits!r}; allowed are 2 to {MAX_SCORE_BITS}"
            )

    @property
    def index_bits(self) -> int:
        """Bits of a score's index."""
        return (self.max_scores - 1).bit_length()

    @property
    def lane_bits(self) -> int:
        """Bits of a lane's number."""
        return (self.lanes - 1).bit_length()

    @property
    def beat_bits(self) -> int:
        """Bits of a beat's number."""
        return self.index_bits - self.lane_bits

    @property
    def stages(self) -> int:
        """Merges after which a run is sorted."""
        return (self.max_k - 1).bit_length()

    @property
    def max_runs(self) -> int:
        """Most runs of a lane in one job."""
        return self.max_scores // self.lanes // self.max_k

    def beats(self, count: int) -> int:
        """Return the beats in which `count` scores enter."""
        return -(-count // self.lanes)

    def runs(self, count: int) -> int:
        """Return the runs into which each lane cuts its part of `count` scores."""
        return -(-self.beats(count) // self.max_k)
