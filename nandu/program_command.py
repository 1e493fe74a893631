"""The command `nandu program`: an image onto a board, through openFPGALoader."""

import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Annotated

import typer

from nandu.bitstream_command import FOLDER
from nandu.terminal import errors, exit_unless, output, plain, print_json

LOADER = "openFPGALoader"


def program(
    board: Annotated[str, typer.Argument(metavar="BOARD", help="ulx3s-85f or ecp5-evn.")],
    image: Annotated[
        Path | None,
        typer.Option(help="The image; by default the last one that `nandu bitstream` built."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show the command; no board is needed.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on standard output.")
    ] = False,
) -> None:
    """Load an image into a board's FPGA, until its power goes off.

    Example: nandu program ulx3s-85f --image out/selftest/image.bit --dry-run
    """
    from bitstreams.boards import load_board
    from bitstreams.open_flow import IMAGE
    from golden.spec.errors import ConfigError, ToolError

    path = image or FOLDER / board / IMAGE
    command = [LOADER, "--board", load_board(board).loader, str(path)]
    if not dry_run:
        if not path.is_file():
            raise ConfigError(
                f"there is no image {str(path)!r}; build it with `nandu bitstream {board} DESIGN`, "
                "or name one with --image"
            )
        if shutil.which(LOADER) is None:
            raise ToolError(
                f"{LOADER} is not on the PATH; install it (Debian and Ubuntu: apt install "
                "openfpgaloader), or see the command with --dry-run"
            )
    shown = shlex.join(command)
    if as_json:
        print_json({"board": board, "command": shown, "dry_run": dry_run})
    else:
        output.print(plain(shown))
    if not dry_run:
        status = subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode
        if status:
            errors.print(f"[red]failed:[/] {LOADER} ended with {status}")
        exit_unless(status == 0)
