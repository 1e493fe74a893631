"""The chain loader in Verilator: a weight stream becomes the streams that a unit takes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from golden.matrix_engine import Mode, chain_passes
from golden.spec.errors import ConfigError
from golden.spec.matrix_engine import MatrixEngineConfig
from hw import cosim, payloads
from hw.chain_loader import UNPACKED_PORTS, ChainLoader
from hw.emit import emit
from hw.player import Case, count_mismatches, play, random_pauses
from hw.random_matrices import patterns, random_matrix
from hw.weight_stream import KIND_BITS, PARTIAL, Kind, slot_bits, unpacked_layouts, weight_stream

CONFIGS = {
    "default": MatrixEngineConfig(),
    "one product": MatrixEngineConfig(m=8, products_per_dsp=1, word_bits=64, strips=4),
    "chain of 8": MatrixEngineConfig(chain_length=8, strips=2, word_bits=128),
}


def random_jobs(config, seed):
    """Return the passes of one chain for each pattern and mode, with scales and zero points."""
    random = np.random.default_rng(seed)
    jobs = []
    for pattern in patterns(config.chain):
        for mode in Mode:
            matrix = random_matrix(config.chain, random, pattern, int(random.choice([3, 4, 8])))
            passes = chain_passes(matrix, config, mode)[0]
            shape = (matrix.rows, matrix.groups)
            scales = torch.from_numpy(random.integers(0, 2**config.scale_bits, shape))
            zeros = torch.from_numpy(random.integers(-128, 128, shape))
            jobs.append((passes, scales, zeros, config, mode))
    return jobs


def expected_streams(passes, scales, zeros, config, mode):
    """Return what must come out of each port but the destinations."""
    return {
        "o_word": payloads.of_words(passes, config),
        "o_segment": payloads.of_segments(passes, config),
        "o_index": payloads.of_indices(passes),
        "o_pass": payloads.of_passes(passes),
        "o_scale": payloads.of_scales(passes, scales, zeros, config, mode),
    }


def expected_destinations(passes, config):
    done = passes.last & (passes.group == passes.groups - 1)
    strips = passes.strips[passes.tile[done], passes.strip[done]]
    return np.broadcast_to(strips, (len(strips), config.products_per_dsp)).astype("<u2")


def listed_words(words, config):
    """Return kind and number of payloads of each word, read from the headers as a reader does."""
    found, kinds = [], []
    for word in words:
        nibbles = np.stack((word & 15, word >> KIND_BITS), axis=1).reshape(-1).tolist()
        if not kinds:
            found.append((Kind.HEADER, 0))
            kinds = nibbles[: nibbles.index(0)] if 0 in nibbles else nibbles
            continue
        code = kinds.pop(0)
        kind = Kind(code % PARTIAL)
        width = slot_bits(unpacked_layouts(config)[kind].size) if kind in UNPACKED_PORTS else 8
        slots = config.word_bits // width
        found.append((kind, int(word[-(width // 8)]) if code >= PARTIAL else slots))
    assert not kinds
    return found


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_every_payload_comes_out_in_its_order(config):
    design = emit(ChainLoader, config)
    random = np.random.default_rng(1)
    jobs, cases = random_jobs(config, seed=1), []
    for number, job in enumerate(jobs):
        words = weight_stream(*job)
        outputs = {port: len(items) for port, items in expected_streams(*job).items()}
        outputs["o_destination"] = len(expected_destinations(job[0], config))
        pauses = random_pauses(random, {"i": len(words), **outputs}) if number % 2 else {}
        reset_after = int(random.integers(1, 60)) if number % 3 == 0 else 0
        cases.append(Case({"i": words}, outputs, pauses, reset_after=reset_after))
    for job, case, trace in zip(jobs, cases, play(design, cases), strict=True):
        wanted = expected_streams(*job)
        wrong = {port: count_mismatches(trace.outputs[port], wanted[port]) for port in wanted}
        assert wrong == dict.fromkeys(wanted, 0)
        strips = np.ascontiguousarray(trace.outputs["o_destination"]).view("<u2")
        assert np.array_equal(strips, expected_destinations(job[0], config))
        if not case.pauses:
            taken = trace.transfers("i")
            words = listed_words(case.inputs["i"], config)
            assert taken[-1] - taken[0] + 1 == ChainLoader.cycles(config, words)


def test_a_word_of_weights_comes_before_it_is_needed_and_no_sooner_than_its_pass():
    config = MatrixEngineConfig()
    job = random_jobs(config, seed=3)[5]
    passes = job[0]
    words = listed_words(weight_stream(*job), config)
    weights = [place for place, (kind, _) in enumerate(words) if kind is Kind.WEIGHTS]
    headers = [place for place, (kind, _) in enumerate(words) if kind is Kind.PASSES]
    first_pass_of_word = 16 * np.arange(len(headers))
    bits = config.chain_length * passes.bits
    for place, first in zip(headers, first_pass_of_word, strict=True):
        word_of_beat = passes.first_beat[first] * bits // config.word_bits
        # The word may hold beats of passes before; the next one does not.
        assert place < weights[min(word_of_beat + 1, len(weights) - 1)]


def test_a_lost_or_doubled_payload_is_seen():
    """The same bench on a loader whose words never are partial."""
    config = MatrixEngineConfig()
    design = emit(ChainLoader, config)
    broken = design.verilog.replace("partial ?", "1'b0 ?")
    assert broken != design.verilog
    job = random_jobs(config, seed=1)[0]
    wanted = expected_streams(*job)
    outputs = {port: len(items) for port, items in wanted.items()}
    case = Case({"i": weight_stream(*job)}, outputs | {"o_destination": 1})
    (trace,) = play(replace(design, verilog=broken), [case])
    assert any(count_mismatches(trace.outputs[port], wanted[port]) for port in wanted)


def test_words_that_no_bus_has_are_refused():
    config = MatrixEngineConfig(m=8, products_per_dsp=1, word_bits=192)
    with pytest.raises(ConfigError, match="word_bits is 192"):
        ChainLoader(config)
    with pytest.raises(ConfigError, match="word_bits is 192"):
        weight_stream(*random_jobs(config, seed=1)[0])


def test_the_verilog_is_clean():
    assert cosim.lint(emit(ChainLoader, MatrixEngineConfig())) == []
