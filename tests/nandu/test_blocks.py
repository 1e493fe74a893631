"""The core and the accelerator by name: `generate` and `verify`."""

import json
import subprocess
import sys

import pytest

from golden.spec.control import REGISTERS
from hw.core_cases import CONFIG
from nandu import blocks

SMALL = ["chains", "m", "strips", "vector_depth", "activation_depth", "buffer_words"]
SETTINGS = [f"{name}={getattr(CONFIG, name)}" for name in SMALL]
"""Of the core whose simulator other tests use too."""


def words(*settings):
    return [word for setting in settings for word in ("--set", setting)]


def one_line(error):
    (line,) = error.strip().splitlines()
    return line.removeprefix("error: ")


def test_a_core_is_generated_with_what_a_host_needs(run, tmp_path):
    status, text, _ = run("generate", "core", *words(*SETTINGS), "--out", tmp_path, "--json")
    generated = json.loads(text)
    assert status == 0
    assert generated["lanes"] == CONFIG.lanes == 3 * 8 * 2
    about = json.loads((tmp_path / f"{generated['top']}.json").read_text())
    assert about["host_ports"] == ["s_axi"]
    assert about["memory_ports"] == [
        f"m_axi_{name}" for name in ("program", "general", "channel_0", "channel_1", "channel_2")
    ]
    ports = [port["name"] for port in about["ports"]]
    for prefix in (*about["host_ports"], *about["memory_ports"]):
        assert f"{prefix}_arvalid" in ports
    assert set(about["interrupts"]) <= set(ports)
    assert [register["name"] for register in about["registers"]] == list(REGISTERS)
    (control,) = (each for each in about["registers"] if each["name"] == "CONTROL")
    assert (control["offset"], control["flags"]) == (4, {"START": 1, "STOP": 2})
    bench = [sys.executable, str(tmp_path / f"bench_{generated['top']}.py")]
    ended = subprocess.run(bench, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("pass CaseResult") == 20


def test_a_core_is_verified_like_other_blocks(run):
    options = ["--cases", 6, "--seed", 5, "--json"]
    status, text, _ = run("verify", "core", *words(*SETTINGS), *options)
    found = json.loads(text)
    assert (status, found["passed"], found["cases"], found["seed"]) == (0, True, 6, 5)
    assert found["mismatches"] == 0
    assert found["cycles"] == found["contract_cycles"] + found["stall_cycles"]
    assert 0 < found["utilisation"] < 1
    assert 0 < found["coverage"] < 1


def test_an_accelerator_has_two_cores_by_default():
    block = blocks.find("accelerator")
    assert blocks.configure(block, ["m=8"]).cores == 2
    assert blocks.configure(block, ["cores=3"]).cores == 3
    about = block.about(blocks.configure(block, []))
    assert about["host_ports"] == ["core_0_s_axi", "core_1_s_axi"]
    assert "core_1_m_axi_channel_0" in about["memory_ports"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            ["verify", "core", *words("cores=2")],
            "cores is 2; a core is one, the block accelerator has more",
        ),
        (
            ["verify", "accelerator", *words("cores=1")],
            "cores is 1; an accelerator has 2 to 8, and the block core is one",
        ),
        (["synth", "core", "--target", "ecp5", *words("m=4")], "m is 4; a core needs 8 or 16"),
        (
            ["verify", "core", *words("chains=32", "vector_depth=16")],
            "vector_depth is 16; the random programs of 32 chains need 64 or more",
        ),
    ],
)
def test_what_is_no_core_is_one_clear_line(run, command, message):
    status, out, error = run(*command)
    assert (status, out) == (2, "")
    assert one_line(error) == message


@pytest.mark.full
def test_two_cores_are_verified_and_watched(run, tmp_path):
    waves = tmp_path / "cores.fst"
    settings = words("cores=2", "chains=1", "m=8", "vector_depth=64", "activation_depth=16")
    options = ["--cases", 8, "--waves", waves, "--json"]
    status, text, _ = run("verify", "accelerator", *settings, *options)
    assert (status, json.loads(text)["passed"]) == (0, True)
    assert waves.stat().st_size > 0
