"""Cuts of the power: at each operation of a small run, and at random points of long lives."""

from collections import Counter

import numpy as np
import pytest
from flash_trials import A, B, C, device, holds, mounted, new_drive, tokens

from storage_engine.flash_device import PowerCut
from storage_engine.kv_address import SequenceId

BUFFERS = {"flush_pages": 6, "buffer_pages": 24}
LAST_OF_A_FLUSH = 1
"""Operations before the record that commits a group, in blocks that are erased already."""


class Host:
    """A host that notes what it was told, and checks what it finds after a cut.

    `lives` counts how often a task was reclaimed: its tokens differ from life to life.
    """

    def __init__(self, store):
        self.store = store
        self.safe, self.given, self.lives = Counter(), Counter(), Counter()
        self.reclaiming = None

    def append(self, sequence, count):
        first = self.store.tokens(sequence)
        parts = tokens(sequence, first, count, self.lives[sequence.task])
        self.given[sequence] = max(self.given[sequence], first + count)
        try:
            self.store.append(sequence, *parts)
        finally:  # what is told while the power fails was told
            self._note()

    def flush(self):
        try:
            self.store.flush()
        finally:
            self._note()

    def reclaim(self, task):
        self.reclaiming = task
        self.store.reclaim(task)
        self._forget(task)

    def _note(self):
        for sequence in self.store.sequences:
            self.safe[sequence] = max(self.safe[sequence], self.store.acknowledged(sequence))

    def _forget(self, task):
        self.reclaiming = None
        self.lives[task] += 1
        for sequence in [each for each in self.given if each.task == task]:
            del self.given[sequence], self.safe[sequence]

    def check(self, store):
        """Check a drive after a cut: all that was safe, nothing torn, nothing that is not ours."""
        self.store = store
        if self.reclaiming is not None:
            mine = [each for each in self.given if each.task == self.reclaiming]
            if not any(store.tokens(each) for each in mine):
                self._forget(self.reclaiming)
            self.reclaiming = None
        assert not store.damaged
        assert set(store.sequences) <= set(self.given)
        for sequence in self.given:
            count = holds(store, sequence, self.lives[sequence.task])
            assert self.safe[sequence] <= count <= self.given[sequence], sequence
            self.safe[sequence] = self.given[sequence] = count


def small_run(host):
    """Two tasks: groups whole and partial, spans, a reclaim, and new life of the task."""
    for count in (3, 9, 5, 16):
        for sequence in (A, B, C):
            host.append(sequence, count)
    host.flush()
    host.reclaim(A.task)
    host.append(A, 20)
    host.append(C, 2)
    host.flush()
    host.append(A, 17)
    host.flush()


@pytest.mark.parametrize("tear", range(3))
def test_each_operation_of_a_small_run(tear):
    """The power is cut in every program and every erase; each time it tears otherwise."""
    flash = device(blocks_per_unit=12)
    new_drive(flash, **BUFFERS)
    whole = flash.copy()
    run_from_mount(whole, Host(None))
    operations = whole.operations - flash.operations
    assert operations > 60
    for cut in range(operations):
        trial, host = flash.copy(), Host(None)
        trial.random = np.random.default_rng([tear, cut])
        trial.cut_at = flash.operations + cut
        with pytest.raises(PowerCut):
            run_from_mount(trial, host)
        trial.power_on()
        host.check(mounted(trial, **BUFFERS)[0])
        small_run(host)
        host.check(mounted(trial, **BUFFERS)[0])


def run_from_mount(flash, host):
    host.store = mounted(flash, **BUFFERS)[0]
    small_run(host)


def live(flash, store, cuts, seed, **buffers):
    """Let a drive live through so many cuts; return how many were within a mount."""
    random = np.random.default_rng(seed)
    host, in_mounts = Host(store), 0
    sequences = [A, B, C]
    for _ in range(cuts):
        flash.cut_at = flash.operations + int(random.integers(0, 60))
        try:
            while True:
                step = random.random()
                if step < 0.9:
                    host.append(sequences[random.integers(3)], int(random.integers(1, 12)))
                elif step < 0.96:
                    host.flush()
                else:
                    host.reclaim(int(random.choice([1, 7])))
                if max(host.given.values(), default=0) > 200:
                    host.reclaim(max(host.given, key=host.given.get).task)
        except PowerCut:
            pass
        while True:
            flash.power_on()
            if random.random() < 0.3:
                flash.cut_at = flash.operations + int(random.integers(0, 6))
            try:
                store, _ = mounted(flash, **buffers)
                break
            except PowerCut:
                in_mounts += 1
        flash.cut_at = None
        host.check(store)
    return in_mounts


@pytest.mark.parametrize("seed", range(5))
def test_two_hundred_cuts(seed):
    """1,000 cuts in all, and more within mounts; with blocks that fail, and in one wrong bits."""
    flash = device(
        blocks_per_unit=24,
        seed=seed,
        factory_bad=0.03,
        program_fails=0.0005 * (seed % 2),
        bit_errors=2e-5 * (seed == 4),
        weak_pages=0.01 * (seed == 4),
    )
    assert live(flash, new_drive(flash, **BUFFERS), 200, seed, **BUFFERS) > 20


def test_a_gap_lasts_as_long_as_a_block_has_pages_of_it():
    """Pages that were cut never count, whichever of their blocks is erased first."""
    tried = 0
    for seed in range(10):
        trial = device()
        host = Host(new_drive(trial, **BUFFERS))
        host.append(B, 3)
        host.flush()
        host.append(A, 8)  # into the same blocks
        trial.random = np.random.default_rng(seed)
        trial.cut_at = trial.operations + LAST_OF_A_FLUSH
        store = host.store
        with pytest.raises(PowerCut):
            store.flush()
        trial.power_on()
        store, _ = mounted(trial, **BUFFERS)
        blocks = {block for gap in store.manager.state.gaps for block in gap.blocks}
        if store.tokens(A):
            continue  # the record was written after all
        assert len(blocks) == 2
        tried += 1
        for block in sorted(blocks):
            again = trial.copy()
            store, _ = mounted(again, **BUFFERS)
            store.append(B, *tokens(B, 3, 1))
            store.flush()  # now nothing counts in these blocks
            store.manager.blocks.wipe(block)
            store.manager.log.stale = True
            store.manager.log.begin()
            assert mounted(again, **BUFFERS)[0].tokens(A) == 0
    assert tried


def test_a_log_whose_beginning_is_cut_does_not_count():
    """Its beginning has several pages; tasks that were reclaimed stay so at each cut of it."""
    flash = device(blocks_per_unit=24)
    store = new_drive(flash, **BUFFERS)
    store.append(A, *tokens(A, 0, 9))
    for task in range(100, 140):
        sequence = SequenceId(task, 0, 0, 0)
        store.append(sequence, *tokens(sequence, 0, 3))
        store.flush()
        store.reclaim(task)
    whole = flash.copy()
    mounted(whole, **BUFFERS)
    operations = whole.operations - flash.operations
    assert operations > 5
    for cut in range(operations):
        trial = flash.copy()
        trial.random = np.random.default_rng(cut)
        trial.cut_at = flash.operations + cut
        with pytest.raises(PowerCut):
            mounted(trial, **BUFFERS)
        trial.power_on()
        store, report = mounted(trial, **BUFFERS)
        assert not report.log_corrupt
        assert store.sequences == [A]
        assert holds(store, A) == 9
