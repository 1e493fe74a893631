"""The integer weights that a GGUF file carries: blocks of 32 in the formats Q4_1 and Q8_0.

A block of Q4_1 is 20 bytes: d and m as float16, then 32 codes q of 4 bits, where byte i holds codes
i (low half) and i + 16; a weight is d * q + m. A block of Q8_0 is 34 bytes: d as float16, then 32
signed bytes; a weight is d * q. (ggml-common.h of llama.cpp, block_q4_1 and block_q8_0.)
"""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from golden.integer_linear import RealWeights
from golden.spec.errors import ModelFileError

GROUP = 32
"""Weights of a block."""

_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def layer_weights(path: Path, number: int, linear: str) -> RealWeights:
    """Return the weights of a decoder layer's linear layer, as "mlp.up_proj".

    Rows of queries and keys are in the order of the file: the pairs of the rotary embedding lie
    side by side.

    Raises:
        ModelFileError: the file has no such weights, or not in a format that is read here.
    """
    return _read(path, f"blk.{number}.{_NAMES[linear]}.weight")


def head_weights(path: Path) -> RealWeights:
    """Return the weights of the head, which may be those of the embedding; see `layer_weights`."""
    name = "output.weight" if "output.weight" in _tensors(path) else "token_embd.weight"
    return _read(path, name)


@cache
def _tensors(path: Path) -> dict[str, Any]:
    from gguf import GGUFReader

    return {tensor.name: tensor for tensor in GGUFReader(path).tensors}


def _read(path: Path, name: str) -> RealWeights:
    tensors = _tensors(path)
    if name not in tensors:
        raise ModelFileError(f"{str(path)!r} has no weights {name!r}")
    tensor = tensors[name]
    formats = {"Q4_1": _q4_1, "Q8_0": _q8_0}
    kind = tensor.tensor_type.name
    if kind not in formats:
        raise ModelFileError(
            f"{name!r} is stored as {kind}; the codes of {' and '.join(formats)} can be carried"
        )
    return formats[kind](np.array(tensor.data))


def _q4_1(rows: np.ndarray) -> RealWeights:
    blocks = rows.reshape(len(rows), -1, 4 + GROUP // 2)
    both = blocks[:, :, :4].copy().view(np.float16).astype(np.float64)
    step, least = torch.from_numpy(both).unbind(dim=2)
    pairs = blocks[:, :, 4:]
    codes = np.concatenate([pairs & 15, pairs >> 4], axis=2).astype(np.int8) - 8
    # Codes are stored as signed numbers, so zero points are around 0 too.
    zeros = torch.where(step == 0, 0.0, -least / step) - 8
    return RealWeights(torch.from_numpy(codes.reshape(len(rows), -1)), step, zeros, GROUP, 4)


def _q8_0(rows: np.ndarray) -> RealWeights:
    blocks = rows.reshape(len(rows), -1, 2 + GROUP)
    steps = blocks[:, :, :2].copy().view(np.float16).astype(np.float64)[..., 0]
    codes = blocks[:, :, 2:].copy().view(np.int8).reshape(len(rows), -1)
    scales = torch.from_numpy(steps)
    return RealWeights(torch.from_numpy(codes), scales, torch.zeros_like(scales), GROUP)
