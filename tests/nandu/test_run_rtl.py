"""`nandu run-rtl`: what it refuses, and a decoder layer of a real model on the RTL."""

import json

import pytest

PROMPT = ("--prompt", "The capital of France is")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("gpt-5", *PROMPT), "there is no model 'gpt-5'; known are smollm2-135m, any .gguf"),
        (("no.gguf", *PROMPT), "there is no model file 'no.gguf'; name a .gguf file"),
        (("smollm2-135m",), "give either --prompt or --tokens-in"),
        (("smollm2-135m", *PROMPT, "--tokens-in", "1"), "give either --prompt or --tokens-in"),
        (("smollm2-135m", *PROMPT, "--tokens", 0), "--tokens is 0; 1 is the least"),
        (("smollm2-135m", *PROMPT, "--weights", "w3"), "--weights is 'w3'; allowed are w8, q4_1"),
        (("smollm2-135m", *PROMPT, "--set", "chains=33"), "chains is 33; a core has 1 to 32"),
        (("smollm2-135m", *PROMPT, "--set", "lanes=3"), "there is no setting 'lanes'; known are"),
        (("smollm2-135m", *PROMPT, "--latency", 0), "latency is 0; allowed are 1 to"),
        (("smollm2-135m", *PROMPT, "--bandwidth", 1.5), "words_per_cycle is 3/2; a fraction"),
        (("smollm2-135m", "--tokens-in", "1,x"), "--tokens-in is '1,x'; numbers with commas"),
        (("smollm2-135m", *PROMPT, "--chunk", 9), "--chunk is 9; allowed are 1 to 8"),
        (
            ("smollm2-135m", *PROMPT, "--prefill-blocks", "1"),
            "--prefill-blocks has 1 numbers; 2 or 3 are needed, as 1,2 or 1,2,64: SINK,LOCAL,BLOCK",
        ),
        (
            ("smollm2-135m", *PROMPT, "--prefill-blocks", "1;2"),
            "--prefill-blocks is '1;2'; numbers with commas are needed, as 1,2 or 1,2,64",
        ),
        (("smollm2-135m", *PROMPT, "--prefill-blocks", "1,0"), "local is 0; 1 is the least"),
        (
            ("smollm2-135m", *PROMPT, "--prefill-blocks", "1,1,16"),
            "block is 16; a core with m = 16 needs a multiple of 32",
        ),
    ],
)
def test_bad_input_is_refused_in_a_line(run, words, message):
    status, out, error = run("run-rtl", *words)
    assert (status, out) == (2, "")
    lines = error.strip().splitlines()
    assert lines[0].startswith(f"error: {message}")
    assert len(lines) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--tokens-in", "1,49152"), "--tokens-in has 49152; the vocabulary is 0 to 49151"),
        (("--tokens-in", ","), "--tokens-in is empty; the vocabulary is 0 to 49151"),
        (("--prompt", ""), "the prompt '' has no token; write at least one word"),
        ((*PROMPT, "--layers", 31), "--layers is 31; the model has 1 to 30"),
    ],
)
def test_what_the_model_does_not_have_is_refused(run, words, message):
    status, out, error = run("run-rtl", "smollm2-135m", *words)
    assert (status, out) == (2, "")
    assert error.strip().splitlines()[-1].startswith(f"error: {message}")


@pytest.mark.full
def test_the_whole_model_gives_the_token_that_golden_gives(run, tmp_path):
    trace = tmp_path / "token.json"
    status, out, _ = run(
        "run-rtl", "smollm2-135m", *PROMPT, "--tokens", 1, "--timeline", trace, "--json"
    )
    found = json.loads(out)
    assert status == 0
    assert found["passed"] and found["tokens"] == found["golden_tokens"]
    assert found["text"] == " Paris"
    assert len(found["cycles_per_layer"]) == 30
    assert found["offchip_bytes"]["activations"] == 0
    assert [one["tokens"] for one in found["programs"]] == [found["prompt_tokens"]]
    assert {event["name"] for event in json.loads(trace.read_text())["traceEvents"]} >= {"layer 29"}
