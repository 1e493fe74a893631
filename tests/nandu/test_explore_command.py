import json
import shlex
from pathlib import Path

import pytest
import yaml

from sim.explore.study import Study

SPACES = sorted(Path("examples/spaces").glob("*.yaml"))
SPACE = {
    "parameters": {
        "system": "gpu-a100-sxm-80gb",
        "model": ["opt-125m", "llama-3.1-405b"],
        "prefill": [32, 64],
        "batch": [1, 4],
        "decode": 8,
    },
    "objectives": {"decode_tokens_per_s": "max", "ttft_ms": "min"},
}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump(SPACE, sort_keys=False))
    return path


def test_help_has_an_example(run):
    status, out, _ = run("explore", "--help")
    assert status == 0
    assert "Example: nandu explore" in " ".join(out.split())


def test_json(run, file, tmp_path):
    parquet = tmp_path / "a.parquet"
    words = ["explore", file, "--study", tmp_path / "a", "--json"]
    status, out, _ = run(*words, "--parquet", parquet)
    found = json.loads(out)
    assert status == 0
    assert {"study", "points", "failed", "front", "points_per_s", "wall_s"} <= set(found)
    assert (found["points"], found["failed"]) == (8, 4)
    assert "too few" in found["first_error"]
    assert parquet.stat().st_size
    rates = [one["objectives"]["decode_tokens_per_s"] for one in found["front"]]
    assert rates == sorted(rates, reverse=True)
    again = json.loads(run(*words)[1])
    assert again["front"] == found["front"]
    assert again["points_per_s"] == 0


def test_the_command_of_a_point_gives_its_record(run, file, tmp_path):
    run("explore", file, "--study", tmp_path / "a")
    with Study.read(tmp_path / "a") as study:
        stored = study.point(3)
    found = json.loads(run(*shlex.split(stored.command)[1:], "--json")[1])
    record = stored.outcome.record
    assert {name: found[name] for name in record} == record


def test_table(run, file, tmp_path):
    status, out, _ = run("explore", file, "--study", tmp_path / "a")
    assert status == 0
    assert "8 points, 4 failed" in out
    assert "decode_tokens_per_s (max)" in out
    assert "the first one again: nandu simulate gpu-a100-sxm-80gb" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--workers", 0], "--workers is 0"),
        (["--budget", 0], "--budget is 0"),
        (["--engine", "slurm"], "there is no engine 'slurm'"),
    ],
)
def test_wrong_options_are_one_line(run, file, tmp_path, words, message):
    status, _, error = run("explore", file, "--study", tmp_path / "a", *words)
    assert status == 2
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_nothing_that_is_wanted(run, file, tmp_path):
    file.write_text(yaml.safe_dump(SPACE | {"constraints": ["ttft_ms < 0"]}, sort_keys=False))
    status, out, _ = run("explore", file, "--study", tmp_path / "a")
    assert status == 0
    assert "no point is as the constraints want it" in out


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_spaces_of_the_examples(run, tmp_path, path):
    words = ["explore", path, "--study", tmp_path / "a", "--budget", 2, "--json"]
    status, out, error = run(*words)
    assert status == 0, error
    assert json.loads(out)["failed"] == 0
