import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "first-estimate.md"


def test_the_page_prints_what_its_script_prints(capsys):
    page = PAGE.read_text(encoding="utf-8")
    script, table = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", page, re.DOTALL).groups()
    exec(compile(script, PAGE.name, "exec"), {})
    assert capsys.readouterr().out == table
