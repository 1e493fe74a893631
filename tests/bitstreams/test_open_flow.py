import json
from importlib.metadata import version

import pytest
from small_image import BOARD, DESIGN, SETTINGS, SMALL

from bitstreams import images, manifest, open_flow
from bitstreams.boards import load_board
from bitstreams.designs import check_fits, find_design
from bitstreams.image_simulation import received, record_pins
from bitstreams.open_flow import NETLIST
from bitstreams.sparse_chain_selftest import expected_line
from golden.spec.errors import ConfigError, ToolError
from nandu.bitstream_command import _too_slow

SETS = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    return images.build_image(BOARD, DESIGN, SETTINGS, folder)


def test_the_whole_flow_gives_an_image_and_its_manifest(built):
    folder, found = built.folder, built.manifest
    assert {path.name for path in folder.iterdir()} == {
        *("image.v", "pins.lpf", "netlist.v", "image.bit"),
        *("utilisation.txt", "timing.txt", "manifest.json"),
    }
    assert (folder / "image.bit").read_bytes()[:2] == b"\xff\x00"  # how an ECP5's image begins
    assert found.sha256 == manifest.file_digest(folder / "image.bit")
    assert found.tools["pyosys"] == version("pyosys")
    assert found.resources["dsp"] == 2
    assert 0 < found.resources["lut"] < 2000
    assert built.build.met
    assert found.fmax_mhz >= found.clock_mhz == 100
    assert "MULT18X18D" in (folder / "utilisation.txt").read_text()
    assert manifest.read_manifest(folder / "manifest.json") == found


def test_timing_that_is_not_met_names_its_path(built):
    slow = images.Image(
        built.folder,
        built.manifest,
        open_flow.Build({}, 80.0, 100.0, (), ("design.from_here", "design.to_there")),
    )
    (sentence,) = _too_slow(slow)
    assert "reaches 80.0 MHz, 100 MHz are needed" in sentence
    assert "from design.from_here to design.to_there" in sentence
    assert _too_slow(built) == []


def test_a_damaged_manifest_is_refused(built, tmp_path, run):
    path = tmp_path / "manifest.json"
    whole = (built.folder / "manifest.json").read_text()
    fields = json.loads(whole)
    for text in ("", whole[:-20], "[]", whole.replace("100", "101"), json.dumps({"version": 1})):
        path.write_text(text)
        with pytest.raises(ConfigError, match=r"is damaged; build the image again"):
            manifest.read_manifest(path)
    del fields["seed"], fields["digest"]
    path.write_text(json.dumps({**fields, "digest": manifest._digest(fields)}))
    status, out, err = run("bitstream", BOARD, DESIGN, "--check", "--out", tmp_path)
    assert (status, out) == (2, "")
    assert "manifest.json' is damaged" in err.replace("\n", "")


def test_a_manifest_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"^cannot read the manifest .*No such file"):
        images.check_image(tmp_path)


def test_differences_between_builds_are_named(built):
    fields = manifest.asdict(built.manifest)
    other = manifest.Manifest(**{**fields, "seed": 2, "tools": {**fields["tools"], "pyosys": "1"}})
    assert manifest.differences(built.manifest, built.manifest) == []
    assert manifest.differences(built.manifest, other) == [
        "seed: 1 before, 2 now",
        f"tools.pyosys: {version('pyosys')} before, 1 now",
    ]


def test_a_missing_tool_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    message = r"^yowasp-ecppack is not installed; run `make setup`, or `pip install yowasp-nextpnr"
    with pytest.raises(ToolError, match=message):
        open_flow._tool("yowasp-ecppack", folder=tmp_path)


def test_a_design_that_does_not_fit_says_by_how_much_and_what_would(run, tmp_path):
    status, _, err = run("bitstream", BOARD, DESIGN, "--set", "chains=20", "--out", tmp_path)
    assert status == 2
    assert "needs 160 multipliers, 4 more than the 156 of the board ulx3s-85f" in err
    assert "the largest that fits has chains=19" in err
    assert list(tmp_path.iterdir()) == []
    used = {"dsp": 32, "bram": 12, "lut": 100_000, "ff": 6000}
    design = find_design(DESIGN)
    with pytest.raises(
        ConfigError, match=r"needs 100000 look-up tables, 16360 more.*has chains=3$"
    ):
        check_fits(load_board(BOARD), design, design.config(), used)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ulx3", DESIGN], "did you mean ulx3s-85f?"),
        ([BOARD, "sparse-chain"], "did you mean sparse-chain-selftest?"),
        ([BOARD, DESIGN, "--flow", "quartus"], "there is no flow 'quartus'"),
        ([BOARD, DESIGN, "--set", "chain=2"], "there is no setting 'chain'"),
    ],
)
def test_bad_input_of_bitstream(run, words, message):
    status, out, err = run("bitstream", *words)
    assert (status, out) == (2, "")
    assert message in err


def test_program_shows_its_command_without_a_board(run, monkeypatch, tmp_path):
    image = tmp_path / "image.bit"
    status, out, _ = run("program", BOARD, "--image", image, "--dry-run", "--json")
    assert (status, json.loads(out)["command"]) == (0, f"openFPGALoader --board ulx3s {image}")
    status, _, err = run("program", BOARD, "--image", image)
    assert (status, "there is no image" in err) == (2, True)
    image.write_bytes(b"")
    monkeypatch.setenv("PATH", str(tmp_path))
    status, _, err = run("program", BOARD, "--image", image)
    assert (status, "openFPGALoader is not on the PATH; install it" in err) == (2, True)


def test_program_runs_the_loader_and_fails_with_it(run, monkeypatch, tmp_path):
    image, loader = tmp_path / "image.bit", tmp_path / "openFPGALoader"
    image.write_bytes(b"")
    for status in (0, 3):
        loader.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/said\nexit {status}\n')
        loader.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
        assert run("program", "ecp5-evn", "--image", image)[0] == min(status, 1)
        assert (tmp_path / "said").read_text() == f"--board ecp5_evn {image}\n"


@pytest.mark.full
def test_a_second_build_gives_the_same_bytes(run, built):
    status, out, _ = run("bitstream", BOARD, DESIGN, "--check", "--out", built.folder, "--json")
    found = json.loads(out)
    assert (status, found["reproducible"]) == (0, True)
    assert found["sha256"] == built.manifest.sha256


@pytest.mark.full
def test_four_chains_of_eight_reach_100_mhz(run, tmp_path):
    status, out, _ = run("bitstream", BOARD, DESIGN, "--json", "--out", tmp_path)
    found = json.loads(out)
    assert (status, found["dsp"]) == (0, 32)
    assert found["fmax_mhz"] >= 100


@pytest.mark.full
def test_the_other_board_gets_an_image_too(run, tmp_path):
    status, out, _ = run("bitstream", "ecp5-evn", DESIGN, *SETS, "--json", "--out", tmp_path)
    assert (status, json.loads(out)["fmax_mhz"] > 100) == (0, True)
    pins = record_pins((tmp_path / NETLIST).read_text(), SMALL.report_cycles + 100)
    assert received(pins.uart, SMALL.bit_cycles) == expected_line(SMALL)
    assert pins.leds[-1] & 0b11 == 0b10  # LED 0 shines; this board's do so at 0


@pytest.mark.full
def test_eighteen_chains_fill_the_part(run, tmp_path):
    status, out, _ = run(
        "bitstream",
        BOARD,
        DESIGN,
        "--set",
        "chains=18",
        "--set",
        "clock_mhz=75",
        "--json",
        "--out",
        tmp_path,
    )
    assert (status, json.loads(out)["dsp"]) == (0, 144)


@pytest.mark.full
def test_a_clock_that_is_too_fast_fails(run, tmp_path):
    words = [*SETS, "--set", "clock_mhz=200", "--json", "--out", tmp_path]
    status, out, err = run("bitstream", BOARD, DESIGN, *words)
    assert (status, json.loads(out)["fmax_mhz"] < 200) == (1, True)
    assert "its slowest path goes from design." in err
