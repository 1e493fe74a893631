import ast
import json
import re
import shutil
import subprocess
from types import SimpleNamespace

import pytest
from small_image import DESIGN, SETTINGS

from bitstreams import images, vivado_flow
from bitstreams.designs import find_design
from bitstreams.manifest import file_digest
from bitstreams.pll import MMCM_VCO_MHZ, find_mmcm
from bitstreams.vivado_boards import load_vivado_board, vivado_board_names
from golden.spec.errors import ConfigError, ToolError

BOARD = "zcu102"

STUBS = """
proc note {args} { puts $args }
proc unknown {name args} { puts stderr "no Vivado command: $name"; exit 9 }
foreach name {synth_design opt_design place_design phys_opt_design route_design
              report_utilization report_timing_summary write_bitstream} {
  proc $name {args} "note $name {*}\\$args"
}
foreach name {read_verilog read_xdc} {
  proc $name {file} "if {!\\[file exists \\$file\\]} {exit 8}; note $name \\$file"
}
proc get_timing_paths {args} { return path }
proc get_property {name of} { return SLACK_HERE }
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    return images.build_image(BOARD, DESIGN, SETTINGS, folder, flow="vivado")


def test_a_project_has_all_its_files_and_the_planned_multipliers(project):
    found = project.manifest
    assert set(found.files) == set(vivado_flow.FILES)
    assert all(file_digest(project.folder / name) == sha for name, sha in found.files.items())
    assert found.resources["dsp"] == SETTINGS["chains"] * SETTINGS["chain_length"]
    assert (found.image, found.sha256, found.fmax_mhz) == (None, None, None)
    verilog = (project.folder / "image.v").read_text()
    assert len(re.findall(r"^  (IBUFDS|MMCME4_BASE|BUFG) ", verilog, re.M)) == 3


@pytest.mark.skipif(shutil.which("tclsh") is None, reason="there is no tclsh")
@pytest.mark.parametrize(("slack", "status"), [("0.12", 0), ("-0.3", 1)])
def test_its_script_runs_and_names_only_files_that_are_there(project, tmp_path, slack, status):
    script = tmp_path / "run.tcl"
    build = project.folder / "build.tcl"
    script.write_text(STUBS.replace("SLACK_HERE", slack) + f"source {build}\n")
    done = subprocess.run(["tclsh", script], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    steps = [line.split()[0] for line in done.stdout.splitlines()]
    assert steps[:3] == ["read_verilog", "read_xdc", "synth_design"]
    assert steps[-1] == "write_bitstream"
    assert f"-part {load_vivado_board(BOARD).part}" in done.stdout
    assert ("timing is not met" in done.stderr) == bool(status)


def test_its_constraints_place_every_port_once(project):
    board = load_vivado_board(BOARD)
    text = (project.folder / "pins.xdc").read_text()
    placed = dict(re.findall(r"PACKAGE_PIN (\w+) IOSTANDARD \w+\} \[get_ports \{([^}]+)\}", text))
    assert len(placed) == 2 + len(board.leds.pins) + 1
    ports = re.search(r"module image\((.*?)\)", (project.folder / "image.v").read_text())[1]
    names = {port.split("[")[0] for port in placed.values()}
    assert names == {port.strip() for port in ports.split(",")}
    assert "-period 8.000" in text


def test_its_host_example_expects_goldens_line(project):
    text = (project.folder / "read_line.py").read_text()
    ast.parse(text)
    assert "PASS 0 " in text
    assert str(SETTINGS["baud"]) in text


@pytest.mark.parametrize("clock", [100, 125, 200, 75])
def test_an_mmcms_factors_make_the_clock_and_keep_to_its_limits(clock):
    multiplier, divider = find_mmcm(125, clock)
    assert 125 * multiplier == clock * divider
    assert MMCM_VCO_MHZ[0] <= 125 * multiplier <= MMCM_VCO_MHZ[1]


def test_bad_input_of_the_vendor_flow(run, monkeypatch, tmp_path):
    assert vivado_board_names() == [BOARD]
    status, _, err = run("bitstream", "zcu104", DESIGN, "--flow", "vivado", "--out", tmp_path)
    assert (status, "did you mean zcu102?" in err) == (2, True)
    with pytest.raises(ConfigError, match=r"^clock_mhz is 101; no MMCM factors make it"):
        find_mmcm(125, 101)
    monkeypatch.setattr(vivado_flow, "synthesise", lambda *_: SimpleNamespace(dsp=2))
    design = find_design(DESIGN)
    wrong = type(design)(design.config, design.component, lambda _: 3, design.size)
    config = design.config(**SETTINGS)
    with pytest.raises(ToolError, match=r"^Yosys maps the design to 2 multipliers, 3 were planned"):
        vivado_flow.write_project(load_vivado_board(BOARD), wrong, config, tmp_path)


@pytest.mark.full
def test_four_chains_of_eight_for_a_zcu102(run, tmp_path):
    words = ["bitstream", BOARD, DESIGN, "--flow", "vivado", "--json", "--out", tmp_path]
    status, out, _ = run(*words)
    assert (status, json.loads(out)["dsp"]) == (0, 32)
    status, out, _ = run(*words, "--check")
    assert (status, json.loads(out)["reproducible"]) == (0, True)
