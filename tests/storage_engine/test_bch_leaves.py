"""The codec's leaf blocks, each alone in Verilator: golden's payloads, and cycles as contracted."""

import bch_trials as trials
import pytest
from seen_checker import SeenChecker

from golden.spec.bch import BchConfig
from hw import cosim
from hw.emit import emit
from hw.player import play
from storage_engine.bch_buffer import BchBuffer
from storage_engine.bch_chien import BchChien, middle, start
from storage_engine.bch_encoder import BchEncoder
from storage_engine.bch_key_equation import BchKeyEquation
from storage_engine.bch_syndromes import BchSyndromes
from storage_engine.page_crc import PageCrcWriter

SMALL = BchConfig(data_bytes=16, tag_bytes=4, t=3, word_bits=16, search_bits=8, chunks=2)
BYTES = BchConfig(data_bytes=5, tag_bytes=4, t=2, word_bits=8, chunks=3)
WIDE = BchConfig(data_bytes=64, tag_bytes=8, t=4, word_bits=64, search_bits=32, chunks=2)


def leaves(config):
    """Return by the name of each leaf block its design and its trials."""
    key = emit(BchKeyEquation, config, start(config), middle(config))
    return {
        "encoder": (emit(BchEncoder, config), trials.encoder_trials(config)),
        "syndromes": (emit(BchSyndromes, config), trials.syndromes_trials(config)),
        "key equation": (key, trials.key_trials(config)),
        "search": (emit(BchChien, config), trials.search_trials(config)),
        "writer": (emit(PageCrcWriter, config), trials.writer_trials(config)),
        "checker": (emit(SeenChecker, config), trials.checker_trials(config)),
        "buffer": (emit(BchBuffer, 16, 16), trials.buffer_trials(16, 16)),
    }


def check(config, name):
    design, pairs = leaves(config)[name]
    cases, judges = zip(*pairs, strict=True)
    traces = play(design, cases)
    assert [judge(trace) for judge, trace in zip(judges, traces, strict=True)] == [""] * len(cases)


NAMES = ("encoder", "syndromes", "key equation", "search", "writer", "checker", "buffer")
QUICK = [(SMALL, "key equation"), (SMALL, "search")]
OTHERS = [(config, name) for config in (SMALL, BYTES, WIDE) for name in NAMES]


@pytest.mark.parametrize(
    ("config", "name"),
    [
        *QUICK,
        *(pytest.param(*o, marks=pytest.mark.full) for o in OTHERS if o not in QUICK),
    ],
    ids=str,
)
def test_every_payload_and_cycle_is_right(config, name):
    check(config, name)


@pytest.mark.parametrize("name", NAMES)
def test_the_verilog_is_clean(name):
    assert cosim.lint(leaves(SMALL)[name][0]) == []
