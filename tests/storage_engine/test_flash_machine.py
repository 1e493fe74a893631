"""Any order of what a host may do, and of what may happen to it, against a dictionary."""

import numpy as np
from flash_trials import LAYOUT, A, B, C, device, mounted, new_drive
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from storage_engine.flash_device import PowerCut
from storage_engine.flash_errors import DriveFullError
from storage_engine.kv_store import Acknowledge

SEQUENCES = st.sampled_from([A, B, C])


class Drive(RuleBasedStateMachine):
    """A small drive, and what it must hold: keys and values by sequence, and how many are safe."""

    @initialize(seed=st.integers(0, 99), fails=st.sampled_from([0, 0.01]), safe=st.booleans())
    def begin(self, seed, fails, safe):
        self.flash = device(blocks_per_unit=14, seed=seed, program_fails=fails, erase_fails=fails)
        acknowledge = Acknowledge.BUFFERED if safe else Acknowledge.FLASHED
        self.options = {"acknowledge": acknowledge, "flush_pages": 5, "buffer_pages": 12}
        self.store = new_drive(self.flash, **self.options)
        self.random = np.random.default_rng(seed)
        self.model = {}
        self.safe = {}

    @rule(sequence=SEQUENCES, count=st.integers(1, 20))
    def append(self, sequence, count):
        parts = self.random.integers(0, 1 << 16, (2, count, 16)).astype(LAYOUT.dtype)
        held = self.model.get(sequence, parts[:, :0])
        before = held.shape[1]
        try:
            self.store.append(sequence, *parts)
        except DriveFullError:
            parts = parts[:, : self.store.tokens(sequence) - before]
        except PowerCut:
            self.model[sequence] = np.concatenate([held, parts], axis=1)
            self.recover()
            return
        self.model[sequence] = np.concatenate([held, parts], axis=1)

    @rule()
    def flush(self):
        try:
            self.store.flush()
            assert all(self.store.acknowledged(s) == m.shape[1] for s, m in self.model.items())
        except DriveFullError:
            pass
        except PowerCut:
            self.recover()

    @rule(sequence=SEQUENCES)
    def reclaim(self, sequence):
        mine = [each for each in self.model if each.task == sequence.task]
        try:
            self.store.reclaim(sequence.task)
        except DriveFullError:
            return
        except PowerCut:
            self.recover(reclaimed=mine)
            return
        for each in mine:
            self.model.pop(each)
            self.safe.pop(each, None)

    @rule(operations=st.integers(0, 12))
    def cut_soon(self, operations):
        if self.options["acknowledge"] is Acknowledge.FLASHED:
            self.flash.cut_at = self.flash.operations + operations

    @precondition(lambda self: self.flash.cut_at is None)
    @rule()
    def power_fails(self):
        try:
            self.store.power_fail()
        except DriveFullError:
            assert self.flash.broken  # only blocks that fail can take the promised room away
            self.safe.clear()
        self.recover()

    def recover(self, reclaimed=()):
        """Mount, and accept what was not safe as it is: whole, and no more than was given."""
        self.flash.power_on()
        self.store, report = mounted(self.flash, **self.options)
        assert not report.log_corrupt and not self.store.damaged
        gone = reclaimed and not any(self.store.tokens(each) for each in reclaimed)
        for sequence in list(self.model):
            if gone and sequence in reclaimed:
                del self.model[sequence]
                self.safe.pop(sequence, None)
                continue
            count = self.store.tokens(sequence)
            assert self.safe.get(sequence, 0) <= count <= self.model[sequence].shape[1]
            self.model[sequence] = self.model[sequence][:, :count]
        self.model = {s: m for s, m in self.model.items() if m.shape[1]}

    @invariant()
    def it_holds_what_it_must(self):
        assert set(self.model) >= {s for s in self.store.sequences if self.store.tokens(s)}
        for sequence, parts in self.model.items():
            count = parts.shape[1]
            assert self.store.tokens(sequence) == count
            self.safe[sequence] = self.store.acknowledged(sequence)
            if count:
                assert (np.stack(self.store.read(sequence, 0, count)) == parts).all()
            for span in range(count // LAYOUT.config.span_tokens):
                rows = self.store.read_channels(sequence, range(16), span)
                part = parts[0, span * 16 : span * 16 + 16]
                assert all((rows[channel] == part[:, channel]).all() for channel in rows)


TestDrive = Drive.TestCase
TestDrive.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
