"""Baselines: what `nandu measure-gpu` measured on a card, one YAML or JSON file for each run."""

from pathlib import Path

from pydantic import Field, PositiveFloat, PositiveInt

from golden.spec.errors import ConfigError
from golden.spec.records import Record, read_fields

VERSION = 1
ENDINGS = (".json", ".yaml", ".yml")


class Measured(Record):
    """One workload as a card did it.

    Attributes:
        model: shape, as in `nandu list models`. format: of weights and activations: "fp16",
            "bf16" or "int8".
        batch, prefill, decode: sequences, tokens of each prompt, and steps after it.
        ttft_ms: time of the prompts. tpot_ms: median time of a decode step.
        tokens_per_s: of all sequences, while they are written.
        joules_per_token: drawn by the card for a written token, prompts included; None where the
            card does not count its energy.
        repeats: runs whose median is given.
    """

    model: str
    format: str
    batch: PositiveInt
    prefill: PositiveInt
    decode: PositiveInt
    ttft_ms: PositiveFloat
    tpot_ms: PositiveFloat
    tokens_per_s: PositiveFloat
    joules_per_token: PositiveFloat | None = None
    repeats: PositiveInt = 1


class Baseline(Record):
    """A run of `nandu measure-gpu`.

    Attributes:
        version: of this format. device: as its driver names it. date: as 2026-01-31.
        versions: of what ran: "torch", "cuda", "driver".
        graphs: whether decode steps were CUDA graphs.
    """

    name: str
    version: int
    device: str
    date: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    graphs: bool = False
    rows: tuple[Measured, ...] = Field(min_length=1)


def load_baseline(path: Path) -> Baseline:
    """Return the baseline in a file; JSON is read as the YAML that it is.

    Raises:
        ConfigError: it cannot be read, or is no baseline of this version.
    """
    fields = read_fields(path, "baseline")
    version = fields.get("version")
    if version != VERSION:
        raise ConfigError(
            f"{path.name}: version is {version!r}; this Nandu reads baselines of version {VERSION}"
        )
    try:
        return Baseline(**(fields | {"name": path.stem}))
    except ConfigError as error:
        raise ConfigError(f"{path.name}: {error}") from None


def load_baselines(folder: Path) -> list[Baseline]:
    """Return the baselines of a folder, by the names of their files.

    Raises:
        ConfigError: it is no folder, or a file in it is no baseline.
    """
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {str(folder)!r}; `nandu measure-gpu` makes one")
    return [load_baseline(path) for path in sorted(folder.iterdir()) if path.suffix in ENDINGS]
