"""The registers of the likelihood unit, and what it is at."""

from enum import Enum

from amaranth.hdl import Signal
from amaranth.lib import data

from golden.spec.attention_engine import BINS
from golden.spec.drive_engine import DriveEngineConfig
from storage_engine.slice_bins import SliceBins
from storage_engine.slice_logit import SliceLogit
from storage_engine.slice_power import SlicePower


class State(Enum):
    """What the unit is at."""

    JOB = 0
    CLEAR = 1
    SCORES = 2
    SETTLE = 3
    KEPT = 4
    DRAIN = 5
    MASS = 6


SUM_CYCLES = 2
"""From a score to the sum of all slices'."""

SETTLE_CYCLES = SUM_CYCLES + SliceLogit.cycles() + SlicePower.cycles() + SliceBins.cycles() + 1
"""From a score to its power in the mass."""


class LikelihoodRegisters:
    """The unit's registers, and a few signals that several of its parts read.

    `token`, `lane`, `query`: of the next score. `others`: tokens without the current one.
    `chooses`: arg-top-k has something to choose; `chosen`: and has given all of it; `given`: the
    last kept token is out. `busy`: a kept token's logit of `kept_query` is there. `place`: of a
    bin, from the lowest on; `of_kept`: of the kept tokens. `wait` counts cycles.
    """

    def __init__(self, config: DriveEngineConfig) -> None:
        tokens = range(config.attention.max_context + 1)
        query = range(max(config.queries, 2))
        self.tag_layout = data.StructLayout(
            {"valid": 1, "last": 1, "token": range(config.attention.max_context), "query": query}
        )

        def flags(*names: str) -> list[Signal]:
            return [Signal(name=name) for name in names]

        self.state = Signal(State, name="state")
        self.context, self.newest, self.others, self.token = (
            Signal(tokens, name=name) for name in ("context", "newest", "others", "token")
        )
        self.lane = Signal(range(max(config.lanes, 2)), name="lane")
        self.query, self.kept_query = Signal(query, name="query"), Signal(query, name="kept_query")
        self.has_current, self.chooses, self.chosen, self.given, self.busy, self.of_kept = flags(
            "has_current", "chooses", "chosen", "given", "busy", "of_kept"
        )
        self.last_token, self.ends_scores, self.ends_token, self.job_chooses = flags(
            "last_token", "ends_scores", "ends_token", "job_chooses"
        )
        self.place = Signal(range(BINS), name="place")
        self.wait = Signal(range(SETTLE_CYCLES + 1), name="wait")
