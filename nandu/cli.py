"""The command line: `nandu COMMAND`.

Every command exits with 0 when it is done and right, 1 when a check failed, 2 on bad input and 130
when interrupted. With `--json` it prints one JSON object on standard output; progress and messages
always go to standard error.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from golden.spec.errors import NanduError
from nandu.bitstream_command import bitstream
from nandu.compare_command import compare_design
from nandu.compile_command import compile_model
from nandu.compress_command import compress
from nandu.demo_options import DemoOptions
from nandu.explore_command import explore
from nandu.measure_gpu_command import measure_gpu
from nandu.program_command import program
from nandu.report_command import report
from nandu.simulate_command import simulate
from nandu.terminal import errors, exit_unless, output, plain, print_json, show_demo, show_record

app = typer.Typer(
    help="FPGA and computational-storage co-design for large language models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A field of the block's configuration."),
]
Waves = Annotated[Path | None, typer.Option(help="Write a waveform (FST) to this file.")]
EmissionTarget = Annotated[
    str, typer.Option(help="generic for plain RTL, ultrascale+ or ecp5 for their DSPs.")
]
Backend = Annotated[str, typer.Option(help="rtl for Verilog, hls for C++ for Vitis HLS.")]
BlockName = Annotated[str, typer.Argument(metavar="BLOCK", help="As in `nandu list blocks`.")]

BAD_INPUT = 2
INTERRUPTED = 130


def main() -> None:
    """Run the command line and exit."""
    try:
        app()
    except NanduError as error:
        errors.print(f"[red]error:[/] {plain(str(error))}")
        sys.exit(BAD_INPUT)
    except KeyboardInterrupt:
        errors.print("interrupted")
        sys.exit(INTERRUPTED)


@app.command()
def demo(
    quick: Annotated[bool, typer.Option("--quick", help="Only a slice of the layer.")] = False,
    out: Annotated[Path, typer.Option(help="Folder of the report.")] = DemoOptions.out,
    prompt: Annotated[
        str, typer.Option(help="Text whose activations enter the layer.")
    ] = DemoOptions.prompt,
    layer: Annotated[str, typer.Option(help="Module path of a linear layer.")] = DemoOptions.layer,
    sparsity: Annotated[
        str | None, typer.Option(metavar="N:16", help="One N for all blocks, instead of a mix.")
    ] = DemoOptions.sparsity,
    kept: Annotated[
        float, typer.Option(help="Fraction of weights that a mix keeps.")
    ] = DemoOptions.kept,
    bits: Annotated[
        int, typer.Option(help="Bits of a weight: 2, 3, 4, 5, 6 or 8.")
    ] = DemoOptions.bits,
    group_size: Annotated[
        int, typer.Option(help="Inputs that share a scale.")
    ] = DemoOptions.group_size,
    model: Annotated[
        Path | None, typer.Option(help="A GGUF file instead of SmolLM2-135M-Instruct.")
    ] = DemoOptions.model,
    waves: Waves = None,
    as_json: Json = False,
) -> None:
    """Verify the matrix engine on a layer of a real language model, and write a report.

    Example: nandu demo --quick
    """
    from nandu.demo import run
    from nandu.progress import Stages

    options = DemoOptions(model, prompt, layer, sparsity, kept, bits, group_size, quick, out, waves)
    with Stages() as stages:
        result, report = run(options, stages)
    main_run = result.runs[0]
    record = {
        "passed": result.passed,
        "report": str(report),
        "layer": result.layer,
        "sparsity": result.sparsity,
        "bits": result.bits,
        "rows": result.rows,
        "inputs": result.inputs,
        "tokens": result.tokens,
        "cycles": main_run.cycles,
        "contract_cycles": main_run.contract_cycles,
        "utilisation": main_run.utilisation,
        "mismatches": sum(run.mismatches for run in result.runs),
        "compared": sum(run.compared for run in result.runs),
        "relative_error": result.relative_error,
        "continuation": result.continuation,
        "systems": [dataclasses.asdict(system) for system in result.systems],
        "seconds": stages.seconds,
    }
    if as_json:
        print_json(record)
    else:
        show_demo(record)
    exit_unless(result.passed)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Say what is installed, which version, what is missing and how to get it.

    Example: nandu doctor
    """
    from nandu.doctor import examine

    tools = examine()
    ok = all(tool.ok for tool in tools)
    if as_json:
        print_json({"ok": ok, "tools": [dataclasses.asdict(tool) for tool in tools]})
    else:
        table = Table("tool", "version", "")
        for tool in tools:
            state = "[green]ok[/]" if tool.ok else f"[red]missing:[/] {plain(tool.fix)}"
            table.add_row(tool.name, plain(tool.version), state)
        output.print(table)
    exit_unless(ok)


@app.command("list")
def list_items(
    kind: Annotated[
        str, typer.Argument(help="blocks, systems, models, devices, boards or techniques.")
    ] = "blocks",
    as_json: Json = False,
) -> None:
    """List what there is to generate, simulate and compare.

    Example: nandu list systems
    """
    from nandu.catalogue import items

    found = items(kind)
    if as_json:
        print_json({"items": found})
        return
    table = Table()
    for key in found[0] if found else [kind]:
        table.add_column(key, no_wrap=key == "name")
    for item in found:
        table.add_row(*(plain(str(value)) for value in item.values()))
    output.print(table)


@app.command()
def generate(
    block: BlockName,
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    settings: Settings = None,
    target: EmissionTarget = "generic",
    backend: Backend = "rtl",
    as_json: Json = False,
) -> None:
    """Write a block's Verilog or HLS C++, a description of it and its bench.

    Example: nandu generate matrix-engine --set chains=4 --target ultrascale+ --out build
    """
    from nandu import blocks, hls

    make = hls.generate if hls.is_hls(backend) else blocks.generate
    generated = make(block, settings or [], target, out)
    if as_json:
        print_json(dataclasses.asdict(generated))
    else:
        for file in generated.files:
            output.print(plain(file))


@app.command()
def verify(
    block: BlockName,
    settings: Settings = None,
    target: EmissionTarget = "generic",
    cases: Annotated[
        int | None,
        typer.Option(help="Random jobs to run; by default as many as hit every cross once."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of shapes, operands and pauses.")] = 0,
    waves: Waves = None,
    backend: Backend = "rtl",
    as_json: Json = False,
) -> None:
    """Run a block's bench in Verilator: random jobs against golden and contract, bit for bit.

    With --backend hls it is a C simulation, against golden alone: that has no cycles.

    Example: nandu verify sparse-chain --set m=8 --cases 100 --seed 1
    """
    from nandu import blocks, hls
    from nandu.progress import Stages

    if hls.is_hls(backend):
        found = hls.verify(block, settings or [], target, cases, seed, waves)
        (print_json if as_json else show_record)(found)
        exit_unless(bool(found["passed"]))
        return
    with Stages() as stages, stages.stage(f"Verify {block}") as progress:
        results, hit, crosses = blocks.verify(
            block, settings or [], target, cases, seed, waves=waves, progress=progress
        )
    record = {
        "passed": all(result.passed for result in results),
        "cases": len(results),
        "mismatches": sum(result.mismatches for result in results),
        "cycles": sum(result.cycles for result in results),
        "stall_cycles": sum(result.stall_cycles for result in results),
        "contract_cycles": sum(result.contract_cycles for result in results),
        "utilisation": sum(result.products for result in results)
        / sum(result.lanes * result.cycles for result in results),
        "coverage": hit / crosses,
        "crosses": crosses,
        "seed": seed,
    }
    if as_json:
        print_json(record)
    else:
        show_record(record)
        for result in results:
            if not result.passed:
                output.print(f"[red]failed:[/] {plain(repr(result))}")
    exit_unless(bool(record["passed"]))


@app.command()
def synth(
    block: BlockName,
    target: Annotated[str, typer.Option(help="ultrascale+ or ecp5.")],
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Say what a block takes of an FPGA, by Yosys, before placement.

    Example: nandu synth sparse-chain --target ultrascale+
    """
    from nandu import blocks
    from nandu.progress import Stages

    with Stages() as stages, stages.stage(f"Synthesise {block} for {target}"):
        record = blocks.synth(block, settings or [], target)
    if as_json:
        print_json(record)
    else:
        show_record(record)


@app.command("run-rtl")
def run_rtl(
    model: Annotated[str, typer.Argument(help="smollm2-135m, or a GGUF file.")],
    prompt: Annotated[str | None, typer.Option(help="Text that the core reads.")] = None,
    tokens_in: Annotated[
        str | None, typer.Option(metavar="IDS", help="Instead, token numbers, as 504,3575,282.")
    ] = None,
    tokens: Annotated[int, typer.Option(help="Tokens that the core is to give.")] = 1,
    layers: Annotated[
        int | None, typer.Option(help="Keep only the first decoder layers of the model.")
    ] = None,
    weights: Annotated[
        str, typer.Option(help="w8 for INT8, or q4_1 for the 4-bit codes of the model's file.")
    ] = "w8",
    plan: Annotated[
        Path | None, typer.Option(help="Instead, the file of a plan; see `nandu compress`.")
    ] = None,
    chunk: Annotated[int, typer.Option(help="Tokens of the prompt that a program reads.")] = 8,
    prefill_blocks: Annotated[
        str | None,
        typer.Option(
            metavar="SINK,LOCAL",
            help="The prompt's tokens see so many first blocks of 64, and so many up to their own.",
        ),
    ] = None,
    settings: Settings = None,
    latency: Annotated[int, typer.Option(help="Cycles from an address to its first word.")] = 1,
    bandwidth: Annotated[
        float, typer.Option(help="Words per cycle that each memory port gives, up to 1.")
    ] = 1.0,
    timeline: Annotated[
        Path | None, typer.Option(help="Write the last token's time line for Perfetto (JSON).")
    ] = None,
    waves: Waves = None,
    as_json: Json = False,
) -> None:
    """Run a language model on the RTL of a core, and compare every word with golden.

    Example: nandu run-rtl smollm2-135m --prompt "The capital of France is" --tokens 1
    """
    from nandu import run_rtl as command
    from nandu.progress import Stages

    options = command.options(
        model,
        prompt=prompt,
        tokens_in=tokens_in,
        tokens=tokens,
        layers=layers,
        weights=weights,
        plan=plan,
        chunk=chunk,
        prefill_blocks=prefill_blocks,
        settings=settings or [],
        latency=latency,
        bandwidth=bandwidth,
        timeline=timeline,
        waves=waves,
    )
    with Stages() as stages:
        result = command.run(options, stages)
    record = command.record(options, result)
    if as_json:
        print_json(record)
    else:
        show_record(record)
    exit_unless(bool(record["passed"]))


app.command()(compress)
app.command("compile")(compile_model)
app.command()(simulate)
app.command()(bitstream)
app.command()(program)
app.command()(explore)
app.command("compare")(compare_design)
app.command("report")(report)
app.command("measure-gpu")(measure_gpu)


@app.command()
def validate(
    points: Annotated[
        Path | None, typer.Option(help="A CSV file of measurements; by default the project's.")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="Write the tables of docs/validation.md to this file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Hold the simulator against published measurements.

    Example: nandu validate
    """
    from nandu import run_validation as command

    record, compared = command.run(points, table)
    if as_json:
        print_json(record)
    else:
        output.print(plain("\n".join(command.lines(compared))))
