"""`nandu demo` as a user runs it: in a process of its own, on the real model."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from golden.language_model import smollm2_file

NANDU = str(Path(sys.executable).with_name("nandu"))


def nandu(*words, **environment):
    command = [NANDU, *map(str, words)]
    environment = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def refused(status, shown, errors):
    """Return the one line of an error of bad input; only finished stages may stand before it."""
    *stages, line = errors.splitlines()
    assert status == 2, errors
    assert all(stage.startswith("✓ ") for stage in stages), errors
    assert line.startswith("error: ")
    assert shown == ""
    return line.removeprefix("error: ")


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    out = tmp_path_factory.mktemp("quick")
    process = nandu("demo", "--quick", "--json", "--out", out)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout), process.stderr, out


def test_the_quick_demo_is_bit_exact_on_real_weights(quick):
    found, _, _ = quick
    assert found["passed"]
    assert found["mismatches"] == 0
    assert found["cycles"] == found["contract_cycles"]
    assert found["utilisation"] > 0.98
    assert (found["rows"], found["inputs"], found["bits"]) == (128, 1536, 4)
    assert found["continuation"].startswith(" Paris")
    assert 0.02 < found["relative_error"] < 0.6
    # The prompt's 5 tokens and 3 that follow, at the mix of N and at four uniform ones.
    assert found["tokens"] == 8
    assert found["compared"] == 128 * 8 * 5


def test_it_estimates_both_systems(quick):
    systems = quick[0]["systems"]
    assert {system["system"] for system in systems} == {"flightllm-u280", "gpu-a100-sxm-80gb"}
    for system in systems:
        assert 10 < system["decode_tokens_per_s"] < 1000
    published = [system["published_tokens_per_s"] for system in systems]
    assert published == [None, 57.123, 104.9]


def test_every_stage_is_shown(quick):
    found, shown, _ = quick
    for stage in ("Load the model", "Emit Verilog", "Run the engine in Verilator"):
        assert f"✓ {stage} (" in shown
        assert stage in found["seconds"]


def test_the_report_is_one_page_that_opens_without_a_network(quick):
    found, _, out = quick
    assert [path.name for path in out.iterdir()] == ["report.html"]
    page = Path(found["report"]).read_text()
    assert "Bit-exact" in page
    assert "<script src" not in page


@pytest.mark.full
def test_a_uniform_sparsity_odd_bits_and_a_short_last_group_run_too(tmp_path):
    words = ["--sparsity", "2:16", "--bits", "3", "--layer", "model.layers.3.mlp.up_proj"]
    prompt = ["--prompt", "Birds that cannot fly well"]
    process = nandu("demo", "--quick", "--json", "--out", tmp_path, *words, *prompt)
    assert process.returncode == 0, process.stderr
    found = json.loads(process.stdout)
    assert (found["sparsity"], found["bits"], found["inputs"]) == ("2:16", 3, 576)
    assert found["passed"] and found["tokens"] % 4 == 0


def test_absent_blocks_run_too(tmp_path):
    process = nandu("demo", "--quick", "--json", "--out", tmp_path, "--kept", "0.1")
    assert process.returncode == 0, process.stderr
    found = json.loads(process.stdout)
    assert found["passed"]
    assert found["sparsity"].startswith("0/")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--sparsity", "3:5"],
            "sparsity is '3:5'; this chain runs 2:16, 4:16, 8:16, 16:16",
        ),
        (["--bits", "7"], "bits is 7; allowed are 2, 3, 4, 5, 6 or 8"),
        (["--kept", "0"], "the kept fraction is 0.0; allowed is more than 0, up to 1"),
        (["--prompt", ""], "the prompt '' has no token; write at least one word"),
        (["--group-size", "40"], "the group size is 40; a multiple of 16 is needed"),
        (["--group-size", "0"], "the group size is 0; a multiple of 16 is needed"),
        (
            ["--layer", "model.layers.99.mlp.up_proj"],
            "the model has no layer 'model.layers.99.mlp.up_proj'; its linear layers run from "
            "'model.layers.0.self_attn.q_proj' to 'lm_head'",
        ),
        (
            ["--layer", "model.norm"],
            "'model.norm' is not a linear layer; one is 'model.layers.0.self_attn.q_proj'",
        ),
        (["--model", "no.gguf"], "there is no model file 'no.gguf'; name a .gguf file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_clear_line_and_writes_nothing(run, tmp_path, words, message):
    out = tmp_path / "out"
    assert refused(*run("demo", "--quick", "--out", out, *words)) == message
    assert list(out.glob("**/*")) == []


def test_a_file_that_is_not_gguf_or_is_cut_off_is_refused(run, monkeypatch, tmp_path):
    model = tmp_path / "model.gguf"
    model.write_bytes(b"PK\3\4 not a model")
    message = refused(*run("demo", "--model", model, "--out", tmp_path / "out"))
    assert message == f"{str(model)!r} is not a GGUF file: it begins with b'PK\\x03\\x04'"
    with smollm2_file().open("rb") as whole:
        model.write_bytes(whole.read(5_000_000))
    cache = tmp_path / "cache"
    monkeypatch.setenv("NANDU_CACHE", str(cache))
    message = refused(*run("demo", "--model", model, "--out", tmp_path / "out"))
    assert message.startswith(f"{str(model)!r} is truncated or damaged (")
    assert [path for path in cache.glob("models/*") if path.is_dir()] == []


def test_an_unwritable_folder_is_refused(run, tmp_path):
    (tmp_path / "file").write_text("")
    message = refused(*run("demo", "--out", tmp_path / "file" / "out"))
    assert message.endswith("file/out' (Not a directory); name one that can be written")


def test_no_compiler_is_refused(tmp_path):
    process = nandu("demo", "--quick", "--out", tmp_path, CXX="no-such-compiler")
    assert refused(process.returncode, process.stdout, process.stderr) == (
        "the C++ compiler 'no-such-compiler' is not on the PATH; install g++ or set CXX"
    )


def test_an_interrupt_ends_it_with_130_and_leaves_nothing_half_built(tmp_path):
    cache, out = tmp_path / "cache", tmp_path / "out"
    process = subprocess.Popen(
        [NANDU, "verify", "sparse-chain", "--cases", "400"],
        env={**os.environ, "NANDU_CACHE": str(cache)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Whoever runs the tests in the background may have interrupts ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not list(cache.glob("simulators/.*/Vtop.mk")):  # Verilator is through, make is at work
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in error
    assert [path for path in cache.glob("simulators/*") if path.is_dir()] == []
    assert not out.exists()
