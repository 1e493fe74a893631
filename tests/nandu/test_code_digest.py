"""A digest of code changes with all that the code imports, and with nothing else."""

import pytest

from nandu import code_digest
from nandu.code_digest import code_digest as digest_of


@pytest.fixture
def rooms(tmp_path, monkeypatch):
    """Two rooms with modules that import each other in all ways."""
    monkeypatch.setattr(code_digest, "ROOT", tmp_path)
    files = {
        "a/__init__.py": "",
        "a/top.py": "import json\nfrom a.middle import x\n\n\ndef f():\n    from b import low\n",
        "a/middle.py": "import a.first\nimport torch\nx = 1\n",
        "a/first.py": "",
        "a/other.py": "",
        "b/__init__.py": "from b.side import y\n",
        "b/low.py": "",
        "b/side.py": "import a.top\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    "name", ["a/__init__.py", "a/top.py", "a/middle.py", "a/first.py", "b/low.py", "b/side.py"]
)
def test_a_change_of_what_is_imported_is_seen(rooms, name):
    before = digest_of("a.top")
    assert digest_of("a.top") == before
    (rooms / name).write_text((rooms / name).read_text() + "# changed\n")
    assert digest_of("a.top") != before


def test_other_modules_do_not_matter(rooms):
    before = digest_of("a.top")
    (rooms / "a/other.py").write_text("z = 1\n")
    assert digest_of("a.top") == before
    assert digest_of("a.other") != before


def test_the_compiler_stands_on_the_golden_model_and_on_weight_streams():
    reached = {
        path.relative_to(code_digest.ROOT).as_posix()
        for path in code_digest._reached(("hls_gen.compiler",))
    }
    assert {"golden/transformer.py", "hls_gen/matrices.py", "hw/weight_stream.py"} <= reached
    assert not {name for name in reached if name.startswith(("nandu/", "sim/"))}
