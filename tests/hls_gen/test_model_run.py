"""Compiled models on the RTL of a core: every word against interpreter and transformer."""

import pytest
from tiny_models import tiny_model

from golden import perplexity
from golden.block_sparse import BlockSparse
from golden.calibration import calibrate
from golden.language_model import load, smollm2_file
from golden.recipe import Recipe
from golden.spec.core import CoreConfig
from golden.transformer_quantise import quantise_transformer
from hls_gen.compiler import compile_model
from hls_gen.model_run import ModelRunner
from hls_gen.traffic import offchip_bytes
from hw.core_cases import CONFIG

MOVED = {"norms_and_rotations", "embedding", "logits", "weights", "kv_cache"}


@pytest.mark.parametrize(
    "fields",
    [
        {"layers": 2},
        {"layers": 1, "bits": 4, "zeros": True, "probability_bits": 7},
        {"layers": 1, "bits": 4, "kept": 2},
    ],
    ids=["w8", "w4, zero points, INT8 probabilities", "w4, 2:8"],
)
def test_a_tiny_model_gives_its_tokens(fields):
    model = tiny_model(**fields)
    runner = ModelRunner(model, compile_model(model, CONFIG, 64))
    result = runner.generate([3, 7, 1], 2)
    assert result.differences == []
    assert result.tokens == result.golden_tokens
    assert runner.contract_cycles() == result.runs[-1].cycles
    assert len(result.runs) == 4  # the last token that it gives is not read
    for run in result.runs:
        assert len(run.layer_cycles) == fields["layers"]
        assert set(run.offchip_bytes) == MOVED
        assert sum(run.layer_cycles) < run.cycles


def test_a_block_sparse_prompt_is_read_in_chunks():
    """Each block sees the first one and its own; the token behind the prompt sees all."""
    model = tiny_model(layers=1, probability_bits=7)
    runner = ModelRunner(model, compile_model(model, CONFIG, 48, chunk=2))
    result = runner.generate([5 * k % 50 for k in range(37)], 2, BlockSparse(1, 1, 16))
    assert result.differences == []
    assert result.tokens == result.golden_tokens
    assert [(run.position, len(run.tokens)) for run in result.runs] == [
        *((position, 2) for position in range(0, 36, 2)),
        (36, 1),
        (37, 1),
    ]
    assert [run.blocks is None for run in result.runs] == [False] * 19 + [True]
    dense = runner.compiled.program(34, tokens=2, head=False).instructions
    assert (
        result.runs[17].offchip_bytes["kv_cache"]
        < offchip_bytes(dense, CONFIG.word_bytes)["kv_cache"]
    )


@pytest.mark.full
def test_a_tiny_model_over_several_blocks_of_the_cache():
    """More tokens than a pair of strips of keys has, and than all chains have together."""
    model = tiny_model(layers=1)
    runner = ModelRunner(model, compile_model(model, CONFIG, 64))
    result = runner.generate([5 * k % 50 for k in range(52)], 1)
    assert result.differences == []


@pytest.mark.full
def test_a_layer_of_a_language_model_is_exact():
    """The first decoder layer of SmolLM2, INT8, as it reads tokens of a prompt together, and one.

    With so few chains its matrices are cut: no product has more words than they keep.
    """
    language_model = load(smollm2_file())
    network = language_model.network
    network.model.layers = network.model.layers[:1]
    network.config.num_hidden_layers = 1
    text = perplexity.calibration_text()
    seen = calibrate(language_model, perplexity.first_tokens(language_model, text, 256))
    model = quantise_transformer(language_model, seen, Recipe())
    config = CoreConfig(chains=4, activation_depth=2048, replay_words=2048)
    runner = ModelRunner(model, compile_model(model, config, 64, chunk=3))
    tokens = language_model.tokens("The capital of France")[0].tolist()
    runner.read(tokens, head=False)
    assert runner.differences == []
    assert [run.tokens for run in runner.runs] == [tuple(tokens[:3]), tuple(tokens[3:])]
    assert runner.contract_cycles() == runner.runs[-1].cycles
    together, alone = (run.offchip_bytes["weights"] for run in runner.runs)
    assert together == alone
