import re

import pytest

from golden.spec.errors import ConfigError
from sim import devices
from sim.devices import Device, device_names, load_device

SHEET = {
    "source": "a data sheet",
    "fp16_tflops": 100,
    "memory": {"gib": 24, "gb_per_s": 1000},
}


def test_every_gpu_of_the_table_is_a_device():
    assert {"a100-sxm-80gb", "rtx-4090", "mi210", "t4-16gb"} <= set(device_names())
    for name in device_names():
        assert load_device(name).name == name
        assert load_device(name).source


def test_an_a100_by_its_data_sheet():
    a100 = load_device("a100-sxm-80gb")
    assert (a100.fp16_tflops, a100.int8_tops, a100.tdp_w) == (312, 624, 400)
    assert a100.memory.bytes_per_s == 2039e9
    assert a100.memory.bytes == 80 * 2**30
    assert a100.link_gb_per_s == 300
    assert a100.pcie_gb_per_s == pytest.approx(31.5, rel=1e-3)


def test_rows_that_are_no_gpus_are_not_devices():
    assert "u280" not in device_names()
    assert "pcie-4.0-x16" not in device_names()


def test_a_file_adds_a_device_or_takes_the_place_of_a_row(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "DEVICES", tmp_path)
    text = "source: x\nfp16_tflops: 10\nmemory: {gib: 8, gb_per_s: 100}\n"
    for name in ("mine", "rtx-4090"):
        (tmp_path / f"{name}.yaml").write_text(text)
        assert load_device(name).fp16_tflops == 10
        assert name in device_names()


def test_unknown_devices_get_the_nearest_names():
    message = "there is no device 'a100-sxm'; the nearest are a100-sxm-80gb, a100-sxm-40gb"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        load_device("a100-sxm")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fp16_tflops": 1e9}, "fp16_tflops is 1e+09 TFLOPS; a GPU has from 0.01 to 100000 TFLOPS"),
        (
            {"memory": {"gib": 24, "gb_per_s": 1e12}},
            "memory.gb_per_s is 1e+12 GB/s; a GPU has from 1 to 100000 GB/s",
        ),
        ({"tdp_w": 1e6}, "tdp_w is 1e+06 W; a GPU has from 1 to 10000 W"),
        ({"fp16_tflops": -1}, "fp16_tflops is -1; input should be greater than 0"),
        ({"pcie": "x16"}, "pcie is 'x16'; generation and lanes are needed, as \"4.0 x16\""),
    ],
)
def test_absurd_numbers_are_refused_with_their_unit(changes, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        Device(name="mine", **(SHEET | changes))
