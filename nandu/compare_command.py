"""The command `nandu compare`: its options."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from nandu.terminal import output, plain, print_json


def compare_design(
    design: Annotated[
        str, typer.Argument(help="A system, as for `nandu simulate`, or STUDY#POINT.")
    ],
    model: Annotated[
        list[str] | None, typer.Option(help="As in `nandu list models`; may be repeated.")
    ] = None,
    gpus: Annotated[
        list[str] | None,
        typer.Option(help="As in `nandu list devices`, with commas between; may be repeated."),
    ] = None,
    prefill: Annotated[int | None, typer.Option(help="Tokens of each prompt; 128.")] = None,
    decode: Annotated[int | None, typer.Option(help="Decode steps after it; 128.")] = None,
    batch: Annotated[int | None, typer.Option(help="Sequences at a time; 1.")] = None,
    gpu_bits: Annotated[
        list[float] | None,
        typer.Option(help="Bits of the modelled GPUs' weights; 16. May be repeated."),
    ] = None,
    gpu_software: Annotated[
        str, typer.Option(help="The program of the modelled GPUs: vllm, lmdeploy, llama-cpp, ...")
    ] = "vllm",
    techniques: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="NAME[:k=v,...]", help="A technique of the design."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A field of the design."),
    ] = None,
    baselines: Annotated[
        Path | None,
        typer.Option(help="Folder of what `nandu measure-gpu` wrote; by default baselines."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on standard output.")
    ] = False,
) -> None:
    """Set a design beside GPUs: published, modelled and measured ones, each labelled so.

    Example: nandu compare flightllm-u280 --model llama-2-7b --gpus rtx-4090,a100-sxm-80gb
    """
    from nandu import run_comparison as command

    asked = command.Asked(model or (), prefill, decode, batch, settings or (), techniques or ())
    rows = command.run(design, asked, gpus, gpu_bits or [16], gpu_software, baselines)
    if as_json:
        print_json({"rows": [dataclasses.asdict(row) for row in rows]})
    else:
        output.print(plain("\n".join(command.lines(rows))))
