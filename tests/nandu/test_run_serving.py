import json

import pytest

KEYS = {
    *("system", "model", "ttft_ms", "tpot_ms", "decode_tokens_per_s", "e2e_tokens_per_s"),
    *("joules_per_token", "usd_per_mtoken", "peak_memory_gb", "bandwidth_used"),
    *("bandwidth_streaming", "cycles_per_token", "bottleneck", "breakdown", "fits", "wall_s"),
}
A100 = ["simulate", "gpu-a100-sxm-80gb", "--model", "llama-2-7b"]


def refused(run, *words):
    """Return the one line that a command line is refused with."""
    status, out, error = run(*words)
    assert (status, out) == (2, "")
    (line,) = error.strip().splitlines()
    return line.removeprefix("error: ")


@pytest.mark.parametrize("policy", ["continuous", "disaggregated", "prepacking", "static"])
def test_requests_that_arrive_at_random(run, policy):
    words = [*A100, "--rate", 2, "--count", 40, "--policy", policy]
    status, out, _ = run(*words, "--json")
    found = json.loads(out)
    assert status == 0
    assert set(found) >= KEYS
    assert found["requests"] == 40
    assert found["policy"].startswith(policy)
    assert found["bottleneck"] == "memory"
    for name in ("ttft_ms", "tpot_ms", "e2e_ms"):
        values = found["percentiles"][name]
        assert values["p50"] == found[name]
        assert 0 < values["p50"] <= values["p90"] <= values["p99"]
    assert 0 <= found["goodput_requests_per_s"] <= found["requests_per_s"]
    assert 0 < found["utilisation"] <= 1
    assert found["e2e_tokens_per_s"] == pytest.approx(40 * 128 / found["seconds"])
    again = json.loads(run(*words, "--json")[1])
    assert again | {"wall_s": 0} == found | {"wall_s": 0}
    assert "40 requests in" in run(*words)[1]


def test_requests_of_a_file_and_techniques(run, tmp_path):
    path = tmp_path / "some.csv"
    path.write_text("arrival_s,prefill,decode\n0,100,20\n0.1,900,30\n")
    plain, less = (
        json.loads(run(*A100, "--requests", path, *words, "--json")[1])
        for words in ([], ["--with", "nm", "--with", "sparf:ratio=4"])
    )
    assert plain["requests"] == 2
    assert less["techniques"] == ["nm", "sparf:ratio=4"]
    assert less["tpot_ms"] < plain["tpot_ms"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rate", 2], "--rate is given without --count; both are needed"),
        (["--count", 2], "--count is given without --rate; both are needed"),
        (["--rate", 0, "--count", 2], "rate is 0 requests per second; more than 0 and up to"),
        (["--rate", 1, "--count", 2, "--batch", 4], "requests form their own batches and have no"),
        (["--rate", 1, "--count", 2, "--policy", "fifo"], "there is no policy 'fifo'"),
        (["--rate", 1, "--count", 2, "--max-ttft", 0], "ttft_ms is 0; a limit is more than 0 ms"),
        (["--requests", "none.csv"], "cannot read 'none.csv' (No such file or directory)"),
        (["--with", "sparff"], "there is no technique 'sparff'; the nearest are sparf"),
        (["--with", "sparf:ratio=99"], "sparf: ratio is 99; input should be less than or equal"),
        (["--with", "sparf", "--with", "duo-attention"], "duo-attention does not go with sparf"),
        (["--set", "techniques=1"], "there is no setting 'techniques'"),
    ],
)
def test_bad_input_is_one_line(run, words, message):
    assert refused(run, *A100, *words).startswith(message)


def test_a_technique_is_named_with_what_it_loses(run):
    status, out, _ = run(*A100, "--with", "sparf", "--with", "speculative")
    assert status == 0
    assert "with sparf; lost: perplexity x 1.237 (SmolLM2-135M, docs/sparf.md)" in out
    assert "with speculative; lost: nothing, by construction" in out
    found = json.loads(run(*A100, "--with", "sparf", "--json")[1])
    assert found["techniques"] == ["sparf"]
    assert found["quality"][0]["lost"] == "perplexity x 1.237"


def test_a_trace_of_guessed_tokens(run, tmp_path):
    path = tmp_path / "trace.json"
    assert run(*A100, "--with", "speculative", "--trace", path)[0] == 0
    assert json.loads(path.read_text())["traceEvents"]


def test_techniques_are_listed(run):
    items = json.loads(run("list", "techniques", "--json")[1])["items"]
    assert len(items) >= 8
    assert all(item["title"] and item["source"] and item["options"] for item in items)
