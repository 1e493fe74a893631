import re

import pytest

from golden.spec.errors import ConfigError
from sim import nand
from sim.nand import PlaneReads, Retry, drive_names, load_drive
from tests.sim.flash_cases import flash


def refuses(message):
    return pytest.raises(ConfigError, match=f"^{re.escape(message)}$")


def test_every_drive_says_where_each_number_comes_from():
    assert drive_names() == ["daisyplus", "instcsd"]
    for name in drive_names():
        drive = load_drive(name)
        assert drive.name == name
        assert drive.unexplained == []


def test_a_number_without_a_source_is_found():
    drive = load_drive("daisyplus")
    bare = drive.model_copy(update={"sources": {}})
    assert "geometry.channels" in bare.unexplained
    assert "timing.read_us" not in bare.unexplained  # it is assumed


def test_the_real_board_is_of_64_gib_and_far_slower_than_the_evaluated_drive():
    real, evaluated = load_drive("daisyplus").flash, load_drive("instcsd").flash
    assert real.geometry.bytes == 64 * 2**30
    rates = [f.geometry.channels * f.timing.channel_mb_per_s for f in (real, evaluated)]
    assert rates == [pytest.approx(532.8), 11200]


def test_units_are_dies_or_planes():
    four = flash(dies_per_channel=2, planes_per_die=4)
    assert (four.units_per_channel, four.planes_per_unit, four.planes_per_sense) == (2, 4, 1)
    together = four.model_copy(update={"plane_reads": PlaneReads.TOGETHER})
    assert (together.units_per_channel, together.planes_per_sense) == (2, 4)
    alone = four.model_copy(update={"plane_reads": PlaneReads.INDEPENDENT})
    assert (alone.units_per_channel, alone.planes_per_unit, alone.planes_per_sense) == (8, 1, 1)


def test_a_page_takes_its_spare_bytes_and_its_command_too():
    assert flash(spare_bytes=24, data_out_us=0.5).page_ps == 1_524_000


def test_mean_repetitions():
    assert Retry(shares=(0.1, 0.02)).mean == pytest.approx(0.14)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 0}, "geometry: channels is 0; input should be greater than 0"),
        ({"read_us": -40}, "timing: read_us.0 is -40; input should be greater than 0"),
        (
            {"read_us": ()},
            "timing: read_us is (); tuple should have at least 1 item after validation, not 0",
        ),
        (
            {"channel_mb_per_s": 1.4e9},
            "timing: channel_mb_per_s is 1400000000.0; "
            "input should be less than or equal to 1000000",
        ),
        ({"retry": {"shares": (0.7, 0.4)}}, "retry: shares sum to 1.1; all pages together are 1"),
        (
            {"plane_reads": "both"},
            "plane_reads is 'both'; input should be 'single', 'together' or 'independent'",
        ),
        (
            {"cache_read": True, "commands_first": False},
            "cache_read needs commands_first; "
            "else a sense waits for the transfers that it is to overlap",
        ),
    ],
)
def test_what_no_flash_is(changes, message):
    with refuses(message):
        flash(**changes)


def test_unknown_drive():
    with refuses("there is no drive 'instcds'; known are daisyplus, instcsd"):
        load_drive("instcds")


def test_a_data_sheet_in_a_file_is_enough(tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_text(
        """
        title: Mine
        flash:
          geometry: {channels: 2, dies_per_channel: 4, planes_per_die: 2, blocks_per_plane: 1024,
                     pages_per_block: 768, page_bytes: 16384, spare_bytes: 1952}
          timing: {read_us: [50, 60, 70], program_us: 700, erase_us: 5000, channel_mb_per_s: 800}
        assumed: {geometry.dies: it looks like it}
        """
    )
    monkeypatch.setattr(nand, "DRIVES", tmp_path)
    with refuses("mine.yaml: assumed names 'geometry.dies'; flash has no such field"):
        load_drive("mine")
    text = (tmp_path / "mine.yaml").read_text().replace("geometry.dies", "geometry")
    (tmp_path / "mine.yaml").write_text(text)
    mine = load_drive("mine")
    assert mine.flash.timing.read_us == (50, 60, 70)
    assert "timing.program_us" in mine.unexplained
