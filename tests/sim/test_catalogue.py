import re

import pytest

from golden.spec.errors import ConfigError
from sim import catalogue
from sim.catalogue import load_system, system_names
from sim.hardware import Memory, board_names, device_names, load_board, load_device


def refuses(message):
    return pytest.raises(ConfigError, match=f"^{re.escape(message)}$")


def test_every_file_loads_under_its_own_name():
    for names, load in (
        (system_names(), load_system),
        (board_names(), load_board),
        (device_names(), load_device),
    ):
        assert names
        assert [load(name).name for name in names] == names


def test_u280_memory_is_the_boards():
    board = load_board("u280")
    assert load_system("flightllm-u280").main_memory == board.memories["hbm"]
    hbm = board.memories["hbm"]
    assert hbm.bytes_per_s / hbm.channels == 14.375e9
    assert hbm.bytes / hbm.channels == 256 * 2**20


def test_a_memory_is_finite():
    with refuses("gb_per_s is inf; input should be a finite number"):
        Memory(gib=8, gb_per_s=float("inf"))


def test_unknown_names():
    with refuses("there is no system 'flightllm-u28'; known are flightllm-u280, gpu-a100-sxm-80gb"):
        load_system("flightllm-u28")
    with refuses("there is no board 'U280'; known are u280"):
        load_board("U280")
    with refuses("there is no device '../systems/flightllm-u280'; known are a100-sxm-80gb"):
        load_device("../systems/flightllm-u280")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: tpu", "mine.yaml: kind is 'tpu'; allowed are fpga, gpu"),
        ("title: x", "mine.yaml: kind is None; allowed are fpga, gpu"),
        ("- kind: gpu", "mine.yaml holds [{'kind': 'gpu'}]; a system is a mapping of named fields"),
        ("kind: gpu", "mine.yaml: title is missing"),
        (
            "{kind: gpu, title: x, device: a100-sxm-80gb, weights: {bits: 16}, cache: {bits: 99}}",
            "mine.yaml: cache: bits is 99; input should be less than or equal to 16",
        ),
    ],
)
def test_bad_system_files(tmp_path, monkeypatch, text, message):
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(catalogue, "SYSTEMS", tmp_path)
    with refuses(message):
        load_system("mine")


def test_a_file_that_is_not_yaml(tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_text("kind: [gpu", encoding="utf-8")
    monkeypatch.setattr(catalogue, "SYSTEMS", tmp_path)
    with pytest.raises(
        ConfigError, match=r"^mine\.yaml is not YAML: [^\n]*line 1, column 11[^\n]*$"
    ):
        load_system("mine")
