"""The command `nandu compress`: its options."""

from pathlib import Path
from typing import Annotated

import typer

from nandu.terminal import print_json, show_record


def compress(
    model: Annotated[
        str, typer.Argument(help="smollm2-135m, a GGUF file, or a folder of transformers.")
    ],
    plan: Annotated[
        Path | None, typer.Option(help="A plan's file: each layer's bits and sparsity.")
    ] = None,
    bits: Annotated[
        float | None, typer.Option(help="Instead, average bits of a weight, and make a plan.")
    ] = None,
    kept: Annotated[
        float | None, typer.Option(help="Fraction of all weights that the new plan keeps.")
    ] = None,
    group_size: Annotated[
        int, typer.Option(help="Inputs that share a scale, in the new plan.")
    ] = 64,
    out: Annotated[
        Path | None, typer.Option(help="The new plan's file; by default its name tells the budget.")
    ] = None,
    tokens: Annotated[
        int, typer.Option(help="Of the text that the compressed model is judged on.")
    ] = 1024,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on standard output.")
    ] = False,
) -> None:
    """Prune and quantise a language model by a plan, and say what that costs.

    Example: nandu compress smollm2-135m --bits 4 --kept 0.75
    """
    from nandu import compress as command
    from nandu.progress import Stages

    options = command.Options(model, plan, bits, kept, group_size, out, tokens)
    with Stages() as stages:
        record = command.run(options, stages)
    if as_json:
        print_json(record)
    else:
        show_record(record)
