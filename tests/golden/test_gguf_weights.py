import re

import gguf
import numpy as np
import pytest
import torch

from golden import gguf_weights
from golden.language_model import load, smollm2_file
from golden.recipe import float_weight
from golden.spec.errors import ModelFileError


@pytest.fixture(scope="module")
def smollm2():
    return load(smollm2_file())


@pytest.mark.parametrize("name", ["self_attn.q_proj", "self_attn.k_proj", "mlp.down_proj"])
def test_codes_of_the_real_file_are_the_float_model_s_weights(smollm2, name):
    weights = gguf_weights.layer_weights(smollm2_file(), 7, name)
    exact = float_weight(smollm2, f"model.layers.7.{name}")
    assert weights.bits == 4
    assert weights.values.dtype == torch.int8
    # The loader computes in float32.
    torch.testing.assert_close(weights.dequantise(), exact, rtol=0, atol=1e-6)
    assert weights.zeros.min() > -8 and weights.zeros.max() < 8


def test_the_head_of_the_real_file(smollm2):
    weights = gguf_weights.head_weights(smollm2_file())
    assert weights.values.shape == (49152, 576)
    assert weights.bits == 8
    exact = smollm2.weight("lm_head").double()
    torch.testing.assert_close(weights.dequantise(), exact, rtol=0, atol=1e-6)


def write(path, tensors):
    writer = gguf.GGUFWriter(path, "llama")
    for name, (values, kind) in tensors.items():
        packed = gguf.quants.quantize(values, kind)
        writer.add_tensor(name, packed, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("kind", ["Q4_1", "Q8_0"])
def test_blocks_are_read_as_the_library_reads_them(tmp_path, kind):
    values = np.random.default_rng(0).standard_normal((5, 96), dtype=np.float32)
    values[2, 32:64] = 0.25  # a block without a step
    number = gguf.GGMLQuantizationType[kind]
    path = write(tmp_path / "own.gguf", {"blk.0.ffn_up.weight": (values, number)})
    weights = gguf_weights.layer_weights(path, 0, "mlp.up_proj")
    expected = gguf.quants.dequantize(gguf.quants.quantize(values, number), number)
    near = np.ones_like(values, dtype=bool)
    near[2, 32:64] = kind == "Q8_0"
    given = weights.dequantise().numpy()
    np.testing.assert_allclose(given[near], expected[near], rtol=0, atol=1e-6)


def test_a_head_of_its_own(tmp_path):
    random = np.random.default_rng(1)
    both = random.standard_normal((2, 4, 32), dtype=np.float32)
    number = gguf.GGMLQuantizationType.Q8_0
    tensors = {"token_embd.weight": (both[0], number), "output.weight": (both[1], number)}
    weights = gguf_weights.head_weights(write(tmp_path / "own.gguf", tensors))
    np.testing.assert_allclose(weights.dequantise().numpy(), both[1], atol=0.02)


def test_what_cannot_be_carried(tmp_path):
    values = np.ones((2, 32), dtype=np.float32)
    path = write(
        tmp_path / "own.gguf", {"blk.0.ffn_up.weight": (values, gguf.GGMLQuantizationType.F32)}
    )
    message = "'blk.0.ffn_up.weight' is stored as F32; the codes of Q4_1 and Q8_0 can be carried"
    with pytest.raises(ModelFileError, match=f"^{message}$"):
        gguf_weights.layer_weights(path, 0, "mlp.up_proj")
    message = f"{str(path)!r} has no weights 'blk.1.ffn_up.weight'"
    with pytest.raises(ModelFileError, match=f"^{re.escape(message)}$"):
        gguf_weights.layer_weights(path, 1, "mlp.up_proj")
