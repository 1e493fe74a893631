"""`nandu compress` on a tiny model with letters for tokens, and what it refuses."""

import json
from types import SimpleNamespace

import pytest
import torch
from tiny_llama import VOCABULARY, tiny_llama

from golden import compression_text
from golden.compression_plan import read_plan
from nandu import compress, made_models

BUDGET = ("--bits", 4, "--kept", 0.75, "--group-size", 32)


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """The tiny model takes the place of the installed one; the cache is empty."""

    def letters(text, return_tensors):
        ids = [ord(letter) % VOCABULARY for letter in text[:3000]]
        return SimpleNamespace(input_ids=torch.tensor([ids], dtype=torch.int64))

    model = tiny_llama()
    object.__setattr__(model, "tokenizer", letters)
    monkeypatch.setattr(compress, "load", lambda file: model)
    monkeypatch.setattr(compression_text, "TEXTS", 2)
    monkeypatch.setattr(compression_text, "TEXT_TOKENS", 200)
    monkeypatch.setenv("NANDU_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return model


def compressed(run, *words):
    status, out, error = run("compress", "smollm2-135m", *words, "--tokens", 60, "--json")
    assert status == 0, error
    return json.loads(out)


def test_a_plan_is_made_and_used_again(run, tiny, tmp_path, monkeypatch):
    made = compressed(run, *BUDGET)
    assert made["plan"] == "smollm2-135m-b4-k0.75.yaml"
    assert 3.5 < made["average_bits"] <= 4
    assert 0.6 < made["kept_fraction"] <= 0.75
    assert 0 < made["kl"] < 1
    plan = read_plan(tmp_path / made["plan"])
    assert plan.model == "smollm2-135m" and plan.budget.average_bits == 4

    def again(*_):
        pytest.fail("the compressed model is in the cache")

    monkeypatch.setattr(made_models, "integer_model", again)
    used = compressed(run, "--plan", made["plan"])
    for key in ("average_bits", "kept_fraction", "perplexity", "perplexity_float", "kl"):
        assert used[key] == made[key]


def test_a_plan_by_hand_makes_another_model(run, tiny, tmp_path):
    found = []
    for bits in (2, 8):
        text = f"model: any\ndefault: {{bits: {bits}, group_size: 32, sparsity: 8:16}}\n"
        (tmp_path / "own.yaml").write_text(text)
        found.append(compressed(run, "--plan", "own.yaml"))
    assert [one["average_bits"] for one in found] == [2, 8]
    assert [one["kept_fraction"] for one in found] == [0.5, 0.5]
    assert found[0]["kl"] > 1.5 * found[1]["kl"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "give either --plan, or --bits and --kept"),
        (("--bits", 4), "give either --plan, or --bits and --kept"),
        (("--plan", "x.yaml", "--bits", 4), "--plan does not go with --bits, --kept or --out;"),
        (("--plan", "x.yaml"), "cannot read the plan 'x.yaml' (No such file or directory)"),
        (("--bits", 4, "--kept", 1.5), "kept_fraction is 1.5; input should be less than or equal"),
        (("--bits", 4, "--kept", 1, "--tokens", 1), "--tokens is 1; allowed are 2 to 1024"),
        ((*BUDGET[:-1], 100), "group_size is 100; a multiple of 16 is needed, up to 448"),
        (("--bits", 1, "--kept", 1), "the budget average_bits = 1 cannot be met: 'model.layers.0."),
        (("--bits", 4, "--kept", 0.1), "the budget kept_fraction = 0.1 cannot be met: 'model."),
    ],
)
def test_bad_input_is_refused_in_a_line(run, tiny, words, message):
    status, out, error = run("compress", "smollm2-135m", *words)
    assert (status, out) == (2, "")
    assert error.strip().splitlines()[-1].startswith(f"error: {message}")


def test_a_plan_that_names_a_missing_layer(run, tiny, tmp_path):
    (tmp_path / "x.yaml").write_text("model: m\nlayers: {model.layers.9.mlp.up_proj: {bits: 2}}\n")
    status, _, error = run("compress", "smollm2-135m", "--plan", "x.yaml")
    assert status == 2
    assert error.strip().splitlines()[-1] == (
        "error: the plan names the layer 'model.layers.9.mlp.up_proj', which m does not have; its "
        "layers run from 'model.layers.0.self_attn.q_proj' to 'model.layers.1.mlp.down_proj'"
    )


def test_there_is_no_such_model(run):
    status, _, error = run("compress", "gpt-5", *BUDGET)
    assert status == 2
    assert error.strip() == (
        "error: there is no model 'gpt-5'; known are smollm2-135m, any .gguf file and "
        "any folder with a config.json"
    )
