"""The command `nandu measure-gpu`: its options."""

import time
from pathlib import Path
from typing import Annotated

import typer

from golden.spec.errors import ConfigError
from nandu.terminal import errors, output, plain, print_json


def measure_gpu(
    model: Annotated[list[str], typer.Option(help="As in `nandu list models`; may be repeated.")],
    prefill: Annotated[int, typer.Option(help="Tokens of each prompt.")] = 128,
    decode: Annotated[int, typer.Option(help="Decode steps after it.")] = 128,
    batch: Annotated[list[int] | None, typer.Option(help="Sequences; 1. May be repeated.")] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help="fp16, bf16 or int8; by default all that the card has."),
    ] = None,
    repeats: Annotated[int, typer.Option(help="Runs whose median is given.", min=1)] = 5,
    out: Annotated[
        Path | None,
        typer.Option(help="The file to write; by default baselines/ and the card's name."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on standard output.")
    ] = False,
) -> None:
    """Time prefill and decode of models on this machine's CUDA card, and write a baseline.

    Example: nandu measure-gpu --model llama-2-7b --model opt-13b
    """
    from golden import model_shapes
    from nandu import measure_gpu as command
    from nandu.run_comparison import BASELINES
    from sim.workload import Workload

    shapes = [model_shapes.load(name) for name in model]
    workloads = [Workload(batch=each, prefill=prefill, decode=decode) for each in batch or [1]]
    if min(prefill, decode) < 1:
        raise ConfigError(f"--prefill is {prefill} and --decode {decode}; at least 1 is needed")
    for name in formats or ():
        if name not in command.FORMATS:
            raise ConfigError(f"--format is {name!r}; known are {', '.join(command.FORMATS)}")
    card = command.find_card()
    rows = []
    for shape in shapes:
        for workload in workloads:
            for name in formats or command.formats_of(card):
                begin = time.monotonic()
                rows.append(command.measure(card, shape, workload, name, repeats))
                took = time.monotonic() - begin
                errors.print(plain(f"{shape.name}, {workload.batch}, {name}: {took:.1f} s"))
    path = out or BASELINES / command.file_name(card)
    command.write_baseline(path, card, rows)
    if as_json:
        listed = [row.model_dump() for row in rows]
        print_json({"device": card.name, "rows": listed, "baseline": str(path)})
    else:
        for row in rows:
            joules = row.joules_per_token
            energy = "" if joules is None else f", {joules:.3f} J/token"
            output.print(
                plain(
                    f"{row.model}, batch {row.batch}, {row.format}: first token "
                    f"{row.ttft_ms:.2f} ms, {row.tokens_per_s:.1f} tokens/s{energy}"
                )
            )
        output.print(plain(f"baseline: {path}"))
