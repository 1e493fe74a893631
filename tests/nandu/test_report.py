"""The demo's report, drawn from made-up numbers and read back from the page."""

import json
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from golden.spec.errors import OutputError
from hw.verify_engine import CaseResult
from nandu.demo_result import DemoResult
from nandu.report import MAX_POINTS, UTILISATION_GOAL, verdict, write_report
from sim.result import Result

HOSTILE = '<script>alert("x")</script>&'
LAYER_FIGURES = {
    "sparsity-map",
    "error-histogram",
    "error-scatter",
    "error-parts",
    "cycles",
    "utilisation",
}
FIGURES = LAYER_FIGURES | {"decode-speed", "time-breakdown"}


class Page(HTMLParser):
    """The parts of a page that the tests ask for."""

    def __init__(self, source):
        super().__init__()
        self.source = source
        self.tags, self.words, self.inside = [], [], []
        self.bad = []
        self.json = ""
        self.feed(source)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.inside.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        while self.inside and self.inside.pop()[0] != tag:
            pass

    def handle_data(self, data):
        tag, attributes = self.inside[-1] if self.inside else ("", {})
        if attributes.get("id") == "figures":
            self.json = data
        elif tag not in ("script", "style"):
            self.words.append(data)
        if attributes.get("class") == "bad":
            self.bad.append(data)

    def places(self):
        return {each["id"] for tag, each in self.tags if tag == "div" and "id" in each}

    def header(self):
        return next(attributes.get("class") for tag, attributes in self.tags if tag == "header")

    def figure(self, name):
        return json.loads(self.json)[name]


def values(data):
    """The numbers of one Plotly array, which may be packed."""
    if isinstance(data, dict):
        numbers = np.frombuffer(b64decode(data["bdata"]), data["dtype"])
        return numbers.reshape([int(n) for n in data.get("shape", str(numbers.size)).split(",")])
    return np.array(data)


def trace(figure, name):
    return next(one for one in figure["data"] if one.get("name") == name)


def make_run(name, cycles):
    return CaseResult(
        name=name,
        products=64 * cycles - 1_600,
        lanes=64,
        cycles=cycles,
        contract_cycles=cycles,
        stall_cycles=0,
        unexplained=0,
        compared=384,
        mismatches=0,
    )


def make_system(name, speed, published=None, source="", **breakdown):
    return Result(
        system=name.lower(),
        model="llama-2-7b",
        label=name,
        context=128,
        tpot_ms=1000 / speed,
        decode_tokens_per_s=speed,
        bytes_per_token=3_430_000_000,
        bandwidth_used=0.659,
        cycles_per_token=2_310_000,
        bottleneck="memory",
        breakdown=breakdown,
        published_tokens_per_s=published,
        published_source=source,
        assumptions=("The host takes no time.", f"Only {name} assumes this."),
    )


@pytest.fixture
def result():
    rng = np.random.default_rng(1)
    exact = rng.normal(size=(6, 64)).astype(np.float32)
    return DemoResult(
        model="SmolLM2-135M-Instruct",
        prompt="The capital of France is",
        continuation=" Paris",
        layer="model.layers.4.mlp.down_proj",
        rows=64,
        inputs=96,
        tokens=6,
        prompt_tokens=5,
        sparsity="mixed 2/4/8/16:16",
        bits=4,
        group_size=32,
        output_bits=16,
        block=16,
        keep=rng.choice([2, 4, 8, 16], size=(4, 6)),
        float_output=exact,
        golden_output=(exact + rng.normal(scale=0.1, size=exact.shape)).astype(np.float32),
        relative_error=0.1834,
        pruning_error=0.1402,
        quantisation_error=0.1121,
        runs=[
            make_run("mixed", 27_669),
            make_run("uniform 2:16", 9_150),
        ],
        run_errors=[0.1834, 0.4567],
        systems=[
            make_system("GPU", 151.0, attention=2.0, output=4.6),
            make_system("U280", 88.4, 55.0, "FPGA 2024, Figure 1", attention=3.0, head=8.3),
        ],
        modules=11,
        verilog_bytes=214_332,
        elaboration_s=1.27,
        seconds={"build in Verilator": 14.2},
    )


@pytest.fixture
def page(tmp_path):
    def draw(result, **options):
        path = tmp_path / "report.html"
        write_report(result, path, **options)
        return Page(path.read_text(encoding="utf-8"))

    return draw


def test_the_page_loads_nothing(result, page):
    drawn = page(result)
    assert drawn.source.count("plotly.js v") == 1, "the library is inside, once"
    assert not [tag for tag, _ in drawn.tags if tag in ("link", "iframe", "img", "base")]
    for tag, attributes in drawn.tags:
        assert not {"src", "href", "srcset", "data"} & attributes.keys(), (tag, attributes)
    style = drawn.source.split("<style>")[1].split("</style>")[0]
    assert "url(" not in style and "@import" not in style


def test_no_button_sends_a_figure_away(result, page):
    own = page(result).source.rsplit("<script>", 1)[1]
    assert "showSendToCloud: false" in own and 'modeBarButtons: [["toImage"]]' in own


def test_every_figure_has_its_place(result, page):
    drawn = page(result)
    assert json.loads(drawn.json).keys() == FIGURES == drawn.places()


def test_verdict_of_a_run_that_passed(result, page):
    sentence = "Bit-exact: 384 of 384 outputs equal golden; 27,669 cycles, as the contract says."
    assert verdict(result) == sentence
    drawn = page(result)
    assert sentence in drawn.text
    assert drawn.header() is None and drawn.bad == []


def test_verdict_of_wrong_outputs(result, page):
    wrong = replace(result, runs=[result.runs[0], replace(result.runs[1], mismatches=5)])
    drawn = page(wrong)
    assert verdict(wrong) == "Failed: 5 of 768 outputs differ from golden."
    assert verdict(wrong) in drawn.text and "Bit-exact" not in drawn.text
    assert drawn.header() == "failed" and drawn.bad == ["5 of 384"]


def test_verdict_of_wrong_cycles(result, page):
    late = replace(result, runs=[replace(result.runs[0], cycles=27_662), result.runs[1]])
    drawn = page(late)
    assert verdict(late) == "Failed: 1 of 2 runs differ from the contract's cycles (mixed)."
    assert drawn.header() == "failed" and drawn.bad == ["-7"]


def test_verdict_of_both(result):
    run = replace(result.runs[0], cycles=27_670, mismatches=384)
    assert verdict(replace(result, runs=[run])) == (
        "Failed: 384 of 384 outputs differ from golden; "
        "1 of 1 runs differ from the contract's cycles (mixed)."
    )


@pytest.mark.parametrize("field", ["model", "prompt", "continuation", "layer", "sparsity"])
def test_text_of_the_record_is_escaped(result, page, field):
    drawn = page(replace(result, **{field: HOSTILE}))
    assert HOSTILE in drawn.text
    assert HOSTILE not in drawn.source


def test_text_in_figures_is_escaped(result, page):
    system = replace(result.systems[1], label=HOSTILE, published_source=HOSTILE)
    system = replace(system, breakdown={HOSTILE: 1.0})
    runs = [replace(result.runs[0], name=HOSTILE)]
    drawn = page(replace(result, systems=[system], runs=runs, run_errors=[0.1]))
    assert HOSTILE not in drawn.source
    assert json.loads(drawn.json).keys() == FIGURES, "the data still ends where it should"
    # Plotly reads HTML in its texts: there, too, the tag has to be text.
    names = [note["text"] for note in drawn.figure("cycles")["layout"]["annotations"]]
    assert names == ['&lt;script&gt;alert("x")&lt;/script&gt;&amp;&nbsp; <b>27,669</b>']


def test_sparsity_map(result, page):
    drawn = page(result)
    (heatmap,) = drawn.figure("sparsity-map")["data"]
    assert np.array_equal(values(heatmap["z"]), result.keep)
    for n in (2, 4, 8, 16):
        place = (n - heatmap["zmin"]) / (heatmap["zmax"] - heatmap["zmin"])
        below = [colour for at, colour in heatmap["colorscale"] if at <= place][-1]
        above = next(colour for at, colour in heatmap["colorscale"] if at >= place)
        assert below == above == f"var(--n{n})"
        blocks = int((result.keep == n).sum())
        assert f"{n}:16 · {100 * blocks / 24:.1f} % ({blocks} blocks)" in drawn.text


def test_sparsity_map_of_one_n(result, page):
    drawn = page(replace(result, keep=np.full((4, 6), 8)))
    (heatmap,) = drawn.figure("sparsity-map")["data"]
    assert {colour for _, colour in heatmap["colorscale"]} == {"var(--n8)"}
    assert "8:16 · 100.0 % (24 blocks)" in drawn.text


def test_error_figures(result, page):
    drawn = page(result)
    line, points = drawn.figure("error-scatter")["data"]
    assert np.array_equal(values(points["x"]), result.float_output.ravel())
    assert np.array_equal(values(points["y"]), result.golden_output.ravel())
    assert line["x"] == line["y"]

    (bars,) = drawn.figure("error-histogram")["data"]
    counts, edges = np.histogram(result.golden_output - result.float_output, bins=60)
    assert np.array_equal(values(bars["y"]), counts) and counts.sum() == 384
    assert values(bars["x"]) == pytest.approx((edges[1:] + edges[:-1]) / 2)

    (parts,) = drawn.figure("error-parts")["data"]
    assert values(parts["x"]) == pytest.approx([14.02, 11.21, 18.34])


def test_a_large_scatter_is_thinned(result, page):
    many = np.arange(8_000, dtype=np.float32).reshape(4, 2_000)
    drawn = page(replace(result, float_output=many, golden_output=many + 1))
    x, y = (values(drawn.figure("error-scatter")["data"][1][axis]) for axis in "xy")
    assert len(x) == MAX_POINTS and np.array_equal(y, x + 1)
    assert x[0] == 0 and x[-1] == 7_999 and np.diff(x).max() <= 2
    assert "5,000 of 8,000 outputs" in drawn.text


def test_cycles_and_utilisation(result, page):
    drawn = page(result)
    cycles = drawn.figure("cycles")
    assert trace(cycles, "measured")["x"] == [27_669, 9_150]
    assert trace(cycles, "contract")["x"] == [27_669, 9_150]
    assert "uniform 2:16 9,150 9,150 0 584,000 99.73 % 45.7 % 0 of 384" in drawn.text

    utilisation = drawn.figure("utilisation")
    (bars,) = utilisation["data"]
    assert bars["x"] == pytest.approx([100 * run.utilisation for run in result.runs])
    (goal,) = utilisation["layout"]["shapes"]
    assert goal["x0"] == goal["x1"] == 100 * UTILISATION_GOAL == 95


def test_estimates(result, page):
    drawn = page(result)
    speed = drawn.figure("decode-speed")
    assert trace(speed, "estimate")["x"] == [151.0, 88.4]
    published = trace(speed, "published, measured")
    assert (published["x"], published["y"]) == ([55.0], [1]), "beside the U280, not the GPU"
    assert published["customdata"] == ["FPGA 2024, Figure 1"]

    times = drawn.figure("time-breakdown")
    assert trace(times, "attention")["x"] == [2.0, 3.0]
    assert trace(times, "output")["x"] == [4.6, 0.0]
    assert trace(times, "head")["x"] == [0.0, 8.3]
    assert len({one["marker"]["color"] for one in times["data"]}) == 3

    assert "U280 llama-2-7b, context 128 88.4 55.0 11.31 3.43 65.9 % 2,310,000 memory" in drawn.text
    assert "U280 88 tokens/s estimate, llama-2-7b" in drawn.text
    assert "U280, 55.0 tokens/s: FPGA 2024, Figure 1" in drawn.text
    assert (
        "All systems The host takes no time. GPU Only GPU assumes this. U280 Only U" in drawn.text
    )
    assert "the assumptions below say what is left out" in drawn.text


def test_without_estimates_the_section_is_left_out(result, page):
    drawn = page(replace(result, systems=[]))
    assert json.loads(drawn.json).keys() == drawn.places() == LAYER_FIGURES
    assert "End-to-end" not in drawn.text and "tokens/s" not in drawn.text


def test_the_tokens_are_the_prompts_and_those_that_fill_up_the_lanes(result, page):
    said = (
        "by 6 tokens, 5 of the prompt and 1 that the model says next, so that no lane is idle. In"
    )
    assert said in page(result).text
    assert "by 5 tokens. In" in page(replace(result, tokens=5)).text


def test_how_it_was_made(result, page):
    drawn = page(result, command="nandu demo --quick")
    assert "The capital of France is Paris" in drawn.text
    for fact in (
        "214 kB",
        "Modules 11",
        "1.27 s",
        "build in Verilator 14.2 s",
        "nandu demo --quick",
    ):
        assert fact in drawn.text


def test_a_path_that_cannot_be_written(result, tmp_path):
    folder = tmp_path / "report.html"
    folder.mkdir()
    with pytest.raises(OutputError, match=r"^cannot write '.*report\.html'"):
        write_report(result, folder)
    assert list(tmp_path.iterdir()) == [folder], "nothing is left beside it"


def test_a_folder_that_cannot_be_made(result, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"^cannot write to the folder"):
        write_report(result, tmp_path / "file" / "report.html")
