from dataclasses import replace
from xml.etree import ElementTree

import pytest

from bitstreams import quality
from bitstreams.quality import CONFIGURATIONS, Row, from_csv, losses, measure, to_csv
from bitstreams.quality_drawing import draw
from golden.spec.errors import ConfigError
from hw.place import Placement

USED = {"TRELLIS_COMB": 800, "TRELLIS_FF": 900, "MULT18X18D": 8}


def placed(block, config, copies, seed):
    used = {kind: number * copies for kind, number in USED.items()}
    return Placement({1: 110.0, 2: 150.0, 3: 120.0}[seed], used, ("a", "b"), 1.0)


def test_a_row_has_the_median_frequency_and_the_size_per_multiplier():
    (row,) = measure([(2, 16, 8)], placed=placed)
    assert row == Row(2, 16, 8, 1600, 1800, 16, 100.0, 120.0, 3)


def test_there_are_twelve_configurations_or_more_and_each_once():
    assert len(set(CONFIGURATIONS)) == len(CONFIGURATIONS) >= 12


def test_a_table_is_read_as_it_was_written():
    rows = measure(placed=placed)
    assert from_csv(to_csv(rows)) == rows


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "chains,lut\nfour,1\n", "chains\n1\n"])
def test_a_damaged_table_is_refused(text):
    with pytest.raises(ConfigError, match=r"^quality.csv is damaged .*`make qor`$"):
        from_csv(text)


def test_only_more_than_five_per_cent_is_a_loss():
    rows = measure([(1, 8, 4), (2, 8, 4)], placed=placed)
    first, second = rows
    near = replace(first, fmax_mhz=114.1, lut_per_mac=104.9)
    assert losses(rows, [near, second]) == []
    slow, large = replace(first, fmax_mhz=113.9), replace(second, lut_per_mac=105.1)
    assert losses(rows, [slow, large]) == [
        "1 chains, N to 8, 4 bits: 113.9 MHz, 120.0 before",
        "2 chains, N to 8, 4 bits: 105.1 LUTs per multiplier, 100.0 before",
    ]
    assert losses([], rows) == []


def test_make_qor_writes_the_table_and_fails_where_it_got_worse(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(quality.measure, "__defaults__", (CONFIGURATIONS, (1,), placed, print))
    assert quality.main(["--docs", str(tmp_path), "--seeds", "3"]) == 0
    rows = from_csv((tmp_path / quality.TABLE).read_text())
    assert len(rows) == len(CONFIGURATIONS)
    better = [replace(row, fmax_mhz=200.0) for row in rows]
    (tmp_path / quality.TABLE).write_text(to_csv(better))
    assert quality.main(["--docs", str(tmp_path), "--seeds", "3"]) == 1
    assert "worse: 1 chains, N to 8, 4 bits: 120.0 MHz, 200.0 before" in capsys.readouterr().err


def test_the_drawing_has_a_line_for_each_kind_of_chain():
    drawing = ElementTree.fromstring(draw(measure(placed=placed)))
    lines = drawing.findall(".//{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 2 * 4
    assert all(len(line.attrib["points"].split()) == 3 for line in lines)
