"""`nandu measure-gpu`: prefill and decode of model shapes on this machine's CUDA card."""

import json
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from golden.model_shapes import ModelShape
from golden.spec.errors import ConfigError, ToolError
from golden.spec.files import write_text
from nandu.gpu_decoder import Decoder
from sim.baselines import VERSION, Measured
from sim.workload import Workload

FORMATS = {"fp16": torch.float16, "bf16": torch.bfloat16, "int8": torch.float16}
"""Of weights and activations; where products are INT8, what is between them has FP16."""

WARM_UP = 3
"""Runs before those that are counted."""

INT8_SINCE = (7, 5)
"""The compute capability from which cards have INT8 tensor cores (Turing)."""

BF16_SINCE = (8, 0)

Stage = Callable[[], None]


@dataclass(frozen=True)
class Card:
    """Where it is measured: "cuda", or "cpu" for tests.

    Attributes:
        joules: reads the card's energy counter, in joules; None where it has none.
    """

    device: str
    name: str
    joules: Callable[[], float] | None = None

    @property
    def graphs(self) -> bool:
        """Whether decode steps are captured as CUDA graphs."""
        return self.device == "cuda"

    def wait(self) -> None:
        """Return when all that was launched is done."""
        if self.device == "cuda":
            torch.cuda.synchronize()


def find_card() -> Card:
    """Return this machine's CUDA card.

    Raises:
        ToolError: there is none, or this PyTorch cannot use it.
    """
    if not torch.cuda.is_available():
        raise ToolError(
            f"no CUDA card was found (PyTorch {torch.__version__}); measure-gpu needs an NVIDIA "
            "card, its driver and a PyTorch built for CUDA"
        )
    return Card("cuda", torch.cuda.get_device_name(), _energy_counter())


def _energy_counter() -> Callable[[], float] | None:
    """Return what reads the card's energy counter by NVML; None where that is missing."""
    try:
        pynvml = import_module("pynvml")
        pynvml.nvmlInit()
        uuid = f"GPU-{torch.cuda.get_device_properties().uuid}"
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except Exception:
        # Without the package, the driver's library or the counter there is no energy, only times.
        return None
    return lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3


def formats_of(card: Card) -> list[str]:
    """Return the formats that a card multiplies in hardware."""
    if card.device != "cuda":
        return list(FORMATS)
    able = torch.cuda.get_device_capability()
    least = {"fp16": (0, 0), "bf16": BF16_SINCE, "int8": INT8_SINCE}
    return [name for name, since in least.items() if able >= since]


def measure(card: Card, model: ModelShape, workload: Workload, form: str, repeats: int) -> Measured:
    """Return how long prompts and decode steps take, and what energy a token takes.

    Raises:
        ConfigError: the card's memory does not hold it.
    """
    try:
        with torch.inference_mode():
            return _measure(card, model, workload, form, repeats)
    except torch.OutOfMemoryError:
        raise ConfigError(
            f"{model.name} in {form} for {workload.batch} x {workload.longest:,} tokens does not "
            f"fit the memory of {card.name}; try a smaller model, batch or length"
        ) from None
    finally:
        if card.device == "cuda":
            torch.cuda.empty_cache()


def _measure(
    card: Card, model: ModelShape, workload: Workload, form: str, repeats: int
) -> Measured:
    batch, kind = workload.batch, FORMATS[form]
    decoder = Decoder(model, batch, workload.longest, card.device, kind, form == "int8")
    prompts = torch.randint(model.vocabulary, (batch, workload.prefill), device=card.device)
    last = torch.zeros(batch, 1, device=card.device, dtype=torch.long)

    def read() -> None:
        last.copy_(decoder.prefill(prompts))

    read()
    step = _captured(decoder, last) if card.graphs else _plain(decoder, last)
    runs = [_run(card, read, step, workload.decode) for _ in range(WARM_UP + repeats)][WARM_UP:]
    first = statistics.median(seconds for seconds, _, _ in runs)
    whole = statistics.median(seconds for _, seconds, _ in runs)
    tokens = batch * workload.decode
    drawn = [joules for *_, joules in runs if joules is not None]
    return Measured(
        model=model.name,
        format=form,
        batch=batch,
        prefill=workload.prefill,
        decode=workload.decode,
        ttft_ms=first * 1e3,
        tpot_ms=whole / workload.decode * 1e3,
        tokens_per_s=tokens / whole,
        # A counter that moves in steps may stand still over a short run.
        joules_per_token=statistics.fmean(drawn) / tokens or None if drawn else None,
        repeats=repeats,
    )


def _plain(decoder: Decoder, last: Tensor) -> Stage:
    def step() -> None:
        last.copy_(decoder.step(last))

    return step


def _captured(decoder: Decoder, last: Tensor) -> Stage:
    """Return a decode step as a CUDA graph, which the host launches as one."""
    step, begin = _plain(decoder, last), decoder.position.clone()
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        step()  # PyTorch wants libraries to be warm, off the main stream, before a capture
    torch.cuda.current_stream().wait_stream(aside)
    decoder.position.copy_(begin)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    decoder.position.copy_(begin)
    return graph.replay


def _run(card: Card, read: Stage, step: Stage, count: int) -> tuple[float, float, float | None]:
    """Return the seconds of prompts and of all steps, and the joules of both."""
    card.wait()
    before = card.joules and card.joules()
    begin = time.perf_counter()
    read()
    card.wait()
    between = time.perf_counter()
    for _ in range(count):
        step()
    card.wait()
    end = time.perf_counter()
    joules = card.joules() - before if card.joules and before is not None else None
    return between - begin, end - between, joules


# The file


def baseline(card: Card, rows: Iterable[Measured]) -> dict[str, Any]:
    """Return what a baseline file holds; see `sim/baselines.py`."""
    versions = {"torch": str(torch.__version__)}
    if card.device == "cuda":
        versions["cuda"] = str(torch.version.cuda)
    return {
        "version": VERSION,
        "device": card.name,
        "date": datetime.now(UTC).date().isoformat(),
        "versions": versions,
        "graphs": card.graphs,
        "rows": [row.model_dump() for row in rows],
    }


def write_baseline(path: Path, card: Card, rows: Sequence[Measured]) -> None:
    """Write a baseline file that `nandu compare` reads.

    Raises:
        OutputError: it cannot be written.
    """
    write_text(path, json.dumps(baseline(card, rows), indent=2) + "\n")


def file_name(card: Card) -> str:
    """Return a file's name for a card: "NVIDIA A100" becomes "nvidia-a100.json"."""
    plain = "".join(letter if letter.isalnum() else " " for letter in card.name.lower())
    return "-".join(plain.split()) + ".json"
