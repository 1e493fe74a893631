import json

import pytest

KEYS = {"name", "kind", "tokens_per_s", "joules_per_token", "usd_per_mtoken"}
U280 = ["compare", "flightllm-u280"]


def one_line(error):
    lines = error.strip().splitlines()
    assert len(lines) == 1, error
    return lines[0].removeprefix("error: ")


def test_help_has_an_example(run):
    status, out, _ = run("compare", "--help")
    assert status == 0
    assert "Example: nandu compare" in " ".join(out.split())


def test_rows_of_two_models(run):
    words = ["--model", "llama-2-7b", "--model", "opt-6.7b", "--gpus", "rtx-4090,a100-sxm-80gb"]
    status, out, _ = run(*U280, *words, "--json")
    rows = json.loads(out)["rows"]
    assert status == 0
    assert all(set(row) >= KEYS for row in rows)
    assert {row["kind"] for row in rows} == {"published", "model"}
    for model in ("llama-2-7b", "opt-6.7b"):
        modelled = [r for r in rows if r["model"] == model and r["kind"] == "model"]
        assert len(modelled) == 3
        assert sum(row["design"] for row in modelled) == 1


def test_the_terminal_labels_each_row(run):
    status, out, _ = run(*U280, "--gpus", "rtx-4090")
    assert status == 0
    rows = [line.split()[0] for line in out.splitlines()[2:] if line and line[0] != "-"]
    assert set(rows) == {"model", "published"}
    assert "1.00x  FlightLLM U280" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--gpus", "rtx-4091"], "there is no device 'rtx-4091'"),
        (["--model", "lama"], "there is no model 'lama'"),
        (["--set", "coores=2"], "there is no setting 'coores'"),
        (["--gpu-bits", "99"], "weight_bits is 99"),
        (["--gpu-software", "vlm"], "there is no software 'vlm'"),
        (["--baselines", "/nowhere"], "there is no folder '/nowhere'"),
        (["--prefill", "0"], "prefill is 0"),
    ],
)
def test_bad_input_is_one_line(run, words, says):
    status, _, error = run(*U280, *words)
    assert status == 2
    assert says in one_line(error)


@pytest.mark.parametrize("design", ["none.study#0", "none.study#first"])
def test_a_point_that_is_not_there(run, design):
    status, _, error = run("compare", design)
    assert status == 2
    assert one_line(error).startswith(("there is no study", "'none.study#first' names no point"))
