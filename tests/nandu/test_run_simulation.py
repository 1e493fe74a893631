import json

import pytest

from sim.published import COLUMNS

KEYS = {
    *("system", "model", "ttft_ms", "tpot_ms", "decode_tokens_per_s", "e2e_tokens_per_s"),
    *("joules_per_token", "usd_per_mtoken", "peak_memory_gb", "bandwidth_used"),
    *("bandwidth_streaming", "cycles_per_token", "bottleneck", "breakdown", "fits", "wall_s"),
}
CORES = {f"core {k} {unit}" for k in range(3) for unit in ("memory", "compute", "functions")}
A100 = ["simulate", "gpu-a100-sxm-80gb", "--model", "llama-2-7b"]


def one_line(error):
    lines = error.strip().splitlines()
    assert len(lines) == 1, error
    return lines[0].removeprefix("error: ")


@pytest.mark.parametrize("command", ["simulate", "validate"])
def test_help_has_an_example(run, command):
    status, out, _ = run(command, "--help")
    assert status == 0
    assert f"Example: nandu {command}" in " ".join(out.split())


def test_a_gpu(run):
    words = [*A100, "--prefill", 128, "--decode", 64, "--batch", 4]
    status, out, _ = run(*words, "--json")
    found = json.loads(out)
    assert status == 0
    assert set(found) >= KEYS
    assert sum(found["breakdown"].values()) == pytest.approx(found["tpot_ms"])
    assert sum(found["ttft_breakdown"].values()) == pytest.approx(found["ttft_ms"])
    whole = found["ttft_ms"] + 64 * found["tpot_ms"]
    assert found["e2e_tokens_per_s"] == pytest.approx(4 * 64 / whole * 1e3)
    assert found["decode_tokens_per_s"] == pytest.approx(4e3 / found["tpot_ms"])
    low, high = found["tpot_ms_range"]
    assert low < found["tpot_ms"] < high
    assert 0 < found["bandwidth_used"] <= found["bandwidth_streaming"] <= 1
    assert found["bottleneck"] in found["why"]
    text = run(*words)[1]
    assert "limited by memory" in text
    assert "4 x 128 tokens read, 64 written" in text


def test_an_fpga_beside_its_measured_step(run):
    words = ["flightllm-u280", "--model", "llama-2-7b", "--prefill", 128, "--decode", 1]
    status, out, _ = run("simulate", *words, "--json")
    found = json.loads(out)
    assert status == 0
    assert set(found) >= KEYS
    assert found["cycles_per_token"] == pytest.approx(3_937_100, rel=0.05)
    assert found["tpot_ms"] == pytest.approx(found["cycles_per_token"] / 225e3, rel=1e-6)
    assert found["ttft_ms"] > 0


def test_only_a_prompt(run):
    status, out, _ = run(*A100, "--decode", 0, "--json")
    found = json.loads(out)
    assert status == 0
    assert found["tpot_ms"] is None
    assert found["ttft_ms"] > 0
    assert run(*A100, "--decode", 0)[0] == 0


def test_settings_change_the_system(run):
    plain = json.loads(run(*A100, "--json")[1])
    words = ["--set", "devices=2", "--set", "weight_bits=4.25", "--set", "software=gpt-fast"]
    other = json.loads(run(*A100, *words, "--json")[1])
    assert other["tpot_ms"] < plain["tpot_ms"]
    assert other["label"] == "2 x A100 SXM 80 GB, 4.25 bit"


@pytest.mark.parametrize(
    ("system", "units"),
    [
        ("gpu-a100-sxm-80gb", {"passes", "device", "memory", "compute", "host"}),
        ("flightllm-u280", {"passes", *CORES}),
    ],
)
def test_a_trace_shows_every_unit(run, tmp_path, system, units):
    trace = tmp_path / "trace.json"
    words = [system, "--model", "smollm2-135m", "--prefill", 16, "--decode", 4, "--trace", trace]
    status, out, _ = run("simulate", *words, "--json")
    assert status == 0
    events = json.loads(trace.read_text())["traceEvents"]
    tracks = {e["tid"]: e["args"]["name"] for e in events if e["ph"] == "M"}
    assert set(tracks.values()) == units
    passes = [e for e in events if e["ph"] == "X" and tracks[e["tid"]] == "passes"]
    steps = [e for e in passes if e["name"].startswith("step")]
    assert [e["name"] for e in steps] == ["step at 16", "step at 19"]
    found = json.loads(out)
    mean = sum(e["dur"] for e in steps) / 2 / 1e3
    assert mean == pytest.approx(found["tpot_ms"], rel=1e-3)
    for e in events:
        if e["ph"] == "X":
            inside = [p for p in passes if p["ts"] - 1e-6 <= e["ts"] <= p["ts"] + p["dur"] + 1e-6]
            assert inside


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["gpu-a100-sxm-80g", "--model", "llama-2-7b"],
            "there is no system 'gpu-a100-sxm-80g'; the nearest are gpu-a100-sxm-80gb",
        ),
        (
            ["gpu-rtx-4090", "--model", "llama-2-7"],
            "there is no model 'llama-2-7'; the nearest are llama-2-7b",
        ),
        (
            ["gpu-rtx-4090", "--model", "llama-2-7b", "--prefill", "-5"],
            "prefill is -5 tokens; 0 to 10,000,000 tokens are allowed",
        ),
        (
            ["gpu-rtx-4090", "--model", "llama-2-7b", "--batch", "99999999"],
            "batch is 99,999,999 sequences; 1 to 1,000,000 sequences are allowed",
        ),
        (
            ["gpu-rtx-4090", "--model", "llama-2-7b", "--set", "devices"],
            "--set is 'devices'; a key and a value are needed, as devices=2",
        ),
        (
            ["gpu-rtx-4090", "--model", "llama-2-70b"],
            "llama-2-70b needs 128.57 GiB",
        ),
        (
            ["none.yaml", "--model", "llama-2-7b"],
            "cannot read the system 'none.yaml' (No such file",
        ),
    ],
)
def test_bad_input_is_one_clear_line(run, words, message):
    status, out, error = run("simulate", *words)
    assert status == 2
    assert out == ""
    assert one_line(error).startswith(message)


def test_a_users_data_sheet(run, tmp_path):
    sheet = tmp_path / "card.yaml"
    sheet.write_text("source: x\nfp16_tflops: 100\nmemory: {gib: 24, gb_per_s: 800}\n")
    status, out, _ = run("simulate", sheet, "--model", "llama-2-7b", "--json")
    found = json.loads(out)
    assert status == 0
    assert found["system"] == "card"
    assert found["tpot_ms_range"][1] > 1.1 * found["tpot_ms"]
    assert found["joules_per_token"] is None
    assert found["usd_per_mtoken"] is None


def test_validate_prints_prediction_beside_publication(run):
    status, out, _ = run("validate", "--json")
    found = json.loads(out)
    assert status == 0
    assert found["modelled"] + found["not_modelled"] == len(found["points"]) == 1055
    assert set(found["points"][0]) >= {
        *("id", "predicted", "published", "error", "class", "reason"),
    }
    for point in found["points"]:
        if point["predicted"] is None:
            assert point["reason"]
        else:
            assert point["error"] == pytest.approx(point["predicted"] / point["published"] - 1)
    assert found["median_abs_error"]["FT e2e_latency"] < 0.1


def test_validate_takes_a_file_of_points(run, tmp_path):
    file = tmp_path / "mine.csv"
    row = "MINE-1,A100-SXM-80GB,1,gpt-fast,Llama-2-7B,16,16,16,1,5,200,decode_tps,50,tok/s,here"
    file.write_text(",".join(COLUMNS) + f"\n{row}\n{row.replace('MINE-1', 'MINE-2')}\n")
    status, out, _ = run("validate", "--points", file, "--json")
    found = json.loads(out)
    assert status == 0
    assert [point["id"] for point in found["points"]] == ["MINE-1", "MINE-2"]
    assert found["median_abs_error"] == {"MINE decode_tps": pytest.approx(1.1, abs=0.2)}
    status, _, error = run("validate", "--points", tmp_path / "none.csv")
    assert status == 2
    assert one_line(error).startswith("cannot read the table")


def test_the_tables_of_the_documentation_are_the_commands(run, tmp_path):
    from pathlib import Path

    table = tmp_path / "table.md"
    assert run("validate", "--table", table)[0] == 0
    page = Path(__file__).parents[2] / "docs" / "validation.md"
    assert table.read_text() in page.read_text()
