"""The command `nandu compile`: its options."""

from pathlib import Path
from typing import Annotated

import typer

from nandu.terminal import print_json, show_record


def compile_model(
    model: Annotated[
        str,
        typer.Argument(
            help="smollm2-135m, a GGUF file or a folder of transformers; or a shape: one of "
            "`nandu list models`, a YAML file, a folder with only a config.json."
        ),
    ],
    target: Annotated[str, typer.Option(help="A board, as in `nandu list boards`.")],
    out: Annotated[Path, typer.Option(help="The folder that is written.")],
    plan: Annotated[
        Path | None, typer.Option(help="The file of a plan; see `nandu compress`.")
    ] = None,
    positions: Annotated[int, typer.Option(help="Tokens that the cache has room for.")] = 2048,
    chunk: Annotated[int, typer.Option(help="Tokens of a prompt's program: 1, 2, 4 or 8.")] = 8,
    bits: Annotated[
        int | None, typer.Option(help="Of a weight, for a model of which only the shape is known.")
    ] = None,
    keep: Annotated[
        int | None, typer.Option(help="Weights of 16 that are kept, for such a model.")
    ] = None,
    programs: Annotated[
        int, typer.Option(help="Positions from 0 on for which programs are written.")
    ] = 16,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A field of the cores' configuration."),
    ] = None,
    rtl: Annotated[bool, typer.Option(help="Write the Verilog of the cores, too.")] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on standard output.")
    ] = False,
) -> None:
    """Compile a language model for a board: images of the memories, programs, and the RTL.

    Example: nandu compile llama-2-7b --target u280 --bits 4 --out out/llama
    """
    from nandu import compilation as command
    from nandu.progress import Stages

    options = command.Options(
        model=model,
        target=target,
        out=out,
        plan=plan,
        positions=positions,
        chunk=chunk,
        bits=bits,
        keep=keep,
        programs=programs,
        settings=tuple(settings or ()),
        rtl=rtl,
    )
    with Stages() as stages:
        record = command.run(options, stages)
    if as_json:
        print_json(record)
    else:
        show_record({key: value for key, value in record.items() if key not in LONG})


LONG = ("tiles", "images", "files", "bytes_of_lengths")
"""Keys of the record that are for machines."""
