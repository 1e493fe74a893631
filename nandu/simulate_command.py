"""The command `nandu simulate`: its options."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from golden.spec.errors import ConfigError
from nandu.terminal import output, plain, print_json


def simulate(
    system: Annotated[
        str, typer.Argument(help="As in `nandu list systems`, or a YAML file of your own.")
    ],
    model: Annotated[str, typer.Option(help="As in `nandu list models`.")],
    prefill: Annotated[int, typer.Option(help="Tokens of each prompt.")] = 128,
    decode: Annotated[int, typer.Option(help="Decode steps after it.")] = 128,
    batch: Annotated[int, typer.Option(help="Sequences at a time.")] = 1,
    techniques: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="NAME[:k=v,...]",
            help="A technique, as in `nandu list techniques`; applied in the order given.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A field of the system, as devices=2."),
    ] = None,
    trace: Annotated[
        Path | None, typer.Option(help="Write a time line for Perfetto (JSON).")
    ] = None,
    requests: Annotated[
        Path | None,
        typer.Option(help="Serve the requests of a CSV file: arrival_s, prefill, decode."),
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Serve requests that arrive at random, so many per second.")
    ] = None,
    count: Annotated[int | None, typer.Option(help="How many of them.")] = None,
    lengths: Annotated[
        str, typer.Option(help="Their tokens: fixed, or exponential about --prefill and --decode.")
    ] = "fixed",
    seed: Annotated[int, typer.Option(help="Of arrivals and lengths.")] = 0,
    policy: Annotated[
        str,
        typer.Option(
            metavar="NAME[:k=v,...]", help="continuous, disaggregated, prepacking or static."
        ),
    ] = "continuous",
    max_ttft: Annotated[
        float, typer.Option(help="Milliseconds to the first token that count as good.")
    ] = 200.0,
    max_tpot: Annotated[
        float, typer.Option(help="Milliseconds to each further token that count as good.")
    ] = 100.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on standard output.")
    ] = False,
) -> None:
    """Simulate a language model on a system: time, energy, cost, and what limits it.

    Example: nandu simulate gpu-a100-sxm-80gb --model llama-2-7b --prefill 128 --decode 128
    """
    from nandu import run_serving as serving
    from nandu import run_simulation as command

    asked = serving.Asked(
        requests, rate, count, lengths, seed, policy, serving.Limits(max_ttft, max_tpot)
    )
    if asked.any:
        if batch != 1 or trace is not None:
            raise ConfigError("requests form their own batches and have no --trace; see --policy")
        record = serving.run(
            system, model, (prefill, decode), settings or [], techniques or [], asked
        )
        show(record, serving.lines, as_json)
        return
    workload = {"prefill": prefill, "decode": decode, "batch": batch}
    record = command.run(system, model, workload, settings or [], trace, techniques or [])
    show(record, command.lines, as_json)


def show(
    record: dict[str, Any], lines: Callable[[dict[str, Any]], Iterable[str]], as_json: bool
) -> None:
    """Print a result as JSON or in lines."""
    if as_json:
        print_json(record)
    else:
        output.print(plain("\n".join(lines(record))))
