"""The timing contract of the likelihood unit: each handshake, cycle by cycle.

From what the streams outside do in a cycle the model says what the unit does in it. Which tokens
are kept decides when arg-top-k gives them, so the model has the keys. A bench holds every handshake
of the hardware against it.
"""

from collections import deque
from collections.abc import Sequence

from golden.spec.attention_engine import BINS
from golden.spec.drive_engine import DriveEngineConfig
from storage_engine import arg_top_k_cases
from storage_engine.arg_top_k_timing import ArgTopKModel
from storage_engine.likelihood_cases import Job
from storage_engine.likelihood_registers import SETTLE_CYCLES, SUM_CYCLES, State
from storage_engine.likelihood_unit import KEYS, arg_top_k_config, key_bits
from storage_engine.slice_logit import SliceLogit
from storage_engine.slice_power import SlicePower


class LikelihoodModel:
    """The unit, with the jobs that it will be given."""

    def __init__(self, config: DriveEngineConfig, jobs: Sequence[Job]) -> None:
        self.config = config
        self.jobs = deque(jobs)
        choosing = [_choosing(config, job) for job in jobs if chooses(job)]
        self.choose = ArgTopKModel(arg_top_k_config(config), choosing)
        self.state = State.JOB
        self.job = jobs[0]
        self.count = 0  # cycles, bins or scores of this state
        self.free = KEYS
        self.coming = deque([False] * (SUM_CYCLES + SliceLogit.cycles()))
        self.keys = 0
        self.left = 0  # kept tokens of arg-top-k
        self.current = False  # the current token is still to be given
        self.query = 0  # whose logit of a kept token is read; `queries` if none is

    @property
    def _others(self) -> int:
        return self.job.context - self.job.ends

    @property
    def _token(self) -> int:
        return self.count // self.config.queries

    def _goes(self, there: bool) -> bool:
        return self.state is State.SCORES and there and self.free > 0

    def outputs(self, there: bool) -> tuple[bool, bool, bool, bool]:
        """Return whether i_job and the scores are taken, and o_kept and o_mass offered.

        Args:
            there: all slices offer scores.
        """
        lanes, queries = self.config.lanes, self.config.queries
        last_query = self.count % queries == queries - 1
        last_lane = self._token % lanes == lanes - 1 or self._token == self.job.context - 1
        comes = self.left and self.choose.outputs()[2]
        offers = bool(comes or (not self.left and self.current))
        return (
            self.state is State.JOB,
            self._goes(there) and last_query and last_lane,
            self.state is State.KEPT and offers and self.query >= queries - 1,
            self.state is State.MASS,
        )

    def step(self, job_valid: bool, there: bool, kept_ready: bool, mass_ready: bool) -> None:
        """Go on to the next cycle."""
        job_ready, _, offers, _ = self.outputs(there)
        goes = self._goes(there)
        queries = self.config.queries
        ends_token = goes and self.count % queries == queries - 1
        has_key = chooses(self.job) and self._token < self._others
        takes = offers and kept_ready
        takes_chosen = bool(takes and self.left)
        _, key_ready, _ = self.choose.outputs()
        leaves = self.keys > 0 and key_ready
        asks = job_valid and job_ready and chooses(self.jobs[0])
        self.choose.step(asks, self.keys > 0, takes_chosen)

        self.coming.append(ends_token and has_key)
        self.keys += self.coming.popleft() - leaves
        self.free += leaves - (ends_token and has_key)
        self._lead(job_valid, goes, mass_ready)
        if takes:
            self.query = 0
            self.current = self.current and takes_chosen
            self.left -= takes_chosen
        elif self.query < queries:
            self.query += 1

    def _lead(self, job_valid: bool, goes: bool, mass_ready: bool) -> None:
        queries, state = self.config.queries, self.state
        moves = {State.SCORES: goes, State.MASS: mass_ready}.get(state, True)
        limits = {
            State.CLEAR: BINS * queries,
            State.SCORES: self.job.context * queries,
            State.SETTLE: SETTLE_CYCLES + 1,
            State.DRAIN: SlicePower.cycles() + 1,
            State.MASS: 2 * BINS * queries,
        }
        if state is State.JOB:
            if job_valid:
                self.job = self.jobs.popleft()
                self.left = _choosing(self.config, self.job).kept if chooses(self.job) else 0
                self.current, self.query = self.job.ends, queries
                self._go(State.CLEAR)
        elif state is State.KEPT:
            if not self.left and not self.current and self.query == queries:
                self._go(State.DRAIN)
        elif moves:
            self.count += 1
            if self.count == limits[state]:
                following = list(State).index(state) + 1
                self._go(State.JOB if state is State.MASS else list(State)[following])

    def _go(self, state: State) -> None:
        self.state, self.count = state, 0


def chooses(job: Job) -> bool:
    """Return whether arg-top-k has something to choose."""
    return job.counts[0] > 0 and job.context > job.ends


def job_cycles(config: DriveEngineConfig, job: Job) -> int:
    """Return the cycles from a job taken to its last mass taken, if no stream waits."""
    model = LikelihoodModel(config, [job])
    cycles = 0
    while cycles == 0 or model.state is not State.JOB:
        model.step(cycles == 0, True, True, True)
        cycles += 1
    return cycles


def _choosing(config: DriveEngineConfig, job: Job) -> arg_top_k_cases.Job:
    """Return arg-top-k's job: its keys and how many are kept."""
    k, newest = job.counts
    keys = job.logits.sum(dim=0)[: job.context - job.ends].clone()
    if newest:
        keys[-newest:] = (1 << key_bits(config) - 1) - 1
    return arg_top_k_cases.Job(keys, k)
