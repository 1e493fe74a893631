import re

import pytest

from golden.spec.errors import ConfigError
from sim.gemm_points import read_gemms
from sim.published import COLUMNS, POINTS, Point, read_points

ROW = "X-001,A100,1,vLLM,Llama-2-7B,16,16,16,1,128,128,tpot,10.5,ms,somewhere"


def write(folder, *rows, columns=COLUMNS):
    path = folder / "mine.csv"
    path.write_text("\n".join([",".join(columns), *rows]) + "\n")
    return path


def test_the_points_of_the_project():
    points = read_points(POINTS)
    assert len(points) == 1055
    assert len({point.id for point in points}) == 1055
    assert 0.45 < sum(point.held_out for point in points) / 1055 < 0.55
    assert all(point.source for point in points)


def test_a_point(tmp_path):
    (point,) = read_points(write(tmp_path, ROW))
    assert point == Point(
        *("X-001", "A100", 1, "vLLM", "Llama-2-7B", 16, 16, 16, 1, 128, 128, "tpot", 10.5),
        "somewhere",
    )
    assert (point.group, point.kind) == ("X", "X tpot")


def test_halves_are_chosen_by_the_id_alone():
    import hashlib

    for point in read_points(POINTS)[:50]:
        assert point.held_out == hashlib.sha256(point.id.encode()).digest()[-1] % 2


def test_what_is_not_said_is_none(tmp_path):
    (point,) = read_points(write(tmp_path, ROW.replace(",128,128,", ",,,")))
    assert (point.input_len, point.output_len) == (None, None)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (ROW.replace("10.5", "fast"), "mine.csv:2: value is 'fast'; a number from 0 up is needed"),
        (ROW.replace("10.5", "-1"), "mine.csv:2: value is '-1'; a number from 0 up is needed"),
        (ROW.replace("10.5", "nan"), "mine.csv:2: value is 'nan'; a number from 0 up is needed"),
        (ROW.replace("10.5", ""), "mine.csv:2: value is ''; a number above 0 is needed"),
        (ROW.replace("tpot", "speed"), "mine.csv:2: metric is 'speed'; known are ttft, tpot"),
        (ROW.replace(",ms,", ",s,"), "mine.csv:2: unit is 's'; tpot is in ms"),
        (ROW.replace(",1,vLLM", ",1.5,vLLM"), "mine.csv:2: n_devices is '1.5'; a whole number"),
        (ROW.replace("X-001", ""), "mine.csv:2: id is empty; every point needs one"),
        (ROW.rsplit(",", 3)[0], "mine.csv:2 has not as many fields as the first line"),
    ],
)
def test_bad_rows_say_where_they_are(tmp_path, row, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        read_points(write(tmp_path, row))


def test_bad_files(tmp_path):
    with pytest.raises(ConfigError, match=r"^mine\.csv has no column 'unit'; its first line must"):
        read_points(write(tmp_path, columns=[one for one in COLUMNS if one != "unit"]))
    with pytest.raises(ConfigError, match=r"^mine\.csv holds no points$"):
        read_points(write(tmp_path))
    with pytest.raises(ConfigError, match=r"^mine\.csv holds the id 'X-001' more than once$"):
        read_points(write(tmp_path, ROW, ROW))
    with pytest.raises(ConfigError, match=r"^cannot read the table .*No such file"):
        read_points(tmp_path / "none.csv")


def test_kernel_timings_are_plausible():
    gemms = read_gemms()
    assert len(gemms) == 258
    for gemm in gemms:
        peak = gemm.device.fp16_tflops * 1e12
        assert 2 * gemm.tokens * gemm.inputs * gemm.rows / gemm.seconds < peak
