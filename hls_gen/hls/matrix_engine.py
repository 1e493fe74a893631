"""The matrix engine as an HLS kernel, with the streams of the RTL block."""

from collections.abc import Sequence

import numpy as np

from golden.matrix_engine import Mode
from golden.spec.matrix_engine import MatrixEngineConfig
from hls_gen.hls import sparse_chain
from hls_gen.hls.kernel import Argument, Kernel, Port, Stream, header, read
from hls_gen.hls.vectors import Vectors
from hw.layouts import sweep_layout
from hw.verify_engine import Case, Job

HEADER = "engine_config.hpp"

SOURCES = (*sparse_chain.SOURCES, "matrix_engine.hpp")
"""What a kernel with units of the engine in it needs of `cpp/`."""

_OWN = ("segments", "words", "indices", "passes", "beats", "rows")


def kernel(config: MatrixEngineConfig) -> Kernel:
    """Return the kernel of an engine."""
    each = config.chains
    ports: list[Port] = [
        *(Argument(name) for name in ("matrix_vector", "sweeps", "activations")),
        *(Argument(name, each) for name in _OWN),
        Stream("i_sweep", "sweep_payload_t"),
        Stream("i_activation", "activation_payload_t", each),
        Stream("i_segment", "segment_payload_t", each),
        Stream("i_word", "word_t", each),
        Stream("i_index", "index_payload_t", each),
        Stream("i_pass", "pass_payload_t", each),
        Stream("i_scale", "scale_payload_t", each),
        Stream("o", "output_payload_t", each, output=True),
    ]
    sources = (*SOURCES, "matrix_engine_top.hpp", "matrix_engine.cpp")
    return Kernel("matrix_engine", ports, headers(config), read(sources), config.lanes)


def headers(config: MatrixEngineConfig) -> dict[str, str]:
    """Return the constants of an engine and of its chains."""
    constants = {
        "CHAINS": config.chains,
        "ACTIVATION_DEPTH": config.activation_depth,
        "WORD_BITS": config.word_bits,
        "WEIGHT_DEPTH": config.weight_depth,
        "INDEX_DEPTH": config.index_depth,
        "PASS_DEPTH": config.pass_depth,
        # A bank's finished rows, as many as it has under way.
        "FINISHED_DEPTH": config.strips * config.group_length,
        "ACCUMULATOR_BITS": config.accumulator_bits,
        "OFFSET_BITS": config.offset_bits,
        "SCALE_BITS": config.scale_bits,
        "SCALE_SHIFT": config.scale_shift,
        "ZERO_FRACTION_BITS": config.zero_fraction_bits,
        "OUTPUT_BITS": config.output_bits,
        "SWEEP_BITS": sweep_layout(config).members["more_columns"].width,
        "PAIRS_ROWS": int(config.pairs_rows),
    }
    return {
        sparse_chain.HEADER: sparse_chain.chain_header(config.chain),
        HEADER: header(HEADER, config, constants),
    }


def vectors(case: Case) -> Vectors:
    """Return a case of the RTL's bench for the kernel; it has no pauses, and nothing resets it."""
    job, config = Job(case), case.config
    data = dict(job.play(np.random.default_rng(0)).inputs)
    data |= {f"o__{chain}": rows for chain, rows in enumerate(job.expected)}
    vector = case.mode is Mode.MATRIX_VECTOR

    def counts(stream: str) -> list[int]:
        return [len(data[f"{stream}__{c if vector else 0}"]) for c in range(config.chains)]

    arguments: dict[str, int | Sequence[int]] = {
        "matrix_vector": int(vector),
        "sweeps": len(data["i_sweep"]),
        "activations": len(data["i_activation__0"]),
        "segments": counts("i_segment"),
        "words": counts("i_word"),
        "indices": counts("i_index"),
        "passes": counts("i_pass"),
        "beats": [int(passes.n.sum()) * case.batches for passes in job.chains],
        "rows": counts("i_scale"),
    }
    return Vectors(case.name, arguments, data)
