"""Cores for a board and a model."""

import re
from dataclasses import replace

import pytest
from tiny_models import tiny_model

from golden.model_shapes import load
from golden.spec.core import CoreConfig
from golden.spec.errors import ConfigError
from hls_gen.compiler import Compiled
from hls_gen.shape_plan import WeightShape, shape_plan
from hls_gen.targets import chains_of, chip_bytes, core_of
from hw.board import load_board

U280 = load_board("u280")


@pytest.mark.parametrize(("cores", "m", "chains"), [(3, 16, 16), (1, 16, 32), (3, 8, 32)])
def test_chains_are_as_many_as_the_memory_feeds(cores, m, chains):
    config = CoreConfig(cores=cores, m=m)
    assert chains_of(U280, config) == chains
    # 460 GB/s at 225 MHz are 2,044 bytes per cycle.
    assert chains == 32 or 2044 / 2 < cores * chains * config.word_bytes * 1.33 <= 2044


@pytest.mark.parametrize("chunk", [1, 8])
def test_memories_on_the_chip_are_no_deeper_than_needed(chunk):
    shape, weights = load("smollm2-135m"), WeightShape()
    config = core_of(U280, shape, 1024, chunk, weights)
    assert (config.cores, config.input_depth) == (3, 1536)
    for name in ("vector_depth", "activation_depth", *(["replay_words"] if chunk > 1 else [])):
        half = replace(config, **{name: getattr(config, name) // 2})
        with pytest.raises(ConfigError, match=f"^{name} is"):
            plan = shape_plan(shape, half, 1024, chunk, weights)
            Compiled(plan, ()).program(1024 - chunk, tokens=chunk, layers=())


def test_given_settings_stay():
    config = core_of(U280, load("smollm2-135m"), 512, 1, WeightShape(), {"chains": 5, "cores": 1})
    assert (config.chains, config.cores) == (5, 1)


def test_chip_bytes_counts_each_memory_once():
    config = CoreConfig()
    for name, each in (
        ("vector_depth", 16 * 27 // 8),
        ("activation_depth", 32),
        ("replay_words", 2 * 32),
        ("buffer_words", 2 * 32),
    ):
        depth = getattr(config, name)
        more = replace(config, **{name: 2 * depth})
        assert chip_bytes(more) - chip_bytes(config) == depth * each


@pytest.mark.parametrize(
    ("model", "bits", "message"),
    [
        (
            "llama-2-7b",
            8,
            "llama-2-7b needs 10,466 MiB for weights and cache; u280 has 8,192: take fewer bits, "
            "positions or tokens of a chunk",
        ),
        (
            "opt-6.7b",
            4,
            "opt-6.7b cannot be compiled: its feed-forward network has no gate; the compiler takes "
            "models like LLaMA",
        ),
    ],
)
def test_a_model_that_does_not_fit_the_board_is_refused(model, bits, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        core_of(U280, load(model), 2048, 8, WeightShape(bits))


def test_memories_on_the_chip_fit_the_board():
    board = U280.model_copy(update={"urams": 0, "bram36": 100})
    message = "tiny needs 1 MiB for memories on the chip; u280 has 0: take fewer bits"
    with pytest.raises(ConfigError, match=f"^{message}"):
        core_of(board, tiny_model(head_size=16).shape, 512, 1, WeightShape())
