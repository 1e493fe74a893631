"""The matrix unit in Verilator: jobs of all kinds one after the other, against golden."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from amaranth.hdl import Module
from amaranth.lib import memory, wiring
from proofs import broken

from golden.bit_packing import pack_fields
from golden.matrix_engine import Mode, chain_passes, reference_outputs
from golden.sparse_matrix import SparseMatrix, prune
from golden.spec.matrix_engine import MatrixEngineConfig
from hw import cosim
from hw.activation_reader import column_layout
from hw.emit import add, emit
from hw.matrix_unit import MatrixUnit, matrix_job_layout
from hw.output_gatherer import strip_layout
from hw.player import Case, play, random_pauses
from hw.random_matrices import random_matrix
from hw.weight_stream import equally_long, weight_stream

CONFIG = MatrixEngineConfig(
    chains=3,
    m=8,
    strips=4,
    word_bits=128,
    output_bits=27,
    weight_depth=8,
    pass_depth=4,
    zero_fraction_bits=3,
)
DEPTH = 256


class UnitWithMemory(wiring.Component):
    """A matrix unit beside an activation memory that holds `words` from the start."""

    def __init__(self, config, words, unit=MatrixUnit):
        self.config, self.words, self.unit = config, words, unit
        self.module_name = "unit_with_memory"
        members = dict(MatrixUnit(config, DEPTH).signature.members)
        super().__init__({name: members[name] for name in ("i_job", "i", "o")})

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = store = memory.Memory(
            shape=column_layout(self.config).size,
            depth=DEPTH,
            init=[int.from_bytes(word, "little") for word in self.words],
        )
        port = store.read_port()
        streams = {"i_job": self.i_job, "i": self.i, "o": self.o}
        unit = add(m, platform, "unit", self.unit, self.config, DEPTH, **streams)
        m.d.comb += [
            port.en.eq(unit.enable),
            port.addr.eq(unit.address),
            unit.word.as_value().eq(port.data),
        ]
        return m


@dataclass
class Job:
    """One product: its payload's fields, the words of each chain, and the strips that must come."""

    fields: dict[str, np.ndarray]
    words: list[np.ndarray]
    strips: dict[int, np.ndarray]


def nested(layout, values):
    """Return one payload of a struct with structs in it."""
    parts = []
    for name, field in layout:
        value = values[name]
        if isinstance(value, dict):
            parts.append(nested(field.shape, value))
        else:
            parts.append([(np.array([[value]]), field.width)])
    return [part for each in parts for part in each]


def activations_job(config, matrix, address, tiles):
    columns = -(-matrix.inputs // config.m)
    in_group = min(matrix.group_size // config.m, columns)
    sweep = {"more_columns": columns - 1, "more_sweeps": tiles - 1, "more_in_group": in_group - 1}
    return {"address": address, "sweep": sweep}


def strips_of(outputs, count, config):
    """Return the rows of each strip of one token's outputs; beyond the matrix there are zeros."""
    rows = np.zeros(count * config.chain_length, np.int64)
    rows[: outputs.shape[1]] = outputs[0]
    return dict(enumerate(rows.reshape(count, -1)))


def streamed_job(config, random, matrix, activations, address):
    """Return a job whose words are weight streams."""
    shape = (matrix.rows, matrix.groups)
    scales = torch.from_numpy(random.integers(1, 2**config.scale_bits, shape))
    zeros = torch.zeros(shape, dtype=torch.int64)
    if matrix.is_dense:
        zeros = torch.from_numpy(random.integers(-128, 128, shape))
    chains = chain_passes(matrix, config, Mode.MATRIX_VECTOR)
    words = equally_long([weight_stream(passes, scales, zeros, config) for passes in chains])
    outputs = reference_outputs(matrix, activations, scales, zeros, config).numpy()
    strips = sum(passes.strips[passes.strips >= 0].size for passes in chains)
    plan = dict.fromkeys(
        (
            "more_columns",
            "more_in_group",
            "more_strips",
            "more_beats",
            "scale",
            "destination",
            "step",
        ),
        0,
    )
    fields = {
        "activations": activations_job(config, matrix, address, len(chains[0].strips)),
        "feed": {"words": words.shape[1], "dense": 0, "active": 0, "plan": plan},
        "active": 2**config.chains - 1,
        "paired": int(not chains[0].shares_activations),
        "more_strips": strips - 1,
    }
    return Job(fields, list(words), strips_of(outputs, strips, config))


def plain_job(config, random, columns, in_group, activations, address, most=127):
    """Return a job of plain words; only some of the chains have any.

    Args:
        in_group: columns of a scale group. most: the largest weight.
    """
    addresses, active = int(random.integers(1, 4)), int(random.integers(1, 2**config.chains))
    pairs = addresses * config.chains
    rows = pairs * 2 * config.chain_length
    weights = torch.from_numpy(random.integers(-128, most + 1, (rows, columns * config.m)))
    for chain in range(config.chains):
        if not active >> chain & 1:
            weights.reshape(addresses, config.chains, -1)[:, chain] = 0
    matrix = dense_matrix(weights, config, in_group * config.m)
    scale = int(random.integers(1, 2**config.scale_bits))
    scales = torch.full((rows, matrix.groups), scale)
    outputs = reference_outputs(matrix, activations, scales, scales * 0, config).numpy()
    # [address, chain, row of the pair, column, input] -> words of a chain: column, address, row
    blocks = weights.numpy().astype(np.int8).view(np.uint8)
    blocks = blocks.reshape(addresses, config.chains, 2, config.chain_length, columns, config.m)
    by_chain = blocks.transpose(1, 4, 0, 3, 2, 5).reshape(config.chains, -1, config.word_bits // 8)
    count = by_chain.shape[1]
    plan = {
        "more_columns": columns - 1,
        "more_in_group": in_group - 1,
        "more_strips": addresses - 1,
        "more_beats": columns * addresses * config.m - 1,
        "scale": scale,
        "destination": 0,
        "step": 2 * config.chains,
    }
    fields = {
        "activations": activations_job(config, matrix, address, 1),
        "feed": {"words": count, "dense": 1, "active": 0, "plan": plan},
        "active": active,
        "paired": 0,
        "more_strips": 2 * pairs - 1,
    }
    words = [own if active >> c & 1 else own[:0] for c, own in enumerate(by_chain)]
    strips = strips_of(outputs, 2 * pairs, config)
    kept = {s: rows for s, rows in strips.items() if active >> (s // 2 % config.chains) & 1}
    return Job(fields, words, kept)


def dense_matrix(weights, config, group_size) -> SparseMatrix:
    keep = torch.full(
        (-(-weights.shape[0] // config.m), -(-weights.shape[1] // config.m)), config.m
    )
    mask = torch.ones(weights.shape, dtype=torch.bool)
    return prune(weights.to(torch.int8), mask, keep, group_size, 8, config.m)


def random_jobs(config, random):
    """Return jobs of all kinds, and the words of the activation memory."""
    kinds = ["dense", "plain", "sparse", "plain", "long", "plain", "sparse", "sparse", "dense"]
    most_in_group = config.max_group_inputs // config.m
    jobs, stored = [], []
    for kind in kinds:
        address = sum(map(len, stored))
        most = 127
        if kind == "plain":
            columns = int(random.integers(1, 7))
            in_group, inputs = int(random.integers(1, columns + 1)), columns * config.m
        elif kind == "long":
            # All operands are so low that no group may have more columns.
            columns, in_group, most = 5 * most_in_group // 2, most_in_group, -100
            inputs = columns * config.m
        else:
            pattern = ("uniform", config.m) if kind == "dense" else ("absent", 0)
            matrix = random_matrix(config.chain, random, pattern, int(random.choice([4, 8])))
            inputs = matrix.inputs
        activations = torch.from_numpy(random.integers(-128, most + 1, (1, inputs)))
        if kind in ("plain", "long"):
            job = plain_job(config, random, columns, in_group, activations, address, most)
        else:
            job = streamed_job(config, random, matrix, activations, address)
        jobs.append(job)
        padded = np.pad(activations[0].numpy(), (0, -inputs % config.m))
        rows = np.zeros((len(padded) // config.m, config.products_per_dsp, config.m), np.int64)
        rows[:, 0] = padded.reshape(-1, config.m)
        stored.append(pack_fields((rows.reshape(len(rows), -1), 8)))
    return jobs, tuple(word.tobytes() for word in np.concatenate(stored))


def make_case(config, jobs, random, *, pauses):
    layout = matrix_job_layout(config, DEPTH)
    inputs = {
        f"i__{c}": np.concatenate([job.words[c] for job in jobs]) for c in range(config.chains)
    }
    inputs["i_job"] = np.concatenate([pack_fields(*nested(layout, job.fields)) for job in jobs])
    outputs = {"o": sum(len(job.strips) for job in jobs)}
    counts = {name: len(items) for name, items in inputs.items()} | {"o": 40}
    return Case(inputs, outputs, random_pauses(random, counts) if pauses else {})


def wrong(config, jobs, trace):
    """Return the number of the first job with another strip than golden's, or -1."""
    layout = strip_layout(config)
    bits = np.unpackbits(trace.outputs["o"], axis=1, bitorder="little")
    at = 0
    for number, job in enumerate(jobs):
        mine = bits[at : at + len(job.strips)]
        at += len(job.strips)
        given = {}
        for row in mine:
            value = int.from_bytes(np.packbits(row, bitorder="little").tobytes(), "little")
            view = layout.from_bits(value)
            given[view.strip] = [view.rows[k] for k in range(config.chain_length)]
        if set(given) != set(job.strips):
            return number
        if any(given[s] != job.strips[s].tolist() for s in given):
            return number
    return -1


def test_jobs_of_all_kinds_are_exact():
    random = np.random.default_rng(0)
    jobs, stored = random_jobs(CONFIG, random)
    cases = [make_case(CONFIG, jobs, random, pauses=pauses) for pauses in (False, True, True)]
    for trace in play(emit(UnitWithMemory, CONFIG, stored), cases):
        assert wrong(CONFIG, jobs, trace) == -1


@pytest.mark.parametrize(
    ("right", "other"),
    [
        ("+ chain * lanes", "+ lanes"),
        pytest.param("~busy & reader", "reader", marks=pytest.mark.full),
    ],
)
def test_a_broken_unit_is_seen(right, other):
    random = np.random.default_rng(0)
    jobs, stored = random_jobs(CONFIG, random)
    design = emit(UnitWithMemory, CONFIG, stored, broken(MatrixUnit, right, other))
    (trace,) = play(design, [make_case(CONFIG, jobs, random, pauses=True)])
    assert wrong(CONFIG, jobs, trace) != -1


def test_the_verilog_is_clean():
    assert cosim.lint(emit(MatrixUnit, CONFIG, DEPTH)) == []
