"""The report of a study: read back from the page, and used in a headless browser."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from golden.spec.errors import ConfigError, ToolError
from nandu.study_data import Shown, read_data
from nandu.study_figures import energy, figures
from nandu.study_report import write_figures, write_report
from sim.explore.point import Outcome, command, evaluate
from sim.explore.space import parse_space
from sim.explore.study import Study

HOSTILE = '</script><script>document.title="hit"</script>'
SPACE = """
title: "A test TITLE"
parameters:
  system: flightllm-u280
  model: llama-2-7b
  cores: [1, 2, 3]
  weights.bits: [4, 8]
objectives: {decode_tokens_per_s: max, joules_per_token: min}
constraints: [decode_tokens_per_s > 20]
"""
FIGURES = ["pareto", "parallel", "roofline", "time", "energy", "sensitivity"]
GPUS = ("rtx-4090", "a100-sxm-80gb")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)

CLICK = """
(async () => {
  const wait = (ms) => new Promise((done) => setTimeout(done, ms));
  await wait(300);
  const found = { before: $("chosen").textContent };
  // A point that is beaten, by the mouse.
  const beaten = document.querySelectorAll("#pareto .scatterlayer .trace")[1];
  const mark = [...beaten.querySelectorAll(".point")].at(-1);
  const box = mark.getBoundingClientRect();
  const at = { bubbles: true, clientX: box.x + box.width / 2, clientY: box.y + box.height / 2 };
  const plot = document.querySelector("#pareto .nsewdrag");
  plot.dispatchEvent(new MouseEvent("mousemove", at));
  await wait(200);
  found.hover = document.querySelector("#pareto .hovertext")?.textContent;
  plot.dispatchEvent(new MouseEvent("mousedown", at));
  document.dispatchEvent(new MouseEvent("mouseup", at));
  await wait(200);
  found.chosen = $("chosen").textContent;
  found.command = $("command").textContent;
  found.parts = $("parts").innerText;
  found.csv = csv();
  found.rows = $("rows").children.length;
  const select = document.querySelector('[data-parameter="cores"]');
  select.value = "2";
  select.dispatchEvent(new Event("change"));
  found.kept = $("rows").children.length;
  const traces = $("pareto").data.filter((trace) => trace.meta === "points");
  found.drawn = traces.reduce((sum, trace) => sum + trace.x.length, 0);
  $("y").value = "ttft_ms";
  $("y").dispatchEvent(new Event("change"));
  found.axis = $("pareto").layout.yaxis.title.text;
  found.plots = [...document.querySelectorAll(".plot .main-svg")].length;
  found.title = document.title;
  const out = document.createElement("textarea");
  out.id = "found";
  out.textContent = JSON.stringify(found);
  document.body.append(out);
})();
"""


class Found(HTMLParser):
    """What the test's script left in the page."""

    def __init__(self, source):
        super().__init__()
        self.inside, self.text = False, ""
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        self.inside = dict(attributes).get("id") == "found"

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.text += data


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of six points, and one that failed with a hostile message."""
    path = tmp_path_factory.mktemp("study") / "small.study"
    text = SPACE.replace("TITLE", HOSTILE.replace('"', r"\""))
    space = parse_space(text, "space")
    with Study.create(path, space, text, 0) as made:
        points = [
            {"system": "flightllm-u280", "model": "llama-2-7b", "cores": n, "weights.bits": bits}
            for n in (1, 2, 3)
            for bits in (4, 8)
        ]
        for number, point in enumerate(points):
            made.add(number, point, command(point), evaluate(space, point))
        made.add(len(points), points[0], "", Outcome(None, HOSTILE))
    return path


@pytest.fixture(scope="module")
def page(study):
    path = study.with_suffix(".html")
    write_report(read_data(study, GPUS), path)
    return path


def test_the_points_of_a_study(study):
    data = read_data(study, GPUS)
    assert data.parameters == ("cores", "weights.bits")
    assert [one.number for one in data.points] == list(range(7))
    assert data.points[6].error == HOSTILE and data.points[6].numbers is None
    assert {one.number for one in data.points if not one.feasible} >= {6}
    rates = [one.number_of("decode_tokens_per_s") or 0 for one in data.points]
    assert data.front[0].number == rates.index(max(rates))
    assert [gpu.configuration["system"] for gpu in data.gpus] == [f"gpu-{name}" for name in GPUS]


def test_the_roofline_is_that_of_the_memory(study):
    for one in read_data(study, GPUS).points[:6]:
        # 7 billion weights, two operations each, 4 bits in memory: about four for each byte.
        bits = one.configuration["weights.bits"]
        assert one.intensity == pytest.approx(16 / bits, rel=0.1)
        assert one.operations <= one.intensity * one.roof
        assert one.roof == pytest.approx(460e9, rel=0.01)


def test_energy_is_divided_like_time():
    one = Shown(
        0,
        "",
        {"decode": 10},
        numbers={"joules_per_token": 8.0},
        tables={"breakdown": {"a": 1.0, "b": 2.0}, "ttft_breakdown": {"a": 10.0}},
    )
    assert energy(one) == {"a": 4.0, "b": 4.0}


def test_every_figure_has_what_it_should(study):
    data = read_data(study, GPUS)
    drawn = figures(data)
    assert list(drawn) == FIGURES
    front = next(trace for trace in drawn["pareto"].data if trace.name == "front")
    assert list(front.customdata) == [one.number for one in data.points if one.best]
    assert {trace.name for trace in drawn["roofline"].data} >= {"designs", "GPUs (model)"}
    (bars,) = drawn["sensitivity"].data
    assert list(bars.y) == ["cores", "weights.bits"]


def test_the_page_loads_nothing(page):
    text = page.read_text()
    head = text[: text.index("plotly.js v")]
    assert not re.search(r'(?:src|href)="', head)
    assert HOSTILE not in text


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_a_click_on_a_point_shows_its_configuration(study, page, tmp_path):
    tried = tmp_path / "tried.html"
    script = f"<script>{CLICK}</script></body>"
    tried.write_text(page.read_text().replace("</body>", script))
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=8000"]
    words += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1280,900", "--dump-dom"]
    done = subprocess.run(
        [CHROMIUM, *words, tried.as_uri()], capture_output=True, text=True, timeout=120
    )
    found = json.loads(Found(done.stdout).text)
    data = read_data(study, GPUS)
    chosen = data.points[int(found["chosen"].split(";")[0].removeprefix("#"))]
    assert found["before"].startswith(f"{data.front[0].label}, on the front")
    assert not chosen.best and chosen.feasible
    assert found["hover"].startswith(f"{chosen.label}system flightllm-u280")
    assert found["command"] == chosen.command
    cells = [line.split("\t") for line in found["parts"].splitlines()]
    for name, value in chosen.configuration.items():
        assert [name, str(value)] in cells
    for name in chosen.table_of("breakdown"):
        assert any(cell[0] == name for cell in cells)
    assert (found["rows"], found["kept"], found["drawn"]) == (7, 2, 2)
    assert found["axis"] == "ttft_ms"
    assert found["plots"] >= len(FIGURES)
    assert found["title"] == f"Nandu: A test {HOSTILE}"
    header, *lines = found["csv"].strip().split("\r\n")
    assert header.startswith('"point","front","feasible","system"')
    assert len(lines) == 7


def test_one_result(run, tmp_path):
    _, out, _ = run("simulate", "gpu-a100-sxm-80gb", "--model", "opt-6.7b", "--json")
    path = tmp_path / "result.json"
    path.write_text(out)
    data = read_data(path, GPUS)
    assert [one.best for one in data.points] == [True]
    assert data.points[0].number_of("tpot_ms") == pytest.approx(json.loads(out)["tpot_ms"], 1e-4)
    status, out, _ = run("report", path, "--out", tmp_path / "page.html", "--json")
    assert status == 0
    assert json.loads(out) == {
        "report": str(tmp_path / "page.html"),
        "figures": FIGURES,
        "files": [],
    }


def test_help_has_an_example(run):
    status, out, _ = run("report", "--help")
    assert status == 0
    assert "Example: nandu report" in " ".join(out.split())


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff\xfe", b"SQLite format 3"])
def test_what_is_no_study_is_bad_input(run, tmp_path, content):
    path = tmp_path / "none.study"
    path.write_bytes(content)
    status, _, error = run("report", path, "--out", tmp_path / "page.html")
    assert status == 2
    assert len(error.strip().splitlines()) == 1
    assert str(path) in error
    assert not (tmp_path / "page.html").exists()


def test_a_missing_file_and_an_unknown_gpu(study, tmp_path):
    with pytest.raises(ConfigError, match=r"^cannot read '.*none' \(No such file"):
        read_data(tmp_path / "none")
    with pytest.raises(ConfigError, match=r"^there is no device 'rtx-4091'"):
        read_data(study, ("rtx-4091",))


def test_figures_without_kaleido(study, tmp_path, monkeypatch):
    monkeypatch.setattr("nandu.study_report.find_spec", lambda _: None)
    with pytest.raises(ToolError, match=r"^figures as files need the package kaleido"):
        write_figures({}, tmp_path)
