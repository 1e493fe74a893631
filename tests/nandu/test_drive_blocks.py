"""The drive's blocks by name: `generate` and `verify`, as RTL and as HLS C++."""

import json

import pytest

from hls_gen.hls.blocks import HLS_BLOCKS
from nandu import blocks

TOP = ["max_scores=128", "max_k=8", "score_bits=9"]
SLICE = ["head_size=16", "queries=3", "page_bytes=1024", "channels_per_page=8", "context_bits=10"]
"""Of units whose simulators other tests use too."""


def words(settings):
    return [word for setting in settings for word in ("--set", setting)]


@pytest.mark.parametrize(
    ("name", "settings", "cases"),
    [
        ("arg-top-k", TOP, 40),
        pytest.param("attention-slice", SLICE, 12, marks=pytest.mark.full),
    ],
)
def test_a_block_is_verified_in_rtl_and_in_cpp(run, name, settings, cases):
    options = [*words(settings), "--cases", cases, "--seed", 3, "--json"]
    for backend in ("rtl", "hls"):
        status, text, error = run("verify", name, *options, "--backend", backend)
        assert status == 0, error
        found = json.loads(text)
        assert (found["passed"], found["cases"], found["mismatches"]) == (True, cases, 0)
        assert 0 < found["coverage"] < 1
        # Without pauses there is a quarter of the combinations.
        assert found["crosses"] * (1 if backend == "rtl" else 4) == len(
            blocks.find(name).crosses(blocks.configure(blocks.find(name), settings))
        )


@pytest.mark.parametrize(("name", "settings"), [("arg-top-k", TOP), ("attention-slice", SLICE)])
def test_a_block_is_generated_with_its_contract(run, tmp_path, name, settings):
    status, text, _ = run("generate", name, *words(settings), "--out", tmp_path, "--json")
    generated = json.loads(text)
    assert status == 0
    about = json.loads((tmp_path / f"{generated['top']}.json").read_text())
    assert about["block"] == name
    assert "storage_engine." in about["contract"]["cycles"]
    assert (tmp_path / f"bench_{generated['top']}.py").is_file()


def test_what_hls_leaves_out_is_known():
    """These are the drive's error correction and whole engine, and what runs programs."""
    assert set(blocks.BLOCKS) - set(HLS_BLOCKS) == {
        *("core", "accelerator", "bch", "attention-engine"),
    }


def test_a_slice_is_not_for_every_configuration(run, tmp_path):
    settings = words(["head_size=16", "queries=5"])
    message = "error: queries is 5; a head of 4 beats allows 4 at most, take fewer lanes"
    for backend in ("rtl", "hls"):
        options = [*settings, "--backend", backend, "--out", tmp_path]
        status, _, error = run("generate", "attention-slice", *options)
        assert (status, error.strip()) == (2, message)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "page_bytes=2048",
            "page_bytes is 2048; the tags of such a page have 12 bytes for its header, which needs "
            "28: take larger pages",
        ),
        (
            "head_size=96",
            "a page of 4096 bytes has 10 tokens of 96 channels; a power of 2 is needed, as of "
            "heads of 32, 64, 128 or 256",
        ),
        ("buffer_pages=3", "buffer_pages is 3; allowed are 2, 4, 8 and 16"),
        ("attempts=0", "attempts is 0; allowed are 1 to 16"),
        ("reads=1", "reads is 1; allowed are 2 to 256 pages per channel"),
    ],
)
def test_an_engine_is_not_for_every_configuration(run, tmp_path, setting, message):
    status, _, error = run(
        "generate", "attention-engine", *words([setting]), "--out", tmp_path / "no"
    )
    assert (status, " ".join(error.split())) == (2, f"error: {message}")
    assert list(tmp_path.iterdir()) == []
