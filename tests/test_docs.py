"""What docs/ and examples/ show is what happens.

The blocks of a page run in their order, in one folder and one namespace:

- ```python runs; a ```text block after it is exactly what it prints.
- ```console holds commands after "$ ". `nandu` and `python FILE` run; the lines below are exactly
  what they print on both streams. `echo $?` shows how the command before it ended; without it that
  must be 0. Other commands are not run.

In what a page shows, "(1.2 s)" stands for any time and a line "..." for any lines.
"""

import io
import re
import runpy
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from golden.passes import make_passes
from golden.sparse_chain import pass_sums
from golden.sparse_matrix import SparseMatrix
from golden.spec.sparse_chain import SparseChainConfig
from hw.sparse_chain import SparseChain
from hw.verify_chain import random_cases

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
README = sorted(ROOT.glob("README.md"))
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
DRAWINGS = sorted((DOCS / "drawings").glob("*.svg"))
SVG = "{http://www.w3.org/2000/svg}"


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for variable in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize("page", [*README, *PAGES], ids=relative)
def test_a_page_shows_what_its_blocks_print(page, in_a_folder):
    run_page(page.read_text(encoding="utf-8"), relative(page))


@pytest.mark.parametrize("example", EXAMPLES, ids=relative)
def test_an_example_runs(example, in_a_folder):
    printed, status = run_script(example)
    assert printed and status == 0, printed


@pytest.mark.parametrize("page", [*sorted(ROOT.glob("*.md")), *PAGES], ids=relative)
def test_a_page_links_to_what_there_is(page):
    for target, anchor in links(page):
        there = (page.parent / target).resolve() if target else page
        assert there.exists(), f"{relative(page)} links to {target}"
        assert not anchor or anchor in anchors(there), (
            f"{relative(page)} links to {target}#{anchor}"
        )


def test_the_index_names_every_page():
    named = {(DOCS / target).resolve() for target, _ in links(DOCS / "README.md")}
    assert {page for page in PAGES if page.name != "README.md"} <= named


@pytest.mark.parametrize("drawing", DRAWINGS, ids=relative)
def test_a_drawing_is_used_and_opaque(drawing):
    root = ElementTree.parse(drawing).getroot()
    first = next(child for child in root if child.tag not in (f"{SVG}title", f"{SVG}style"))
    assert (first.tag, first.get("fill")) == (f"{SVG}rect", "#fff"), "a page may be dark"
    assert any(
        (page.parent / target).resolve() == drawing for page in PAGES for target, _ in links(page)
    )


@pytest.mark.parametrize("n", SparseChainConfig().keeps)
def test_the_drawing_of_beats_holds_the_rows_of_the_passes(n):
    m = SparseChainConfig().m
    mask = (torch.arange(m) < n).expand(m, m)
    # Every kept weight is the number of its row.
    weights = torch.arange(m)[:, None] * mask
    matrix = SparseMatrix(weights, mask, torch.full((1, 1), n), m, 8, m)
    beats = make_passes(matrix, SparseChainConfig()).values.tolist()
    rows = [row for beat in beats for row, _ in groupby(beat)]
    panel = ElementTree.parse(DOCS / "drawings" / "beats.svg").find(f".//*[@id='n{n}']")
    texts = [text.text or "" for text in panel.iter(f"{SVG}text")]
    assert [int(text[4:]) for text in texts if text.startswith("row ")] == rows


def test_the_drawing_of_nodes_follows_the_formula():
    config = SparseChainConfig()
    drawing = ElementTree.parse(DOCS / "drawings" / "reduction-nodes.svg")

    def boxes(name):
        """(cycle, number) of each box with a number."""
        group = drawing.find(f".//*[@id='{name}']")
        found = [(t.get("x"), t.text) for t in group.iter(f"{SVG}text") if t.text]
        return [(int((float(x) - 150) // 25), int(number)) for x, number in found]

    passes: list[list[int]] = []
    for cycle, number in boxes("beats"):
        if number == 0:
            passes.append([])
        passes[-1].append(cycle)
    # A row that ends at the last multiplier leaves `latency` cycles after its beat is taken.
    rest = SparseChain.latency(config) - (config.chain_length - 1)
    for node in range(config.groups):
        rows = [config.group_length * node + p for p in range(config.group_length)]
        leaves = [
            (taken[r % len(taken)] + (r // len(taken)) * len(taken) + len(taken) - 1 + rest, r)
            for taken in passes
            for r in rows
        ]
        assert boxes(f"node{node}") == leaves


def test_the_drawing_of_waves_ends_with_goldens_sums():
    config = SparseChainConfig(m=4)
    case = random_cases(config, 1, seed=1264)[0]
    sums = pass_sums(make_passes(case.matrix, config), case.activations)  # [pass, row, token]
    drawing = ElementTree.parse(DOCS / "drawings" / "waves.svg")
    for node in range(config.groups):
        mine = sums[:, 2 * node : 2 * node + 2]
        for token in range(2):
            row = drawing.find(f".//*[@id='node-{node}-token-{token}']")
            texts = [text.text for text in row.iter(f"{SVG}text") if text.get("class") == "value"]
            # The drawing writes a minus sign as people do.
            assert [int(text.replace("−", "-")) for text in texts] == mine[
                ..., token
            ].ravel().tolist()


@pytest.mark.parametrize(
    ("page", "line"),
    [
        ("```python\nprint(1)\n```\n", 1),
        ("\n```python\nprint(1)\n```\n\n```text\n2\n```\n", 2),
        ("```python\nx = 1\n```\n\n```python\nprint(x)\n```\n```text\n2\n```\n", 5),
        ("```console\n$ nandu list nothing\nerror: ...\n```\n", 1),
        ("```console\n$ nandu list models\n...\n$ echo $?\n2\n```\n", 1),
        ("```console\n$ nandu list blocks --json\n```\n", 1),
    ],
)
def test_a_page_that_shows_something_else_fails(page, line, in_a_folder):
    with pytest.raises(AssertionError, match=f"made-up:{line}:"):
        run_page(page, "made-up")


def test_times_and_dots_stand_for_what_varies(in_a_folder):
    printed = "print('a (1.5 s)\\nb\\nc\\nd')"
    run_page(f"```python\n{printed}\n```\n\n```text\na (22.0 s)\n...\nd\n```\n", "made-up")


def test_a_page_with_a_broken_block_fails(in_a_folder):
    with pytest.raises(ZeroDivisionError):
        run_page("```python\n1 / 0\n```\n", "made-up")


@dataclass(frozen=True)
class Block:
    """A fenced block: `line` is that of its opening fence, from 1."""

    language: str
    text: str
    line: int


def blocks(page: str) -> list[Block]:
    found = re.finditer(r"^```(\w+)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    return [Block(f[1], f[2], page.count("\n", 0, f.start()) + 1) for f in found]


def run_page(page: str, name: str) -> None:
    """Run the blocks of `page`, called `name`; raise AssertionError where it shows what is not."""
    names: dict[str, object] = {}
    for block, following in pairwise([*blocks(page), Block("", "", 0)]):
        where = f"{name}:{block.line}:"
        if block.language == "python":
            code = compile("\n" * block.line + block.text, name, "exec")
            printed, _ = captured(lambda code=code: exec(code, names), redirect_stdout)
            check(printed, following.text if following.language == "text" else "", where)
        elif block.language == "console":
            run_console(block.text, where)


def run_console(text: str, where: str) -> None:
    status = 0
    for command, shown in commands(text):
        if command == "echo $?":
            check(f"{status}\n", shown, where)
            status = 0
            continue
        assert status == 0, f"{where} the command before {command!r} ended with {status}"
        program, *arguments = shlex.split(command)
        if program == "nandu":
            printed, status = run_nandu(arguments)
        elif program == "python":
            printed, status = run_script(Path(arguments[0]))
        else:
            continue
        check(printed, shown, where)
    assert status == 0, f"{where} the last command ended with {status}"


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a console block with the lines it shows."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        yield command, shown


def run_nandu(arguments: list[str]) -> tuple[str, int]:
    from nandu.cli import main

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["nandu", *arguments])
        return captured(main, redirect_stdout, redirect_stderr)


def run_script(path: Path) -> tuple[str, int]:
    return captured(
        lambda: runpy.run_path(str(path), run_name="__main__"), redirect_stdout, redirect_stderr
    )


def captured(job: Callable[[], object], *redirects: Callable) -> tuple[str, int]:
    """Return what `job` prints, and its exit status."""
    printed = io.StringIO()
    with ExitStack() as streams:
        for redirect in redirects:
            streams.enter_context(redirect(printed))
        try:
            job()
        except SystemExit as end:
            return printed.getvalue(), int(end.code or 0)
    return printed.getvalue(), 0


def check(printed: str, shown: str, where: str) -> None:
    """Raise AssertionError unless `printed` is what the page shows."""
    time = r"\(\d+\.\d s\)"
    printed, shown = (re.sub(time, "(time)", text) for text in (printed, shown))
    pattern = "".join(
        r"(?:.*\n)*?" if line == "...\n" else re.escape(line)
        for line in shown.splitlines(keepends=True)
    )
    if not re.fullmatch(pattern, printed):
        raise AssertionError(f"{where} the page shows\n{shown}but this is printed:\n{printed}")


def links(page: Path) -> list[tuple[str, str]]:
    """Return the page's links into the repository, as (file, anchor)."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)
    found = re.findall(r"\]\(([^)\s#]*)#?([^)\s]*)\)", text)
    return [(target, anchor) for target, anchor in found if not re.match(r"\w+:", target)]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
