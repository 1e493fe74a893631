"""`nandu compile`, as a user calls it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hls_gen.program import Program, assemble
from nandu.cli import main

TINY = """\
source: a test
layers: 2
hidden: 64
heads: 4
kv_heads: 2
head_size: 16
feed_forward: 96
vocabulary: 500
"""
CORE = ["--set", "chains=2", "--set", "cores=1", "--positions", "64"]


def nandu(*words):
    command = [sys.executable, "-c", "from nandu.cli import main; main()", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def shape(tmp_path_factory):
    path = tmp_path_factory.mktemp("shape") / "tiny.yaml"
    path.write_text(TINY, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def compiled(shape, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "tiny"
    process = nandu("compile", shape, "--target", "u280", *CORE, "--out", out, "--json")
    assert process.returncode == 0, process.stderr
    return out, json.loads(process.stdout)


def test_the_record_has_the_keys_of_the_contract(compiled):
    out, record = compiled
    assert {"program_bytes", "naive_bytes", "buckets", "images", "tiles", "seconds"} <= {*record}
    assert record["buckets"] == 8
    assert record["ratio"] == record["naive_bytes"] / record["program_bytes"] > 1
    assert record["images"] == []  # there are no weights
    assert [tile["name"] for tile in record["tiles"]] == [
        *("queries_keys_values", "attention_output", "gate_up", "down", "head")
    ]
    assert sorted(map(str, (p for p in out.rglob("*") if p.is_file()))) == record["files"]


def test_programs_read_back(compiled):
    out, _ = compiled
    for phase in ("decode", "prefill"):
        stem = out / "programs" / f"{phase}_00000_core_0"
        program = Program.from_bytes(stem.with_suffix(".ndpg").read_bytes())
        assert assemble(stem.with_suffix(".s").read_text(encoding="utf-8")) == program


def test_the_same_input_gives_the_same_bytes(compiled, shape, tmp_path):
    out, record = compiled
    again = tmp_path / "again"
    process = nandu("compile", shape, "--target", "u280", *CORE, "--out", again, "--json")
    assert process.returncode == 0, process.stderr
    for name in record["files"]:
        mine = again / Path(name).relative_to(out)
        assert mine.read_bytes() == Path(name).read_bytes(), mine.name


def test_an_earlier_result_is_replaced_and_nothing_else(compiled, shape, tmp_path):
    out = tmp_path / "mine"
    out.mkdir()
    (out / "thesis.txt").write_text("do not touch", encoding="utf-8")
    words = ["compile", shape, "--target", "u280", *CORE, "--no-rtl", "--out", out]
    process = nandu(*words)
    assert process.returncode == 2
    assert "holds no compiled model; name another folder" in process.stderr
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]
    (out / "thesis.txt").unlink()
    for _ in range(2):
        assert nandu(*words).returncode == 0
    assert not (out / "rtl").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lama-2-7b"], "there is no model 'lama-2-7b'; the nearest are llama-2-7b"),
        (["opt-6.7b"], "opt-6.7b cannot be compiled: its feed-forward network has no gate"),
        (["llama-2-7b"], "llama-2-7b needs 10,466 MiB for weights and cache; u280 has 8,192"),
        (["llama-2-7b", "--bits", "7"], "--bits is 7; allowed are 2, 3, 4, 5, 6, 8"),
        (["llama-2-7b", "--keep", "0"], "--keep is 0; allowed are 1 to 16"),
        (["llama-2-7b", "--plan", "p.yaml"], "--plan needs weights; of llama-2-7b only the shape"),
        (["smollm2-135m", "--bits", "4"], "--bits and --keep are of shapes"),
        (["llama-2-7b", "--target", "u281"], "there is no board 'u281'; known are u280"),
        (["llama-2-7b", "--set", "chain=3"], "there is no setting 'chain'; known are chains"),
        (["tinyllama-1.1b", "--chunk", "3"], "chunk is 3"),
        (["none.yaml"], "cannot read the model 'none.yaml' (No such file or directory)"),
        (["none.yml"], "cannot read the model 'none.yml' (No such file or directory)"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(words, message, monkeypatch, capsys, tmp_path):
    target = [] if "--target" in words else ["--target", "u280"]
    line = ["nandu", "compile", *words, *target, "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", line)
    with pytest.raises(SystemExit) as stop:
        main()
    said = capsys.readouterr().err
    assert (stop.value.code, said.count("error:")) == (2, 1)
    assert message in " ".join(said.split())
    assert list(tmp_path.iterdir()) == []
