"""Rows of a comparison: whose numbers they are, and which of many published ones are taken."""

import json
import re

import pytest

from golden import model_shapes
from golden.spec.errors import ConfigError
from sim.baselines import load_baseline, load_baselines
from sim.catalogue import load_system
from sim.compare import compare, published
from sim.published import read_points
from sim.simulate import simulate
from sim.workload import Workload

LLAMA = model_shapes.load("llama-2-7b")
WORK = Workload(prefill=128, decode=128)
ROW = {
    **{"model": "llama-2-7b", "format": "fp16", "batch": 1, "prefill": 128, "decode": 128},
    **{"ttft_ms": 10.0, "tpot_ms": 8.0, "tokens_per_s": 125.0, "joules_per_token": 2.5},
}
FILE = {"version": 1, "device": "A card", "date": "2026-01-31", "rows": [ROW]}


def write(folder, fields, name="card.json"):
    path = folder / name
    path.write_text(json.dumps(fields))
    return path


def test_modelled_rows_are_the_simulators():
    design = load_system("flightllm-u280")
    rows = compare(design, LLAMA, WORK, ["a100-sxm-80gb"])
    alone = load_system("gpu-a100-sxm-80gb")
    for row, system in zip([r for r in rows if r.kind == "model"], (design, alone), strict=True):
        found = simulate(system, LLAMA, WORK)
        assert row.tokens_per_s == found.decode_tokens_per_s
        assert row.joules_per_token == found.joules_per_token
        assert row.usd_per_mtoken == found.usd_per_mtoken
    assert [row.design for row in rows] == [True] + [False] * (len(rows) - 1)


def test_published_rows_are_points_of_the_same_gpu_model_and_batch():
    points = {point.id: point for point in read_points()}
    rows = published("rtx-4090", LLAMA, WORK)
    assert rows
    for row in rows:
        point = points[row.source.partition(":")[0]]
        assert point.hardware == "RTX-4090" and point.devices == 1 and point.batch == 1
        assert model_shapes.load(point.model.lower()).name == "llama-2-7b"
        tokens = 1e3 / point.value if point.metric == "tpot" else point.value
        assert row.tokens_per_s == tokens


def test_of_several_lengths_the_nearest_is_taken():
    near = published("rtx-4090", LLAMA, Workload(prefill=60, decode=60))
    far = published("rtx-4090", LLAMA, Workload(prefill=2000, decode=64))
    awq = [next(r for r in rows if "AutoAWQ" in r.name) for rows in (near, far)]
    assert awq[0].prefill == 64
    assert awq[1].prefill > 1000


def test_a_gpu_that_is_too_small_says_so():
    large = model_shapes.load("llama-2-13b")
    rows = compare(load_system("gpu-h100-sxm-80gb"), large, WORK, ["rtx-4090"])
    row = next(r for r in rows if r.kind == "model" and not r.design)
    assert row.tokens_per_s is None
    assert re.match(r"llama-2-13b needs .* too few", row.note)


def test_a_baseline_is_set_beside(tmp_path):
    other = ROW | {"batch": 4, "tokens_per_s": 400.0}
    longer = ROW | {"prefill": 2048, "tokens_per_s": 100.0}
    known = load_baselines(write(tmp_path, FILE | {"rows": [other, longer, ROW]}).parent)
    rows = compare(load_system("flightllm-u280"), LLAMA, WORK, [], baselines=known)
    (row,) = [one for one in rows if one.kind == "measured"]
    assert (row.name, row.tokens_per_s, row.joules_per_token) == (
        "A card, PyTorch, FP16",
        125.0,
        2.5,
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (FILE | {"version": 7}, r"card.json: version is 7; this Nandu reads .* version 1"),
        (FILE | {"rows": []}, r"card.json: rows is \[\]; .*at least 1"),
        (FILE | {"rows": [ROW | {"tpot_ms": -1}]}, r"card.json: rows.0: tpot_ms is -1; .*"),
        (FILE | {"cards": 2}, r"card.json: cards is 2; .*"),
    ],
)
def test_what_is_no_baseline_is_refused(tmp_path, fields, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        load_baseline(write(tmp_path, fields))


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"^there is no folder '.*none'; `nandu measure-gpu`"):
        load_baselines(tmp_path / "none")
