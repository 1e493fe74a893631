"""Images and projects by name: built with their manifest, and built again to compare."""

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bitstreams import open_flow, vivado_flow
from bitstreams.boards import check_name, load_board
from bitstreams.designs import find_design
from bitstreams.manifest import (
    MANIFEST,
    Manifest,
    differences,
    file_digest,
    read_manifest,
    write_manifest,
)
from bitstreams.vivado_boards import load_vivado_board

FLOWS = ("open", "vivado")


@dataclass(frozen=True)
class Image:
    """An image in a folder, with its manifest and its timing; a project has no timing yet."""

    folder: Path
    manifest: Manifest
    build: open_flow.Build | None


def build_image(
    board_name: str,
    design_name: str,
    settings: Mapping[str, int],
    folder: Path,
    *,
    flow: str = "open",
    seed: int = 1,
    step: open_flow.Step = lambda _: None,
) -> Image:
    """Write an image, or a vendor's project, with its manifest to `folder`.

    Args:
        settings: fields of the design's configuration. flow: one of `FLOWS`. seed, step: as of
            `open_flow.build`; a project has no seed.

    Raises:
        ConfigError: an unknown flow, board or design, or one that does not fit the other.
        ToolError: a tool is missing or failed.
    """
    check_name("flow", flow, list(FLOWS))
    design = find_design(design_name)
    config = design.config(**settings)
    built: open_flow.Build | None = None
    packages: tuple[str, ...]
    files: tuple[str, ...]
    if flow == "open":
        board = load_board(board_name)
        built = open_flow.build(board, design, config, folder, seed=seed, step=step)
        resources = dict(built.used)
        packages, files = open_flow.PACKAGES, open_flow.FILES
    else:
        project = load_vivado_board(board_name)
        resources = vivado_flow.write_project(project, design, config, folder, step)
        packages, files = vivado_flow.PACKAGES, vivado_flow.FILES
    manifest = Manifest(
        board=board_name,
        design=design_name,
        flow=flow,
        settings=asdict(config),
        seed=seed,
        tools={name: version(name) for name in packages},
        files={name: file_digest(folder / name) for name in files},
        resources=resources,
        fmax_mhz=round(built.fmax_mhz, 3) if built else None,
        clock_mhz=config.clock_mhz,
        image=open_flow.IMAGE if built else None,
    )
    write_manifest(folder / MANIFEST, manifest)
    return Image(folder, manifest, built)


def check_image(folder: Path, step: open_flow.Step = lambda _: None) -> tuple[Image, list[str]]:
    """Build the image in `folder` again elsewhere; return the new one and what differs.

    Also compared are the files in `folder` with their manifest.

    Raises:
        ConfigError: the manifest is missing or damaged. ToolError: a tool is missing or failed.
    """
    old = read_manifest(folder / MANIFEST)
    changed = [
        f"{name}: the file is not the one in the manifest"
        for name, digest in old.files.items()
        if not (folder / name).is_file() or file_digest(folder / name) != digest
    ]
    with tempfile.TemporaryDirectory(prefix="nandu-") as aside:
        again = build_image(
            old.board,
            old.design,
            old.settings,
            Path(aside),
            flow=old.flow,
            seed=old.seed,
            step=step,
        )
    return again, [*changed, *differences(old, again.manifest)]


def record(image: Image, folder: Path, reproducible: bool | None) -> dict[str, Any]:
    """Return what the command line shows of an image that lies in `folder`.

    Args:
        reproducible: whether a second build gave the same; None if there was none.
    """
    manifest = image.manifest
    return {
        "board": manifest.board,
        "design": manifest.design,
        "flow": manifest.flow,
        "image": str(folder / manifest.image) if manifest.image else None,
        "sha256": manifest.sha256,
        "fmax_mhz": manifest.fmax_mhz,
        "clock_mhz": manifest.clock_mhz,
        **{name: manifest.resources[name] for name in ("lut", "ff", "bram", "dsp")},
        "manifest": str(folder / MANIFEST),
        "reproducible": reproducible,
    }
