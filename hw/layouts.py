"""The payloads of the streams of the sparse chain and of the matrix engine around it."""

from typing import Any

from amaranth.hdl import signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out

from golden.spec.matrix_engine import ZERO_BITS, MatrixEngineConfig
from golden.spec.sparse_chain import SparseChainConfig


def unstoppable(layout: data.Layout) -> wiring.Signature:
    """Return a stream without `ready`: a payload is taken in the cycle in which it is `valid`."""
    return wiring.Signature({"payload": Out(layout), "valid": Out(1)})


def copy_common(target: data.View, source: data.View) -> list[Any]:
    """Return assignments to the fields of a struct `target` that the struct `source` has as well.

    So what a pass says is handed on with its beats, sums and rows, each of which keeps some of it.
    """
    common = [field for field in target.shape().members if field in source.shape().members]
    return [target[field].eq(source[field]) for field in common]


def activation_layout(config: SparseChainConfig) -> data.ArrayLayout:
    """One input of a column: its activation in each lane (two tokens, or one)."""
    return data.ArrayLayout(signed(config.activation_bits), config.products_per_dsp)


def pass_layout(config: SparseChainConfig) -> data.StructLayout:
    """One beat per pass, taken with the pass's last weights.

    Fields:
        code: log2(beats / group_length).
        dense: multiplier i works on input `segment * chain_length + i`; no index is read.
        two_rows: two weight rows share an activation (dense matrix-vector products); else two
            activations share a weight. With one product per multiplier always 0.
        segment: which part of the column a dense pass works on.
        strip: whose sums these are.
        first, last: the strip's first and last pass in its scale group.
        end_column: the last pass of its column, whose activations are then forgotten.
        end_group: the last pass of its scale group.
    """
    return data.StructLayout(
        {
            "code": unsigned(config.code_bits),
            "dense": unsigned(1),
            "two_rows": unsigned(1),
            "segment": unsigned(max((config.segments - 1).bit_length(), 1)),
            "strip": unsigned((config.strips - 1).bit_length()),
            "first": unsigned(1),
            "last": unsigned(1),
            "end_column": unsigned(1),
            "end_group": unsigned(1),
        }
    )


def second_bits(config: SparseChainConfig) -> int:
    """Bits of what comes beside a weight: an index, or the second row's weight."""
    if config.products_per_dsp == 1:
        return config.index_bits
    return max(config.weight_bits, config.index_bits)


def weight_layout(config: SparseChainConfig) -> data.StructLayout:
    """One beat: for every multiplier a weight, and its index or the second row's weight."""
    return data.StructLayout(
        {
            "value": data.ArrayLayout(signed(config.weight_bits), config.chain_length),
            "second": data.ArrayLayout(unsigned(second_bits(config)), config.chain_length),
        }
    )


def row_sum_layout(config: SparseChainConfig) -> data.StructLayout:
    """What a reduction node gives: the sums of one row of its group in one pass, in each lane."""
    return data.StructLayout(
        {
            "row": unsigned((config.group_length - 1).bit_length()),
            "strip": unsigned((config.strips - 1).bit_length()),
            "first": unsigned(1),
            "last": unsigned(1),
            "sums": data.ArrayLayout(signed(config.sum_bits), config.products_per_dsp),
        }
    )


def group_sums_layout(config: MatrixEngineConfig) -> data.ArrayLayout:
    """One row's sums over a scale group, in each lane."""
    return data.ArrayLayout(signed(config.accumulator_bits), config.products_per_dsp)


def row_tag_layout(config: MatrixEngineConfig) -> data.StructLayout:
    """What goes with the rows of one strip's finished group.

    Fields:
        strip: the strip's address.
        paired: the strip's two halves leave side by side, each in a lane. Always 0 unless the
            configuration `pairs_rows`.
        end_group: no other strip of this group follows.
    """
    return data.StructLayout(
        {
            "strip": unsigned((config.strips - 1).bit_length()),
            "paired": unsigned(1),
            "end_group": unsigned(1),
        }
    )


def strip_row_layout(config: MatrixEngineConfig) -> data.StructLayout:
    """A row's group sums in each lane, or those of a pair of rows.

    Fields:
        row, strip: the row's number in its strip, of a pair the second one's, and the strip's
            address: together the place in the global buffer.
        end_group: the last row of the scale group.
    """
    return data.StructLayout(
        {
            "row": unsigned(config.chain_length.bit_length() - 1),
            "strip": unsigned((config.strips - 1).bit_length()),
            "end_group": unsigned(1),
            "sums": group_sums_layout(config),
        }
    )


def offset_layout(config: MatrixEngineConfig) -> data.ArrayLayout:
    """The sum of a group's activations in each lane, for the zero points."""
    return data.ArrayLayout(signed(config.offset_bits), config.products_per_dsp)


def scale_layout(config: MatrixEngineConfig) -> data.StructLayout:
    """One beat per row, or pair of rows, and group: scale and zero point in each lane.

    `first`, `last`: the row's first and last group; with the last one its output leaves.
    """
    lanes = config.products_per_dsp
    return data.StructLayout(
        {
            "scale": data.ArrayLayout(unsigned(config.scale_bits), lanes),
            "zero": data.ArrayLayout(signed(ZERO_BITS), lanes),
            "first": unsigned(1),
            "last": unsigned(1),
        }
    )


def output_layout(config: MatrixEngineConfig) -> data.ArrayLayout:
    """The requantised outputs of a row, or pair of rows, in each lane."""
    return data.ArrayLayout(signed(config.output_bits), config.products_per_dsp)


def sweep_layout(config: MatrixEngineConfig) -> data.StructLayout:
    """How an activation buffer gives the inputs of a job.

    Fields:
        more_columns: columns of the job - 1. more_sweeps: times that all are given - 1.
        more_in_group: columns of a scale group - 1.
    """
    columns = (config.activation_depth // config.m - 1).bit_length()
    return data.StructLayout(
        {
            "more_columns": unsigned(columns),
            "more_sweeps": unsigned(16),
            "more_in_group": unsigned(columns),
        }
    )
