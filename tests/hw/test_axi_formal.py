"""Proofs that the AXI4 masters keep the bus's rules, each beside broken copies that fail them."""

import pytest
from axi_proofs import PackerProof, ReaderProof, WriterProof
from axi_trials import quick
from proofs import broken

from golden.spec.axi import AxiConfig
from hw.axi_reader import AxiReader
from hw.axi_writer import AxiWriter, BurstPacker
from hw.formal import prove

CONFIG = AxiConfig(
    data_bits=16, address_bits=13, burst_beats=2, outstanding=2, buffer_words=4, length_bits=2
)


@pytest.mark.parametrize("proof", quick([PackerProof, ReaderProof, WriterProof]))
def test_a_master_keeps_the_rules(proof):
    found = prove(proof(CONFIG))
    assert found.holds, f"{found.failed}\n{found.trace}"


@pytest.mark.parametrize(
    ("right", "wrong", "failed"),
    quick(
        [
            ("last | offset.all()", "last", "bursts follow one another"),
            ("(offset - beats)", "(offset + 0)", "bursts follow one another"),
            ("~(last & overhangs)", "1", "a job takes all of its inputs"),
            ("If(self.o.ready)", "If(1)", "o holds still until it is taken"),
            ("whole << 1 << end", "whole << end", "every word has a byte"),
            ("ends_job.eq(last)", "ends_job.eq(1)", "a job ends once"),
        ]
    ),
)
def test_a_broken_packer_is_seen(right, wrong, failed):
    found = prove(PackerProof(CONFIG, broken(BurstPacker, right, wrong)), cycles=12)
    assert (found.holds, found.failed) == (False, failed)


@pytest.mark.parametrize(
    ("right", "wrong", "failed"),
    quick(
        [
            ("more_words <= ~offset", "more_words < c.burst_beats", "no burst crosses 4 KB"),
            (
                "reserved + more_beats < c.buffer_words",
                "reserved < c.buffer_words",
                "there is room for all that is asked for",
            ),
            ("block + 1)", "block)", "bursts follow one another"),
            ("If(self.m_axi_arready)", "If(1)", "address holds still until it is taken"),
            ("self.stop | failed", "failed", "nothing begins after stop"),
            ("self.stop | failed", "self.stop", "no more is asked for than the jobs have"),
            (
                "code != AxiError.NONE",
                "code == AxiError.UNALIGNED",
                "nothing begins after an error",
            ),
            ("~(bad | spoilt)", "~bad", "nothing is offered that has not entered"),
            ("& bursts.ready\n", "", "it is busy while a burst is in flight"),
        ]
    ),
)
def test_a_broken_reader_is_seen(right, wrong, failed):
    found = prove(ReaderProof(CONFIG, broken(AxiReader, right, wrong)), cycles=12)
    assert (found.holds, found.failed) == (False, failed)


@pytest.mark.parametrize(
    ("right", "wrong", "failed"),
    quick(
        [
            ("wlast.eq(beat.last)", "wlast.eq(1)", "WLAST is on a burst s last word"),
            (
                "wvalid.eq(unsent != 0)",
                "wvalid.eq(words.valid)",
                "no word comes without an address",
            ),
            ("& flying.ready\n", "", "no more bursts are in flight than allowed"),
            ("If(self.m_axi_awready)", "If(1)", "address holds still until it is taken"),
            ("self.stop | failed", "failed", "nothing begins after stop"),
            ("& ~bad & ~failed", "& ~bad", "nothing is done after an error"),
        ]
    ),
)
def test_a_broken_writer_is_seen(right, wrong, failed):
    found = prove(WriterProof(CONFIG, broken(AxiWriter, right, wrong)), cycles=12)
    assert (found.holds, found.failed) == (False, failed)
