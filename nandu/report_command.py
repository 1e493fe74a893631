"""The command `nandu report`: its options."""

from pathlib import Path
from typing import Annotated

import typer

from nandu.terminal import output, plain, print_json


def report(
    study: Annotated[
        Path,
        typer.Argument(
            metavar="STUDY|RESULT",
            help="A study of `nandu explore`, or a file with what `nandu simulate --json` printed.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The page to write.")],
    figures: Annotated[
        Path | None,
        typer.Option(help="Write each figure as SVG and PNG to this folder, too (needs kaleido)."),
    ] = None,
    gpus: Annotated[
        str | None,
        typer.Option(help="GPUs to draw beside, as in `nandu list devices`, commas between."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on standard output.")
    ] = False,
) -> None:
    """Write a page about a study: front, roofline, breakdowns, sensitivity, table.

    Example: nandu report out/u280.study --out out/u280.html
    """
    from nandu.study_data import read_data
    from nandu.study_report import write_figures, write_report
    from sim.compare import DEFAULT_GPUS

    named = DEFAULT_GPUS if gpus is None else tuple(filter(None, map(str.strip, gpus.split(","))))
    drawn = write_report(read_data(study, named), out)
    files = [str(path) for path in write_figures(drawn, figures)] if figures else []
    if as_json:
        print_json({"report": str(out), "figures": list(drawn), "files": files})
    else:
        output.print(plain("\n".join([f"report: {out}", *files])))
