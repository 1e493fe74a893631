"""Jobs of the matrix unit whose course is known, for they were done before.

The tokens of an MM are the same job again and again, and so are the heads of an attention. When all
words are there and strips are taken at once, a job goes as it went before: what is seen of it from
outside happens in the same cycles behind its begin. If a strip has to wait, it is played from there
on.
"""

from collections import OrderedDict
from functools import partial
from typing import NamedTuple

import numpy as np

from golden.spec.matrix_engine import MatrixEngineConfig
from hw.matrix_job_timing import JobTiming, MergeTiming
from hw.matrix_unit_work import Product

KEPT = 64
"""Courses that are kept."""


class _Step(NamedTuple):
    """What is seen of a job in a cycle.

    Attributes:
        cycle: behind that in which the job was taken.
        leaves: a strip leaves. offers: one is offered in the next cycle.
        completes: the job does.
        taken: chains that take a word.
    """

    cycle: int
    leaves: bool
    offers: bool
    completes: bool
    taken: tuple[int, ...]


class _Course(NamedTuple):
    """The steps of a job in which anything is seen, and what it leaves of the merge."""

    steps: list[_Step]
    merge: MergeTiming

    @property
    def without_words(self) -> "_Course":
        """The same of words that nobody else asks for."""
        steps = [one for one in self.steps[:-1] if one.leaves or one.offers or one.completes]
        return _Course([*steps, self.steps[-1]], self.merge)


class JobInWork:
    """A job that is played cycle by cycle, or whose course is known.

    Args:
        merge: of the unit. begin: the cycle in which the job is taken.
        course: if it is known.

    Attributes:
        next: the next cycle in which it may be seen: then it wants a `step`.
        offers: a strip is offered there.
        taken: chains that took a word in the last step.
        is_over: the job is complete, and all its words are taken.
    """

    def __init__(
        self,
        config: MatrixEngineConfig,
        merge: MergeTiming,
        product: Product,
        begin: int,
        course: _Course | None = None,
    ) -> None:
        self._merge, self._begin, self._course = merge, begin, course
        self._make_job = partial(JobTiming, config, merge, product, begin)
        self._job = None if course else self._make_job()
        self._steps = iter(course.steps if course else ())
        self._step = next(self._steps, None)
        self.next = begin + (self._step.cycle if self._step else 1)
        self.offers = self.is_over = False
        self.taken: tuple[int, ...] = ()

    @property
    def is_known(self) -> bool:
        """Whether all that is to come is known."""
        return self._job is None

    @property
    def progress(self) -> int:
        """A number that grows with every step that is played."""
        return self._job.progress if self._job else 0

    def check(self) -> None:
        """Refuse a job that does not go on; see `JobTiming.check`."""
        if self._job:
            self._job.check(self._job.progress)

    def step(self, leaves: bool, some: np.ndarray | bool = True) -> bool:
        """Do what happens in cycle `next`; see `JobTiming.step`."""
        if self._job:
            return self._play(self._job, leaves, some)
        assert self._step is not None
        if self._step.leaves != leaves:
            self._job = self._catch_up()
            return self._play(self._job, leaves, some)
        step, self._step = self._step, next(self._steps, None)
        self.offers, self.taken = step.offers, step.taken
        if self._step is None:
            assert self._course is not None
            self._merge.assign(self._course.merge)
            self.is_over = True
        else:
            self.next = self._begin + self._step.cycle
        return step.completes

    def _play(self, job: JobTiming, leaves: bool, some: np.ndarray | bool) -> bool:
        before = job.words.at.copy()
        completes = job.step(leaves, some)
        self.taken = tuple(np.flatnonzero(job.words.at != before).tolist())
        self.offers, self.is_over = job.offers, job.is_over
        self.next = job.now + 1
        return completes

    def _catch_up(self) -> JobTiming:
        """Play the job up to the present cycle; so far every strip was taken at once."""
        job = self._make_job()
        while job.now + 1 < self.next:
            job.step(job.offers)
        return job


class KnownJobs:
    """Makes jobs, and keeps the courses of those that come again.

    Args:
        merge: of the unit.
    """

    def __init__(self, config: MatrixEngineConfig, merge: MergeTiming) -> None:
        self._config, self._merge = config, merge
        # By the product and by whose turn it is; None where it was done once.
        self._courses: OrderedDict[tuple[int, bytes], tuple[Product, _Course | None]]
        self._courses = OrderedDict()

    def begin(self, product: Product, cycle: int, has_words: bool, again: bool) -> JobInWork:
        """Take a job in a cycle.

        Args:
            has_words: all its words are there. again: they were taken before.
        """
        key = (id(product), self._merge.turns)
        if not has_words:
            return JobInWork(self._config, self._merge, product, cycle)
        course = None
        if key in self._courses:
            _, course = self._courses[key]
            course = course or self._play(product)
        self._courses[key] = (product, course)  # which keeps its identity
        self._courses.move_to_end(key)
        if len(self._courses) > KEPT:
            self._courses.popitem(last=False)
        if course and again:
            course = course.without_words
        return JobInWork(self._config, self._merge, product, cycle, course)

    def _play(self, product: Product) -> _Course:
        """Return the course of a job."""
        merge, steps = MergeTiming(self._config.chains), []
        merge.assign(self._merge)
        job = JobInWork(self._config, merge, product, 0)
        while not job.is_over:
            cycle, leaves = job.next, job.offers
            completes = job.step(leaves)
            if leaves or job.offers or job.taken or completes or job.is_over:
                steps.append(_Step(cycle, leaves, job.offers, completes, job.taken))
        return _Course(steps, merge)
