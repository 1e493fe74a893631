"""The tables of the control registers' page are those of the register map."""

import re
import sys
from pathlib import Path

import pytest

from golden.spec import control_manual, manual
from golden.spec.control import REGISTERS
from golden.spec.errors import ConfigError

PAGE = Path(__file__).parents[2] / "docs" / "control.md"


def test_the_page_has_the_tables_of_today():
    page = PAGE.read_text(encoding="utf-8")
    right = manual.with_tables(page, control_manual.BEGIN, control_manual.tables())
    assert right == page, "run python -m golden.spec.control_manual docs/control.md"


def test_every_register_stands_in_the_table_at_its_place():
    rows = re.findall(r"^\| (0x[^|]*) \| (`[^|]*`) \|", control_manual.tables(), re.MULTILINE)
    found = [
        (name.strip("`"), int(offset, 16))
        for offsets, names in rows
        for name, offset in zip(names.split(", "), offsets.split(", "), strict=True)
    ]
    assert found == [(register.name, register.offset) for register in REGISTERS.values()]


def test_a_page_is_written_anew(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    begin, end = control_manual.BEGIN, manual.END
    page.write_text(f"before\n{begin}old\n{end}behind\n", encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["control_manual", str(page)])
    control_manual.main()
    parts = (begin, control_manual.tables(), end)
    assert page.read_text(encoding="utf-8") == "before\n" + "".join(parts) + "behind\n"


@pytest.mark.parametrize("page", ["a page", control_manual.BEGIN, manual.END])
def test_a_page_without_marks_is_refused(page):
    with pytest.raises(ConfigError, match=r"^the page has no tables; put "):
        manual.with_tables(page, control_manual.BEGIN, "")
