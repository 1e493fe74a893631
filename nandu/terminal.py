"""How commands show what they found."""

import json
import sys
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

errors = Console(stderr=True, highlight=False, soft_wrap=True)
output = Console(highlight=False, soft_wrap=True)

CHECK_FAILED = 1


def show_demo(record: dict[str, Any]) -> None:
    """Print what the demo found."""
    verdict = "[green]bit-exact[/]" if record["passed"] else "[red]FAILED[/]"
    output.print(
        f"{verdict}: {record['compared'] - record['mismatches']:,} of {record['compared']:,} "
        f"outputs equal golden; {record['cycles']:,} cycles "
        f"(contract {record['contract_cycles']:,}), utilisation {record['utilisation']:.2%}"
    )
    output.print(
        f"layer {record['layer']}, {record['rows']} x {record['inputs']}, {record['sparsity']}, "
        f"INT{record['bits']}: error {record['relative_error']:.1%} of the float output"
    )
    for system in record["systems"]:
        output.print(
            f"  {system['label']}: {system['decode_tokens_per_s']:.1f} tokens/s "
            f"({system['model']}, limited by {system['bottleneck']})"
        )
    output.print(f"report: {plain(record['report'])}")


def show_record(record: dict[str, Any]) -> None:
    """Print a record as a table of its keys; `parts`, with records of their own, have another."""
    table = Table(show_header=False)
    for key, value in record.items():
        if key != "parts":
            table.add_row(key, f"{value:.4f}" if isinstance(value, float) else str(value))
    output.print(table)
    if parts := record.get("parts"):
        table = Table("part", *next(iter(parts.values())))
        for name, counts in parts.items():
            table.add_row(name, *map(str, counts.values()))
        output.print(table)


def print_json(record: dict[str, Any]) -> None:
    """Print a record as one line of JSON."""
    sys.stdout.write(json.dumps(record) + "\n")


def exit_unless(passed: bool) -> None:
    """Leave the command with 1 where a check failed."""
    if not passed:
        raise typer.Exit(CHECK_FAILED)


def plain(text: str) -> str:
    """Return `text` with nothing that rich would take for markup."""
    return escape(text)
