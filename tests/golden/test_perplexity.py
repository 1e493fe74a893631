from math import exp

import pytest
import torch
from tiny_llama import tiny_llama, tiny_tokens

from golden import language_model, perplexity
from golden.calibration import calibrate
from golden.recipe import Recipe
from golden.special_functions import lane
from golden.transformer import Cache
from golden.transformer_quantise import quantise_transformer

CARRIED = Recipe(carried=language_model.smollm2_file(), smoothing=0.7)


@pytest.fixture(scope="module")
def tiny():
    return tiny_llama()


def test_the_float_perplexity_is_the_library_s_loss(tiny):
    tokens = tiny_tokens(50)
    with torch.no_grad():
        loss = float(tiny.network(tokens, labels=tokens).loss)
    assert perplexity.float_perplexity(tiny, tokens) == pytest.approx(exp(loss), rel=1e-5)


def test_the_integer_perplexity_is_close(tiny):
    integer = quantise_transformer(
        tiny, calibrate(tiny, tiny_tokens(200, seed=2)), Recipe(group_size=64)
    )
    tokens = tiny_tokens(150)
    given = perplexity.integer_perplexity(integer, tokens)
    assert given == pytest.approx(perplexity.float_perplexity(tiny, tokens), rel=0.02)
    logits = integer.forward(tokens[0])[:-1] * 2.0**-integer.logit_fraction
    loss = torch.nn.functional.cross_entropy(logits, tokens[0, 1:])
    assert given == pytest.approx(exp(float(loss)))


def test_texts_are_not_the_same():
    calibration, evaluation = perplexity.calibration_text(), perplexity.evaluation_text()
    assert min(len(calibration), len(evaluation)) > 16 * perplexity.TOKENS
    lines = set(evaluation[: 16 * perplexity.TOKENS].splitlines())
    assert not [line for line in calibration.splitlines() if len(line) > 40 and line in lines]


@pytest.fixture(scope="module")
def smollm2():
    return language_model.load(language_model.smollm2_file())


@pytest.fixture(scope="module")
def seen(smollm2):
    text = perplexity.calibration_text()
    return calibrate(smollm2, perplexity.first_tokens(smollm2, text))


@pytest.fixture(scope="module", params=["w8", "q4_1"])
def integer(request, smollm2, seen):
    return quantise_transformer(smollm2, seen, {"w8": Recipe(), "q4_1": CARRIED}[request.param])


@pytest.mark.full
def test_the_real_integer_model_knows_a_capital(smollm2, integer):
    tokens = smollm2.tokens("The capital of France is")[0]
    cache = Cache()
    for token in tokens.split(1):
        logits = integer.forward(token, cache)
    assert torch.equal(logits[-1], integer.forward(tokens)[-1])
    assert smollm2.tokenizer.decode(logits[-1].argmax()) == " Paris"


@pytest.mark.full
def test_perplexity_of_the_real_integer_model(smollm2, integer):
    tokens = perplexity.first_tokens(smollm2, perplexity.evaluation_text())
    base = perplexity.float_perplexity(smollm2, tokens)
    assert base == pytest.approx(12.72, abs=0.01)
    with lane.count_saturations() as saturated:
        given = perplexity.integer_perplexity(integer, tokens)
    carried = integer.layers[0].attention.query.bits == 4
    assert given < (1.06 if carried else 1.03) * base
    assert saturated["wide"] == saturated["factor"] == 0
    # Keys and values beyond the calibration text's range.
    assert saturated["byte"] < 1e-3 * len(tokens[0]) * 2 * 192 * 30
