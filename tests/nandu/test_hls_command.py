"""`nandu generate` and `nandu verify` with `--backend hls`."""

import json
import subprocess

import pytest

SMALL = ["--set", "m=8", "--set", "strips=4"]


def test_what_is_generated_compiles_and_runs_by_itself(run, tmp_path):
    words = ["generate", "sparse-chain", *SMALL, "--backend", "hls", "--out", tmp_path, "--json"]
    status, text, _ = run(*words)
    generated = json.loads(text)
    assert (status, generated["top"], generated["lanes"]) == (0, "sparse_chain", 16)
    assert generated["config"]["m"] == 8
    files = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert {str(path) for path in files} == set(generated["files"])
    about = json.loads((tmp_path / "sparse_chain.json").read_text())
    assert [port["name"] for port in about["ports"]][3:] == [
        "i_activation",
        "i_pass",
        "i_weight",
        "o",
    ]
    script = (tmp_path / "sparse_chain.tcl").read_text()
    added = {line.split()[-1] for line in script.splitlines() if line.startswith("add_files")}
    used = {file.name for file in tmp_path.iterdir() if file.suffix in (".cpp", ".hpp", ".bin")}
    assert added == used
    subprocess.run([*about["c_simulation"].split(), "-o", "bench"], cwd=tmp_path, check=True)
    ended = subprocess.run(["./bench"], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert ended.returncode == 0
    assert len(ended.stdout.splitlines()) == len(about["vectors"]) == 20
    vectors = (tmp_path / "vectors.bin").read_bytes()
    # The last byte is of an expected output.
    (tmp_path / "vectors.bin").write_bytes(vectors[:-1] + bytes([vectors[-1] ^ 1]))
    assert subprocess.run(["./bench"], cwd=tmp_path, check=False).returncode == 1


def test_verify_says_what_a_c_simulation_can_say(run):
    words = ["verify", "sparse-chain", *SMALL, "--backend", "hls", "--cases", 5, "--seed", 3]
    status, text, _ = run(*words, "--json")
    found = json.loads(text)
    assert (status, found["passed"], found["cases"], found["seed"]) == (0, True, 5, 3)
    assert found["compared"] > found["mismatches"] == 0
    assert (found["cycles"], found["contract_cycles"], found["utilisation"]) == (0, 0, 0)
    assert 0 < found["coverage"] < 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["verify", "core", "--backend", "hls"],
            "there is no HLS C++ of a block 'core'; there is of sparse-chain, matrix-engine, ",
        ),
        (
            ["verify", "sparse-chain", "--backend", "c"],
            "there is no back end 'c'; known are rtl, hls",
        ),
        (
            ["verify", "sparse-chain", "--backend", "hls", "--target", "ecp5"],
            "target is 'ecp5'; HLS C++ is the same for all, so leave --target away",
        ),
        (
            ["verify", "sparse-chain", "--backend", "hls", "--waves", "a.fst"],
            "a C simulation has no signals, so leave --waves away",
        ),
        (
            ["verify", "sparse-chain", "--backend", "hls", "--cases", "0"],
            "cases is 0; at least 1 is needed",
        ),
    ],
)
def test_what_cannot_be_is_said_in_one_line(run, words, message):
    status, _, error = run(*words)
    assert status == 2
    (line,) = error.strip().splitlines()
    assert line.startswith(f"error: {message}")
