"""Folders of `transformers`, compiled by `nandu compile`, compressed, and run in RTL."""

import io
import json
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import torch

from golden import compression_text
from golden.compression_plan import read_plan
from golden.language_model import CONFIGURATION, load
from golden.spec.core import CoreConfig
from golden.spec.errors import ConfigError, ModelFileError
from hls_gen.compiler import compile_model
from hls_gen.front_end import graph_of
from hls_gen.front_end_decoder import decoder_of
from hls_gen.front_end_llama import as_llama
from nandu import made_models
from nandu.cli import main
from nandu.compilation import model_folder, shape_named
from nandu.made_models import _folder_digest, integer_model, model_file

SIZES = {
    "vocab_size": 260,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.15,
}
WEIGHTS = "model.safetensors"
RTL_CORE = CoreConfig(chains=3, m=8, strips=4, vector_depth=512, activation_depth=256)
CORE = ["--set", "chains=2", "--set", "cores=1", "--positions", "64", "--chunk", "2"]


def save_tokenizer(folder):
    """Save a tokenizer with a token for each byte."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(letters)}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)


def save(folder, kind, **fields):
    """Save a random model of a class of `transformers`."""
    import transformers

    torch.manual_seed(5)
    configuration = getattr(transformers, f"{kind}Config")(**(SIZES | fields))
    network = getattr(transformers, f"{kind}ForCausalLM")(configuration)
    network.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def refuses(error, message):
    return pytest.raises(error, match=f"^{re.escape(message)}$")


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return save(tmp_path_factory.mktemp("models") / "tiny", "Llama")


@pytest.fixture(scope="module")
def compiled(llama, tmp_path_factory):
    """The folder of results, and the command's record."""
    home = tmp_path_factory.mktemp("home")
    words = ["compile", llama, "--target", "u280", *CORE, "--no-rtl", "--out", home / "out"]
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NANDU_CACHE", str(home / "cache"))
        patch.setattr(sys, "argv", ["nandu", *map(str, words), "--json"])
        with redirect_stdout(said), pytest.raises(SystemExit) as stop:
            main()
    assert stop.value.code == 0
    return home / "out", json.loads(said.getvalue())


def test_a_folder_compiles_to_what_the_direct_way_gives(llama, compiled):
    out, record = compiled
    assert record["model"] == "tiny"
    config = CoreConfig(**record["config"])
    direct = compile_model(integer_model(load(llama)), config, 64, chunk=2)
    for port, image in direct.images.items():
        assert (out / "images" / f"core_0_{port}.bin").read_bytes() == image.tobytes(), port
    for phase, tokens, head in (("decode", 1, True), ("prefill", 2, False)):
        program = direct.program(0, tokens=tokens, head=head)
        stored = out / "programs" / f"{phase}_00000_core_0.ndpg"
        assert stored.read_bytes() == program.to_bytes()


def test_a_model_of_another_class_becomes_the_llama_that_it_is(llama, tmp_path):
    mistral = load(save(tmp_path / "tiny", "Mistral"))
    same = as_llama(mistral, decoder_of(graph_of(mistral.network)))
    expected = load(llama)
    assert type(same.network) is type(expected.network)
    assert same.network.config.rope_parameters["rope_theta"] == pytest.approx(10000, rel=1e-6)
    tokens = same.tokens("What is it?")
    with torch.no_grad():
        logits = [model.network(tokens).logits for model in (mistral, same, expected)]
    torch.testing.assert_close(logits[1], logits[0])
    torch.testing.assert_close(logits[1], logits[2])


def test_a_llama_stays_as_it_is(llama):
    model = load(llama)
    assert as_llama(model, decoder_of(graph_of(model.network))) is model


def test_a_folder_without_weights_is_a_shape(llama, tmp_path):
    (tmp_path / CONFIGURATION).write_bytes((llama / CONFIGURATION).read_bytes())
    shape = shape_named(str(tmp_path), 64)
    assert shape.name == tmp_path.name
    assert (shape.layers, shape.hidden, shape.feed_forward, shape.vocabulary) == (2, 64, 96, 260)
    assert (shape.heads, shape.kv_heads, shape.head_size, shape.gated) == (4, 2, 16, True)
    assert shape_named(str(llama), 64) is None


def test_a_name_is_a_name_and_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("llama-2-7b").mkdir()
    assert model_folder("llama-2-7b") is None
    with refuses(
        ConfigError,
        "the folder './llama-2-7b' holds no config.json; name one that transformers has saved",
    ):
        model_folder("./llama-2-7b")


def copy_of(folder, other):
    other.mkdir()
    for file in folder.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    return other


def test_damaged_weights(llama, tmp_path):
    folder = copy_of(llama, tmp_path / "torn")
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:-1])
    with pytest.raises(ModelFileError, match=r"torn' are truncated or damaged \([^\n]+\); copy"):
        load(folder)


def test_a_weight_that_is_not_there(llama, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = copy_of(llama, tmp_path / "less")
    weights = load_file(folder / WEIGHTS)
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    with refuses(
        ModelFileError,
        f"{str(folder)!r} lacks 1 weights, the first is 'model.layers.1.mlp.up_proj.weight'; copy "
        "all of its .safetensors",
    ):
        load(folder)


def test_no_tokenizer(llama, tmp_path):
    folder = copy_of(llama, tmp_path / "mute")
    for file in folder.glob("token*"):
        file.unlink()
    with pytest.raises(ModelFileError, match=r"^'[^']+mute' has no tokenizer that transformers"):
        load(folder)


@pytest.mark.parametrize("text", ["{}", "no JSON", '{"model_type": "nandu"}', '{"model_type": 3}'])
def test_a_configuration_of_no_model(llama, tmp_path, text):
    folder = copy_of(llama, tmp_path / "odd")
    (folder / CONFIGURATION).write_text(text, encoding="utf-8")
    message = r"^'[^']+odd' is not a causal language model that transformers can load: [^\n]+$"
    with pytest.raises(ModelFileError, match=message):
        load(folder)
    (folder / WEIGHTS).unlink()
    with pytest.raises(ModelFileError, match=message):
        shape_named(str(folder), 64)


def test_a_window_that_is_too_small(tmp_path):
    from transformers import MistralConfig

    MistralConfig(**SIZES, sliding_window=32).save_pretrained(tmp_path)
    assert shape_named(str(tmp_path), 32).layers == 2
    with refuses(
        ConfigError,
        "the cache has 64 positions and the model's attention sees 32, sliding_window in its "
        "configuration; make --positions 32 or fewer",
    ):
        shape_named(str(tmp_path), 64)


def test_opt_is_refused_where_it_differs(tmp_path):
    from transformers import OPTConfig

    sizes = {"hidden_size": 64, "ffn_dim": 96, "num_hidden_layers": 1, "num_attention_heads": 4}
    OPTConfig(**sizes, word_embed_proj_dim=64, vocab_size=96).save_pretrained(tmp_path)
    with refuses(
        ConfigError,
        "model.decoder.embed_positions: a learned table of positions is not compiled yet; the "
        "compiler takes models like LLaMA",
    ):
        shape_named(str(tmp_path), 64)


def test_a_folder_is_compressed(run, llama, tmp_path, monkeypatch):
    monkeypatch.setattr(compression_text, "TEXTS", 2)
    monkeypatch.setattr(compression_text, "TEXT_TOKENS", 200)
    monkeypatch.setenv("NANDU_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    folder = copy_of(llama, tmp_path / "tiny-1.5")
    words = ["--bits", 4, "--kept", 0.75, "--group-size", 32, "--tokens", 40, "--json"]
    status, out, error = run("compress", folder, *words)
    assert status == 0, error
    found = json.loads(out)
    assert found["plan"] == "tiny-1.5-b4-k0.75.yaml"
    assert found["model"] == read_plan(tmp_path / found["plan"]).model == str(folder)
    assert found["average_bits"] <= 4 and found["kl"] > 0


def test_what_is_made_of_a_folder_hangs_on_all_of_its_files(llama, tmp_path, monkeypatch):
    folder = copy_of(llama, tmp_path / "tiny")
    same = copy_of(llama, tmp_path / "same")
    before = _folder_digest(folder)
    assert _folder_digest(same) == before
    configuration = folder / CONFIGURATION
    configuration.write_text(configuration.read_text(encoding="utf-8") + " ", encoding="utf-8")
    assert _folder_digest(folder) != before
    monkeypatch.setattr(made_models, "code_digest", lambda *_: "another front end")
    assert _folder_digest(same) != before


def test_a_name_of_a_shape_is_no_folder_of_weights(llama, tmp_path, monkeypatch):
    copy_of(llama, tmp_path / "llama-2-7b")
    monkeypatch.chdir(tmp_path)
    assert model_file("./llama-2-7b") == Path("./llama-2-7b")
    with pytest.raises(ConfigError, match=r"^there is no model 'llama-2-7b'; known are smollm2-"):
        model_file("llama-2-7b")


def test_run_rtl_refuses_what_a_folder_does_not_have(run, llama, tmp_path):
    status, _, error = run("run-rtl", llama, "--tokens-in", "1,2", "--weights", "q4_1")
    assert (status, error.strip().splitlines()[-1]) == (
        2,
        f"error: --weights is 'q4_1' and {str(llama)!r} is a folder; only a GGUF file has such "
        "codes, so take w8 or a --plan",
    )
    windowed = save(tmp_path / "windowed", "Mistral", sliding_window=64)
    status, _, error = run("run-rtl", windowed, "--tokens-in", "1,2", "--tokens", 63)
    assert (status, error.strip().splitlines()[-1]) == (
        2,
        "error: 65 tokens are read and the model's attention sees 64, sliding_window in its "
        "configuration; take fewer tokens",
    )


@pytest.mark.full
def test_a_folder_runs_in_rtl(run, tmp_path):
    folder = save(tmp_path / "tiny", "Mistral", sliding_window=2048)
    fields = ("chains", "m", "strips", "vector_depth", "activation_depth", "replay_words")
    settings = [f"{name}={getattr(RTL_CORE, name)}" for name in fields]
    words = [word for setting in settings for word in ("--set", setting)]
    prompt = ["--prompt", "What is it?", "--tokens", 2, "--chunk", 2]
    status, out, error = run("run-rtl", folder, *prompt, *words, "--json")
    assert status == 0, error
    found = json.loads(out)
    assert found["passed"] and len(found["tokens"]) == 2 and found["prompt_tokens"] == 11
