"""What a user can ask of the demo; apart from the demo itself, so that `--help` loads nothing."""

import shlex
from dataclasses import dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class DemoOptions:
    """What the user asked of the demo.

    Attributes:
        model: a GGUF file; None for SmolLM2-135M-Instruct.
        prompt: the text whose activations enter the layer.
        layer: module path of a linear layer.
        sparsity: "N:16", the same in every block, or None to choose N per block within `kept`.
        kept: fraction of weights to keep, where `sparsity` is None.
        bits: bits of a weight in memory; group_size: inputs that share a scale.
        quick: only the first `QUICK_ROWS` rows.
        out: the report's folder; waves: a waveform file to write, or None.
    """

    model: Path | None = None
    prompt: str = "The capital of France is"
    layer: str = "model.layers.12.mlp.down_proj"
    sparsity: str | None = None
    kept: float = 0.6
    bits: int = 4
    group_size: int = 128
    quick: bool = False
    out: Path = Path("out")
    waves: Path | None = None

    def command(self) -> str:
        """Return the command line that repeats this demo, wherever its files go."""
        words = ["nandu demo"]
        for field in fields(self):
            value = getattr(self, field.name)
            if value == field.default or field.name in ("out", "waves"):
                continue
            flag = f"--{field.name.replace('_', '-')}"
            words.append(flag if value is True else f"{flag} {shlex.quote(str(value))}")
        return " ".join(words)
