"""The command `nandu bitstream`: its options, and what it prints."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from nandu.terminal import errors, exit_unless, plain, print_json, show_record

FOLDER = Path("out/bitstreams")
"""Where images go unless a folder is named, each board's in one of its own."""


def bitstream(
    board: Annotated[
        str,
        typer.Argument(metavar="BOARD", help="ulx3s-85f, ecp5-evn; zcu102 with --flow vivado."),
    ],
    design: Annotated[str, typer.Argument(metavar="DESIGN", help="sparse-chain-selftest.")],
    flow: Annotated[
        str,
        typer.Option(help="open: Yosys, nextpnr and ecppack; vivado: a project for Vivado."),
    ] = "open",
    out: Annotated[
        Path | None, typer.Option(help="Folder of the image; by default out/bitstreams/BOARD.")
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Build the image in the folder once more, and compare."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the placement.", min=0)] = 1,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A field of the design's configuration."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on standard output.")
    ] = False,
) -> None:
    """Build an FPGA image: synthesised, placed, routed and packed, with a manifest.

    It fails where the design is too slow for its clock, or --check finds another image.

    Example: nandu bitstream ulx3s-85f sparse-chain-selftest --out out/selftest
    """
    folder = out or FOLDER / board
    if check:
        record, failed = _check(board, design, flow, folder)
    else:
        record, failed = _build(board, design, flow, settings, folder, seed)
    (print_json if as_json else show_record)(record)
    for sentence in failed:
        errors.print(f"[red]failed:[/] {plain(sentence)}")
    exit_unless(not failed)


def _build(
    board: str, design: str, flow: str, settings: Sequence[str] | None, folder: Path, seed: int
) -> tuple[dict[str, Any], list[str]]:
    """Return the record of a new image, and what is wrong with it."""
    from bitstreams import images
    from bitstreams.designs import find_design
    from nandu.blocks import settings_of

    fields = settings_of(find_design(design).config, settings or [])
    image = images.build_image(board, design, fields, folder, flow=flow, seed=seed, step=_say)
    return images.record(image, folder, None), _too_slow(image)


def _check(board: str, design: str, flow: str, folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the record of the image in `folder` built again, and in what it differs."""
    from bitstreams import images
    from bitstreams.manifest import MANIFEST, read_manifest
    from golden.spec.errors import ConfigError

    old = read_manifest(folder / MANIFEST)
    if (old.board, old.design, old.flow) != (board, design, flow):
        raise ConfigError(
            f"{str(folder)!r} holds {old.design} for {old.board} by the flow {old.flow}, not "
            f"{design} for {board} by {flow}; name another folder with --out"
        )
    again, differing = images.check_image(folder, _say)
    return images.record(again, folder, not differing), [*differing, *_too_slow(again)]


def _too_slow(image: Any) -> list[str]:
    build = image.build
    if build is None or build.met:
        return []
    begin, end = build.ends
    return [
        f"the design reaches {build.fmax_mhz:.1f} MHz, {build.clock_mhz:g} MHz are needed; its "
        f"slowest path goes from {begin} to {end} (timing.txt has all of it); try another --seed, "
        "or a lower --set clock_mhz"
    ]


def _say(step: str) -> None:
    errors.print(f"{step} ...")
