import re

import pytest

from golden.spec.errors import ConfigError
from hw.board import Memory, board_names, load_board
from sim import catalogue
from sim.catalogue import load_system, system_names
from sim.devices import device_names, load_device


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


def test_every_gpu_of_the_table_is_a_system():
    for name in device_names():
        system = load_system(f"gpu-{name}")
        assert (system.name, system.device.name) == (f"gpu-{name}", name)


def test_unknown_names():
    message = "there is no system 'flightllm-u28'; the nearest are flightllm-u280"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        load_system("flightllm-u28")
    with refuses("there is no board 'U280'; known are u280, vhk158"):
        load_board("U280")
    with pytest.raises(ConfigError, match=r"^there is no device '\.\./systems/flightllm-u280'"):
        load_device("../systems/flightllm-u280")


OWN = """\
source: a data sheet
fp16_tflops: 100
memory: {gib: 24, gb_per_s: 800}
tdp_w: 300
"""


def test_a_users_own_data_sheet_is_a_system_at_once(tmp_path):
    from golden.model_shapes import load
    from sim.simulate import simulate
    from sim.workload import Workload

    (tmp_path / "my-card.yaml").write_text(OWN, encoding="utf-8")
    system = load_system(str(tmp_path / "my-card.yaml"), {"weight_bits": 8})
    result = simulate(system, load("llama-2-7b"), Workload(prefill=100, decode=10))
    assert (result.system, result.label) == ("my-card", "MY CARD, 8 bit")
    assert result.spread == system.fitted.devices["other"].spread > 0.1
    assert "the medians of other GPUs'" in " ".join(result.assumptions)


def test_a_users_own_system_may_hold_its_device(tmp_path):
    device = "".join(f"  {line}\n" for line in OWN.splitlines())
    text = f"kind: gpu\ntitle: Mine\nsoftware: gpt-fast\ndevice:\n{device}"
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    system = load_system(str(tmp_path / "mine.yaml"))
    assert (system.title, system.device.memory.gb_per_s) == ("Mine", 800)


def test_own_files_that_cannot_be(tmp_path):
    with pytest.raises(ConfigError, match=r"^cannot read the system '.*none\.yaml' \(No such file"):
        load_system(str(tmp_path / "none.yaml"))
    (tmp_path / "mine.yaml").write_text(OWN.replace("800", "-8"), encoding="utf-8")
    with refuses("mine.yaml: memory: gb_per_s is -8; input should be greater than 0"):
        load_system(str(tmp_path / "mine.yaml"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: tpu", "mine.yaml: kind is 'tpu'; allowed are csd, fpga, gpu, offload, recompute"),
        ("title: x", "mine.yaml: kind is None; allowed are csd, fpga, gpu, offload, recompute"),
        ("- kind: gpu", "mine.yaml holds [{'kind': 'gpu'}]; a system is a mapping of named fields"),
        ("kind: gpu", "mine.yaml: title is missing"),
        (
            "{kind: gpu, title: x, device: a100-sxm-80gb, cache_bits: 99}",
            "mine.yaml: cache_bits is 99; input should be less than or equal to 32",
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
