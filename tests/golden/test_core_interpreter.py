"""The golden core: each kind of instruction, errors, and interpreters that are broken."""

import inspect
from dataclasses import replace

import numpy as np
import pytest
import torch
from core_programs import M8, M16, UNIT, make_core, misc, packed_case, raw_product, run

from golden import chain_rows, core_interpreter, core_memories
from golden.core_interpreter import Core
from golden.matrix_engine import reference_outputs
from golden.spec.errors import NanduError
from golden.spec.instruction import instruction
from golden.spec.isa import Memory, Unit, Weights
from golden.spec.special_function_unit import Byte, Job, Operation, Reduction, Second
from golden.special_functions import functions, lane, sequences
from hw.weight_stream_reader import read_weight_stream


def starts(base, one):
    """The addresses of the runs, the innermost loop first."""
    return [
        (base + one["offset"] + i1 * one["stride_1"] + i2 * one["stride_2"] + i3 * one["stride_3"])
        % 2**34
        for i3 in range(one["count_3"])
        for i2 in range(one["count_2"])
        for i1 in range(one["count_1"])
    ]


LOOPS = {
    "count_1": 3,
    "stride_1": -64,
    "count_2": 2,
    "stride_2": 1024,
    "count_3": 2,
    "stride_3": 4096,
}


def check_load(core_class):
    """Slots of 32 bits, of which 27 count; the last word is half full; the buffer is a ring."""
    core = make_core(core_class)
    one = instruction(Unit.LD, base=3, offset=512, out=250, length=3, **LOOPS | {"count_3": 1})
    effect = run(core, one)[0]
    memory = core.memories["general"].tobytes()
    read = b"".join(memory[a : a + 48] for a in starts(0x300, one))
    slots = np.frombuffer(read, "<u4").astype(np.int64) % 2**27
    wanted = np.where(slots < 2**26, slots, slots - 2**27).reshape(-1, 8)
    assert effect.vector.addresses.tolist() == [250, 251, 252, 253, 254, 255, 0, 1, 2]
    assert effect.vector.values.tolist() == wanted.tolist()
    assert core.vectors[[255, 0]].tolist() == wanted[[5, 6]].tolist()
    assert not core.vectors[3:250].any()
    run(core, instruction(Unit.LD, out=7, length=1))
    assert core.vectors[7, :4].any() and not core.vectors[7, 4:].any()


def check_streams(core_class):
    """Each channel reads its own memory; products take words in the order of the loads."""
    core = make_core(core_class)
    first = instruction(Unit.LD, channels=0b101, offset=512, length=2, **LOOPS)
    second = instruction(Unit.LD, channels=0b100, length=3)
    run(core, first, second)
    assert [len(queue) for queue in core.streams] == [24, 0, 27]
    memory = core.memories["channel_2"].tobytes()
    wanted = [memory[a : a + 32] for a in starts(0, first)] + [memory[:48]]
    core.streams[2].take(1)
    assert core.streams[2].take(25).tobytes() == b"".join(wanted)[16 : 26 * 16]
    assert len(core.streams[2]) == 1
    assert core.streams[0].take(2).tobytes() == core.memories["channel_0"][512:544].tobytes()


def check_store(core_class):
    """Runs of any length at any byte, one after the other, channel by channel."""
    core = make_core(core_class)
    random = np.random.default_rng(1)
    core.vectors[:] = random.integers(-(2**26), 2**26, core.vectors.shape)
    core.activations[:] = random.integers(-128, 128, core.activations.shape)
    wide = np.concatenate([core.vectors[254:], core.vectors]).astype("<i4").tobytes()
    narrow = np.concatenate([core.activations[60:], core.activations])[:, 1].tobytes()
    for memory, start, source in ((Memory.VECTOR, 254, wide), (Memory.ACTIVATION, 60, narrow)):
        for mask, length in ((0, 1), (0, 37), (0b110, 5)):
            fields = {"channels": mask, "length": length, "memory": memory, "start": start}
            one = instruction(Unit.ST, base=2, token=3, offset=77, **fields, **LOOPS)
            ports = [f"channel_{c}" for c in range(3) if mask >> c & 1] or ["general"]
            before = {port: core.memories[port].copy() for port in ports}
            effect = run(core, one)[0]
            at = 0
            for port in ports:
                for address in starts(0x200, one):
                    part = np.frombuffer(source[at : at + length], np.uint8)
                    before[port][address : address + length] = part
                    at += length
            assert all((core.memories[port] == before[port]).all() for port in ports)
            assert [w.port for w in effect.memory] == [p for p in ports for _ in range(12)]
            assert b"".join(w.data.tobytes() for w in effect.memory) == source[:at]


def check_later_runs(core_class):
    """Where runs overlap the last one stays."""
    core = make_core(core_class)
    core.vectors[0] = range(8)
    run(core, instruction(Unit.ST, length=4, count_1=8, stride_1=1))
    assert core.memories["general"][:11].tolist() == [*range(8), 0, 0, 0]


def outputs(weights, x, scale):
    """Requantised products with one scale, in whole numbers."""
    totals = [int(row @ x) * scale for row in weights.astype(np.int64)]
    rounded = [t // UNIT + (2 * (t % UNIT) + (t // UNIT % 2) > UNIT) for t in totals]
    return np.clip(rounded, -(2**26), 2**26 - 1)


def check_raw(core_class):
    """Plain words, with extremes that saturate, several groups, and chains that have none."""
    random = np.random.default_rng(2)
    for columns, addresses, mask, scale in (
        (4, 2, 0, 12345),
        (1, 4, 0b101, 2**16 - 1),
        (200, 1, 0b10, 2**16 - 1),
    ):
        x = random.integers(-128, 128, columns * 8)
        weights = random.integers(-128, 128, (6 * addresses * 8, columns * 8)).astype(np.int8)
        if columns == 200:
            x, weights = np.full_like(x, -128), np.minimum(weights, -100)
        core = make_core(core_class, replace(M8, activation_depth=256))
        core.activations[(250 + np.arange(columns)) % 256, 0] = x.reshape(-1, 8)
        chains = [c for c in range(3) if (mask or 7) >> c & 1]
        for chain in chains:
            words = [
                np.concatenate(
                    [
                        weights[(2 * (a * 3 + chain) + ab) * 8 + r, k * 8 : k * 8 + 8]
                        for ab in (0, 1)
                    ]
                )
                for k in range(columns)
                for a in range(addresses)
                for r in range(8)
            ]
            core.streams[chain].put(np.stack(words).view(np.uint8))
        one = instruction(
            Unit.MV,
            weights=Weights.RAW,
            channels=mask,
            words=columns * addresses * 8,
            strips=6 * addresses,
            activation=250,
            columns=columns,
            group=min(columns, 25),
            addresses=addresses,
            scale=scale,
            out=230,
        )
        effect = run(core, one)[0]
        kept = [s for s in range(6 * addresses) if s // 2 % 3 in chains]
        wanted = outputs(weights, x, scale).reshape(-1, 8)[kept]
        assert effect.vector.addresses.tolist() == [(230 + s) % 256 for s in kept]
        assert effect.vector.values.tolist() == wanted.tolist()
        assert core.vectors[(230 + np.array(kept)) % 256].tolist() == wanted.tolist()
        assert not any(map(len, core.streams))
    assert wanted.max() == 2**26 - 1


def check_keys(core_class):
    """Keys stored token by token, loaded as a matrix whose rows are tokens: attention's scores."""
    random = np.random.default_rng(3)
    for config, tokens in ((M8, 100), (M16, 70)):
        m, chains, columns = config.m, config.chains, 4
        core = make_core(core_class, config)
        keys = random.integers(-128, 128, (tokens, columns * m))
        for t, key in enumerate(keys):
            pair, block = t // (2 * m), 2 * m * m
            core.activations[5 : 5 + columns, t & 1] = key.reshape(-1, m)
            offset = pair // chains * columns * block + t % m * 2 * m + m * (t % (2 * m) >= m)
            store = {"memory": Memory.ACTIVATION, "token": t & 1, "start": 5, "length": m}
            place = {"base": 4, "offset": offset, "channels": 1 << pair % chains}
            run(core, instruction(Unit.ST, **store, **place, count_1=columns, stride_1=block))
        pairs = -(-tokens // (2 * m))
        addresses, mask = -(-pairs // chains), (1 << min(pairs, chains)) - 1
        query = random.integers(-128, 128, columns * m)
        core.activations[:columns, 0] = query.reshape(-1, m)
        loops = {"count_1": addresses, "stride_1": columns * block, "count_2": columns}
        effects = run(
            core,
            instruction(Unit.LD, base=4, channels=mask, length=m, **loops, stride_2=block),
            raw_product(config, columns, addresses, mask),
        )
        scores = core.vectors.reshape(-1)[:tokens]
        assert scores.tolist() == (keys @ query).tolist()
        assert effects[1].vector is not None and not any(map(len, core.streams))


def check_values(core_class):
    """Values stored byte by byte, loaded as a matrix whose rows are channels of the head."""
    random = np.random.default_rng(4)
    for config, tokens, size in ((M8, 45, 64), (M16, 20, 64)):
        m, chains = config.m, config.chains
        core = make_core(core_class, config)
        values = random.integers(-128, 128, (tokens, size))
        pairs = size // (2 * m)
        addresses = -(-pairs // chains)
        for t, value in enumerate(values):
            core.activations[: size // m, 0] = value.reshape(-1, m)
            for a in range(addresses):
                here = min(pairs - a * chains, chains)
                offset = (t // m * addresses + a) * m * 2 * m + t % m
                store = {"memory": Memory.ACTIVATION, "start": 2 * a * chains, "length": 1}
                place = {"base": 4, "offset": offset, "channels": (1 << here) - 1}
                loops = {"count_1": m, "stride_1": 2 * m, "count_2": 2, "stride_2": m}
                run(core, instruction(Unit.ST, **store, **place, **loops))
        columns = -(-tokens // m)
        weights = np.zeros(columns * m, np.int64)
        weights[:tokens] = random.integers(0, 128, tokens)
        core.activations[:columns, 0] = weights.reshape(-1, m)
        mask = (1 << min(pairs, chains)) - 1
        run(
            core,
            instruction(Unit.LD, base=4, channels=mask, length=columns * addresses * m),
            raw_product(config, columns, addresses, mask),
        )
        assert core.vectors.reshape(-1)[:size].tolist() == (weights[:tokens] @ values).tolist()


def check_norm(core_class):
    """RMSNorm and its quantisation; scalar registers begin every program with 0."""
    core, length = make_core(core_class), 43
    random = np.random.default_rng(5)
    x = torch.from_numpy(random.integers(-(2**20), 2**20, length))
    gamma = torch.from_numpy(random.integers(-(2**16), 2**16, length))
    for place, vector in ((252, x), (40, gamma)):
        words = (place + np.arange(6)) % 256
        core.vectors[words] = np.pad(vector, (0, 5), constant_values=2**26 - 1).reshape(-1, 8)
    largest = Job(Operation.LINEAR, length, wide=False, reduction=Reduction.MAGNITUDE, target=3)
    load = misc(Job(Operation.LOAD, first=1000, shift=4, target=9))
    jobs = sequences.rms_norm_jobs(length, 3, epsilon=9, work=4, shift=-22)
    norms = [misc(job, a=252, b=40, out=250) for job in jobs]
    jobs = sequences.quantise_jobs(length, 4, 5)
    quantisers = [misc(job, a=250, out_byte=62, token=5) for job in jobs]
    core.activations[:] = 99
    effects = run(core, misc(largest, a=252), load, *norms, *quantisers)[2:]
    wanted = functions.rms_norm(x, gamma, functions.magnitude(x), 16000, -22)
    whole = np.pad(wanted.numpy(), (0, 5)).reshape(-1, 8)
    assert effects[3].vector.addresses.tolist() == [250, 251, 252, 253, 254, 255]
    assert effects[3].vector.values.tolist() == whole.tolist()
    assert [effect.vector is None for effect in effects[:3]] == [True] * 3
    normal = functions.magnitude(wanted)
    quantised = functions.quantise(wanted, functions.scalars.quantiser(normal))
    given = core.activations[[62, 63, 0, 1, 2, 3]]
    assert given[:, 1].tolist() == np.pad(quantised.numpy(), (0, 5)).reshape(-1, 8).tolist()
    assert (given[:, 0] == 99).all() and (core.activations[4:62] == 99).all()
    assert (effects[5].activation.lane, effects[5].vector) == (1, None)
    show = Job(Operation.LINEAR, 1, first=0, source=Second.SCALAR, other=9, second=1)
    assert not run(core, misc(show))[0].vector.values.any()


def check_softmax(core_class):
    """Both halves of probabilities, each with a pass of its own."""
    core, length = make_core(core_class), 21
    x = torch.from_numpy(np.random.default_rng(6).integers(-(2**18), 2**18, length))
    core.vectors[8:11] = np.pad(x, (0, 3)).reshape(-1, 8)
    exponents = sequences.softmax_job(length, 1, 2, fraction_bits=14, byte=Byte.HIGH)
    low = Job(Operation.LINEAR, length, wide=False, byte=Byte.LOW)
    run(
        core,
        misc(sequences.maximum_job(length, 1), a=8),
        misc(exponents, a=8, out=8, out_byte=10),
        misc(low, a=8, out_byte=20),
    )
    wanted, total = functions.softmax_two_pass(x, 14)
    assert core.vectors[8:11].reshape(-1)[:length].tolist() == wanted.tolist()
    assert core.functions.registers[2] == total
    for place, half in zip((10, 20), lane.halves(wanted), strict=True):
        given = core.activations[place : place + 3, 0].reshape(-1)
        assert given.tolist() == [*half.tolist(), 0, 0, 0]


def check_packed(core_class):
    """Matrices as weight streams, loaded ahead of their products; read once for two tokens."""
    random = np.random.default_rng(8)
    for config in (M8, M16):
        read = []

        def reader(words, engine, read=read):
            read.append(words)
            return read_weight_stream(words, engine)

        core, cases = packed_case(core_class, config, reader)
        for _ in range(2):
            core.activations[:] = random.integers(-128, 128, core.activations.shape)
            core.vectors[:] = 5
            before = core.activations.copy()
            run(core, *(load for _, load, _ in cases), *(product for *_, product in cases))
            for (matrix, scales, zeros), _, product in cases:
                lane = before[product["activation"] :, 0].reshape(-1)[: matrix.inputs]
                x = torch.from_numpy(lane.astype(np.int64))[None]
                wanted = reference_outputs(matrix, x, scales, zeros, config.engine)[0].tolist()
                strips = core.vectors[product["out"] :][: product["strips"] + 1].reshape(-1)
                assert strips[: matrix.rows].tolist() == wanted
                assert not strips[matrix.rows : -config.m].any() and strips[-1] == 5
            assert not any(map(len, core.streams))
        assert len(read) <= 3 * config.chains


def check_several_tokens(core_class):
    """MM does what an MV for each token does, with one load; also over the memories' ends."""
    for mask, tokens, step, out_step in ((0b111, 5, 3, 24), (0b101, 3, 61, 250), (0b1, 1, 7, 7)):
        cores = [make_core(core_class, M8, 1 << 16) for _ in range(2)]
        raw, load = raw_product(M8, 4, 4, mask), instruction(Unit.LD, channels=mask, length=128)
        fields = dict(zip([f.name for f in raw.format.fields], raw.values, strict=True))
        place = {"activation": 2, "out": 5}
        for token in range(tokens):
            own = {"activation": 2 + token * step & 63, "out": 5 + token * out_step & 255}
            cores[0].activations[:] = np.random.default_rng(9).integers(-128, 128, (64, 2, 8))
            run(cores[0], load, instruction(Unit.MV, **fields | own))
        cores[1].activations[:] = cores[0].activations
        steps = {"tokens": tokens, "step": step, "out_step": out_step}
        effects = run(cores[1], load, instruction(Unit.MM, **fields | place | steps))
        assert (cores[0].vectors == cores[1].vectors).all() and cores[1].vectors.any()
        assert len(effects[1].vector.values) == tokens * 8 * mask.bit_count()
        assert not any(map(len, cores[1].streams))


CHECKS = [
    check_load,
    check_streams,
    check_store,
    check_later_runs,
    check_raw,
    check_keys,
    check_values,
    check_norm,
    check_softmax,
    check_packed,
    check_several_tokens,
]


@pytest.mark.parametrize("check", CHECKS)
def test_a_core_does_what_instructions_say(check):
    check(Core)


def broken_core(module, right, wrong):
    """Return a copy of the core in which, in one module, `right` is replaced by `wrong`."""
    source = inspect.getsource(module)
    assert source.count(right) == 1
    changed = {"__name__": module.__name__}
    exec(source.replace(right, wrong), changed)
    if module is core_interpreter:
        return changed["Core"]
    names = dict(vars(core_interpreter))
    names |= {name: changed[name] for name in names if name in changed and name[:2] != "__"}
    exec(inspect.getsource(Core), names)
    return names["Core"]


INTERPRETER, MEMORIES, ROWS = core_interpreter, core_memories, chain_rows


@pytest.mark.parametrize(
    ("module", "right", "wrong", "check"),
    [
        (INTERPRETER, "slots << above >> above", "slots", check_load),
        (INTERPRETER, "np.pad(data, (0, missing))", "np.pad(data, (missing, 0))", check_load),
        (INTERPRETER, 'one["out"], self._wide', "1, self._wide", check_load),
        (MEMORIES, "reshape(-1)", "T.reshape(-1)", check_load),
        (MEMORIES, 'bases[one["base"]] + ', "", check_load),
        (INTERPRETER, "self._parts.append(words)", "self._parts.insert(0, words)", check_streams),
        (INTERPRETER, "first[count:])", "first)", check_streams),
        (
            INTERPRETER,
            "for port in ports for start in starts]",
            "for start in starts for port in ports]",
            check_store,
        ),
        (INTERPRETER, 'one["token"] & 1]', "0]", check_store),
        (INTERPRETER, "in effect.memory:", "in effect.memory[::-1]:", check_later_runs),
        (ROWS, "transpose(1, 3, 2, 0, 4)", "transpose(1, 2, 3, 0, 4)", check_raw),
        (ROWS, "step * np", "2 * np", check_raw),
        (INTERPRETER, "2 * chain, *shape", "chain, *shape", check_keys),
        (ROWS, "reshape(-1, addresses, m, 2, m)", "reshape(addresses, -1, m, 2, m)", check_values),
        (INTERPRETER, 'one["token"] & 1, values', "0, values", check_norm),
        (INTERPRETER, "% config.activation_depth", "% 999", check_norm),
        (INTERPRETER, "self._known_rows[key] =", "return", check_packed),
        (INTERPRETER, "int(token) * step", "0", check_several_tokens),
        (INTERPRETER, "tokens[:, None] * out_step", "0 * tokens[:, None]", check_several_tokens),
    ],
)
def test_a_broken_core_is_seen(module, right, wrong, check):
    core_class = broken_core(module, right, wrong)
    with pytest.raises((AssertionError, NanduError, ValueError, IndexError, TypeError)):
        check(core_class)
