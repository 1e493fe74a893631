"""Integer models and compiled ones, which take minutes to make and are kept in the cache.

What is kept is found again by all that it was made of: the model's file, the recipe, the text of
the calibration, the core, and the code that made it. So nothing old is ever taken for new.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from golden import model_shapes, perplexity
from golden.calibration import calibrate
from golden.compression_inputs import CompressedInputs
from golden.compression_sensitivity import Sensitivity, sensitivities
from golden.compression_text import compression_text, compression_texts
from golden.language_model import CONFIGURATION, LanguageModel, smollm2_file
from golden.recipe import Recipe
from golden.spec.core import CoreConfig
from golden.spec.errors import ConfigError
from golden.spec.files import cached
from golden.transformer import IntegerTransformer
from golden.transformer_quantise import quantise_transformer
from hls_gen.compiler import Compiled, compile_model
from hls_gen.front_end import graph_of
from hls_gen.front_end_decoder import decoder_of
from hls_gen.front_end_llama import as_llama
from hls_gen.plan import ModelPlan
from nandu.code_digest import code_digest

MODEL = "smollm2-135m"
"""The model that is installed with Nandu."""

CALIBRATION_TOKENS = 1024

SENSITIVITY_TEXTS = 2
"""Of those that a model is compressed on."""

DEFAULT_RECIPE = Recipe()
"""INT8 weights in groups."""

KEPT = 4
"""Of each kind so many are kept: those that were used last, and all of the last hour."""

_MAKERS = (
    "golden.language_model",
    "golden.calibration",
    "golden.compression_sensitivity",
    "golden.compression_text",
    "golden.perplexity",
    "golden.transformer_quantise",
)
"""What makes an integer model, with all that it imports."""

Tensors = dict[str, torch.Tensor]

_FILE = "made.pt"
_HOUR_S = 3600


Progress = Callable[[float], None]
"""Is told the part that is done."""


def no_progress(part: float) -> None:
    """Tell nobody."""


def model_file(model: str) -> Path:
    """Return where a model's weights are: `MODEL`'s, a GGUF file, or a folder of `transformers`.

    Raises:
        ConfigError: it is none of these. A name of a shape is that, even if there is such a folder.
    """
    if model == MODEL:
        return smollm2_file()
    is_shape = model in model_shapes.names() or model in model_shapes.aliases()
    if not is_shape and (Path(model) / CONFIGURATION).is_file():
        return Path(model)
    if not model.endswith(".gguf"):
        raise ConfigError(
            f"there is no model {model!r}; known are {MODEL}, any .gguf file and any folder with a "
            f"{CONFIGURATION}"
        )
    return Path(model)


def through_front_end(model: LanguageModel, path: Path, tokens: int) -> LanguageModel:
    """Return the model of a folder as a LLaMA, whatever its class; that of a file as it is.

    Args:
        path: that it was loaded from. tokens: that it is to read at once.

    Raises:
        ConfigError: it has operators that no program has, or an attention that sees fewer tokens.
    """
    if not path.is_dir():
        return model
    window = getattr(model.network.config, "sliding_window", None)
    if window is not None and tokens > window:
        raise ConfigError(
            f"{tokens} tokens are read and the model's attention sees {window}, sliding_window in "
            "its configuration; take fewer tokens"
        )
    return as_llama(model, decoder_of(graph_of(model.network)))


def integer_model(
    model: LanguageModel, recipe: Recipe = DEFAULT_RECIPE, progress: Progress = no_progress
) -> IntegerTransformer:
    """Return the integer model, calibrated on texts of CPython's library."""
    text = perplexity.calibration_text()
    calibration = calibrate(model, perplexity.first_tokens(model, text, CALIBRATION_TOKENS))
    inputs = None
    if recipe.plan is not None:
        inputs = CompressedInputs(model, compression_texts(model), progress)
    return quantise_transformer(model, calibration, recipe, inputs)


@dataclass(frozen=True)
class MadeModel:
    """An integer model, and what it was made of: its `key`."""

    transformer: IntegerTransformer
    key: dict[str, Any]

    def compiled(self, config: CoreConfig, max_positions: int, chunk: int) -> Compiled:
        """Return it in the memories of cores; see `compile_model`."""
        key = self.key | {
            "config": asdict(config),
            "max_positions": max_positions,
            "chunk": chunk,
            "compiler": code_digest("hls_gen.compiler"),
        }

        def make() -> tuple[ModelPlan, list[Tensors]]:
            made = compile_model(self.transformer, config, max_positions, chunk)
            images = [
                {port: torch.from_numpy(image) for port, image in mine.items()}
                for mine in made.core_images
            ]
            return made.plan, images

        plan, images = _kept("compiled", key, make)
        arrays = ({port: image.numpy() for port, image in mine.items()} for mine in images)
        return Compiled(plan, tuple(arrays))


def made_model(
    model: LanguageModel,
    file: Path,
    recipe: Recipe = DEFAULT_RECIPE,
    progress: Progress = no_progress,
) -> MadeModel:
    """Return the integer model of a float one.

    Args:
        file: of the float model, or its folder.
    """
    key = _source_key(model, file) | {
        "recipe": asdict(replace(recipe, carried=None, plan=None)),
        "carried": None if recipe.carried is None else _file_digest(recipe.carried),
    }
    if recipe.plan is not None:
        # Who made the plan, and why, changes no weight.
        formats = {path: recipe.format_of(path) for path in model.linear_layers()}
        key["plan"] = {path: layer.model_dump() for path, layer in formats.items()}
    transformer: IntegerTransformer = _kept(
        "integer-models", key, lambda: integer_model(model, recipe, progress)
    )
    return MadeModel(transformer, key)


def made_sensitivities(
    model: LanguageModel, file: Path, group_size: int, progress: Progress = no_progress
) -> dict[str, Sensitivity]:
    """Return the sensitivity of each decoder linear layer; see `sensitivities`."""
    key = _source_key(model, file) | {"group_size": group_size}
    texts = compression_texts(model)[:SENSITIVITY_TEXTS]
    found: dict[str, Sensitivity] = _kept(
        "sensitivities", key, lambda: sensitivities(model, texts, group_size, progress)
    )
    return found


def _source_key(model: LanguageModel, file: Path) -> dict[str, Any]:
    """Return what all that is made of a model depends on."""
    texts = (perplexity.calibration_text(), compression_text())
    return {
        "file": _file_digest(file) if file.is_file() else _folder_digest(file),
        "layers": model.network.config.num_hidden_layers,
        "calibration": [*(hashlib.sha256(text.encode()).hexdigest() for text in texts)],
        "tokens": CALIBRATION_TOKENS,
        "torch": torch.__version__,
        "code": code_digest(*_MAKERS),
    }


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _folder_digest(folder: Path) -> str:
    """Return what changes whenever a folder's model does, or how its weights get their parts."""
    lines = [f"{code_digest('hls_gen.front_end_llama')} front end\n"]
    files = sorted(each for each in folder.iterdir() if each.is_file())
    lines += [f"{_file_digest(file)} {file.name}\n" for file in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _kept(kind: str, key: dict[str, Any], make: Callable[[], object]) -> Any:
    """Return what was made of `key` before, or make it."""
    key = key | {"store": _file_digest(Path(__file__))}
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    folder = cached(f"{kind}/{name}", lambda aside: torch.save(make(), aside / _FILE))
    os.utime(folder)
    _forget_old(folder.parent)
    return torch.load(folder / _FILE, weights_only=False, mmap=True)


def _forget_old(folder: Path) -> None:
    """Remove what was used longest ago; a process may still read what was used just now."""
    known = [each for each in folder.iterdir() if (each / _FILE).exists()]
    known.sort(key=lambda each: each.stat().st_mtime, reverse=True)
    for each in known[KEPT:]:
        if each.stat().st_mtime < time.time() - _HOUR_S:
            shutil.rmtree(each, ignore_errors=True)
