"""The manual's tables are those of the field table."""

import re
import sys
from pathlib import Path

import pytest

from golden.spec import isa_manual, manual
from golden.spec.errors import ConfigError
from golden.spec.isa import FORMATS

PAGE = Path(__file__).parents[2] / "docs" / "isa.md"


def test_the_page_has_the_tables_of_today():
    page = PAGE.read_text(encoding="utf-8")
    assert isa_manual.with_tables(page) == page, "run python -m golden.spec.isa_manual docs/isa.md"


def test_every_field_stands_in_its_instructions_table():
    tables = isa_manual.tables()
    for form in FORMATS.values():
        mine = tables.partition(f"### {form.unit.name}\n")[2].partition("###")[0]
        named = re.findall(r"^\| `(\w+)` \|", mine, re.MULTILINE)
        assert named == [field.name for field in form.fields]
    assert "| `shift` | 8, signed | 1[19:12] | -128 to 127 bits | to the right |" in tables
    assert "| 0[13:0], 1[31:14] | 0 to 2^32 - 1 |" in tables


def test_a_page_is_written_anew(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{isa_manual.BEGIN}old\n{manual.END}behind\n", encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["isa_manual", str(page)])
    isa_manual.main()
    parts = (isa_manual.BEGIN, isa_manual.tables(), manual.END)
    assert page.read_text(encoding="utf-8") == "before\n" + "".join(parts) + "behind\n"


def test_a_page_without_marks_is_refused():
    with pytest.raises(ConfigError, match=r"^the page has no tables; put "):
        isa_manual.with_tables("a page")
