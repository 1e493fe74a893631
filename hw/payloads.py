"""What goes over the streams of a chain and of the engine, as bytes: golden's arrays, packed.

Each function returns uint8 [payloads, bytes], little-endian, in the layouts of `hw.layouts`.
"""

from collections.abc import Sequence

import numpy as np
import torch
from amaranth.hdl import Shape
from amaranth.lib import data

from golden.bit_packing import pack_fields
from golden.chain_memory import index_beats, packed_weights, weight_beats
from golden.matrix_engine import Mode, Sweep, output_rows
from golden.passes import Passes
from golden.spec.matrix_engine import MatrixEngineConfig
from golden.spec.sparse_chain import SparseChainConfig
from hw.expansion import job_layout
from hw.layouts import (
    pass_layout,
    row_sum_layout,
    scale_layout,
    second_bits,
    sweep_layout,
)


def of_struct(layout: data.StructLayout, **fields: np.ndarray) -> np.ndarray:
    """Return payloads of a struct whose fields are arrays [payloads] or [payloads, elements]."""
    parts = []
    for name, shape in layout.members.items():
        values = fields[name].reshape(len(fields[name]), -1)
        parts.append((values.astype(np.int64), Shape.cast(shape).width // values.shape[1]))
    return pack_fields(*parts)


def of_passes(passes: Passes) -> np.ndarray:
    """Return the passes' headers."""
    layout = pass_layout(passes.config)
    return of_struct(layout, **{name: getattr(passes, name) for name in layout.members})


def of_weights(passes: Passes) -> np.ndarray:
    """Return the beats of weights as a chain takes them."""
    config = passes.config
    return pack_fields((passes.values, config.weight_bits), (passes.second, second_bits(config)))


def of_activations(activations: torch.Tensor, config: SparseChainConfig) -> np.ndarray:
    """Return the inputs of integers [tokens, inputs], one token in each lane; others hold 0."""
    lanes = np.zeros((activations.shape[1], config.products_per_dsp), np.int64)
    lanes[:, : len(activations)] = activations.numpy().T
    return pack_fields((lanes, config.activation_bits))


def of_row_sums(passes: Passes, sums: np.ndarray, group: int) -> np.ndarray:
    """Return what the node of one DSP group gives; `sums` [passes, rows, lanes] of golden."""
    config = passes.config
    row = np.arange(config.group_length)
    mine = sums[:, group * config.group_length + row]

    def each(values: np.ndarray) -> np.ndarray:
        return np.repeat(values, config.group_length)

    return of_struct(
        row_sum_layout(config),
        row=np.tile(row, len(sums)),
        strip=each(passes.strip),
        first=each(passes.first),
        last=each(passes.last),
        sums=mine.reshape(-1, mine.shape[2]),
    )


def of_sweeps(sweeps: Sequence[Sweep], group_size: int, config: MatrixEngineConfig) -> np.ndarray:
    """Return the jobs of the activation buffers."""
    columns = np.array([sweep.columns for sweep in sweeps])
    return of_struct(
        sweep_layout(config),
        more_columns=columns - 1,
        more_sweeps=np.array([sweep.times for sweep in sweeps]) - 1,
        more_in_group=np.minimum(group_size // config.m, columns) - 1,
    )


def of_segments(passes: Passes, config: MatrixEngineConfig) -> np.ndarray:
    """Return the jobs of the expansion unit: one segment of weights per tile."""
    beats = np.array([len(weight_beats(passes, tile)) for tile in range(len(passes.strips))])
    widths = np.full(len(beats), passes.bits - 1)
    return of_struct(job_layout(config.expansion), width_code=widths, more_beats=beats - 1)


def of_words(passes: Passes, config: MatrixEngineConfig) -> np.ndarray:
    """Return the words of packed weights."""
    tiles = [packed_weights(passes, t, config.word_bits) for t in range(len(passes.strips))]
    return np.concatenate(tiles).reshape(-1, config.word_bits // 8)


def of_indices(passes: Passes) -> np.ndarray:
    """Return the beats of indices."""
    return pack_fields((index_beats(passes), passes.config.index_bits))


def of_scales(
    passes: Passes,
    scales: torch.Tensor,
    zeros: torch.Tensor,
    config: MatrixEngineConfig,
    mode: Mode,
) -> np.ndarray:
    """Return the scales and zero points in the order in which rows finish their groups.

    Args:
        scales, zeros: integers [rows, groups]; rows beyond the matrix get 0.
    """
    rows = output_rows(passes, config, mode)
    group = np.repeat(passes.group[passes.last], rows.shape[1])
    rows = rows.reshape(len(group), -1)

    def each(values: torch.Tensor) -> np.ndarray:
        beyond = torch.nn.functional.pad(values, (0, 0, 0, int(rows.max()) + 1)).numpy()
        return beyond[rows, group[:, None]]

    return of_struct(
        scale_layout(config),
        scale=each(scales),
        zero=each(zeros),
        first=group == 0,
        last=group == passes.groups - 1,
    )
