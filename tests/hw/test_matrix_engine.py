"""The matrix engine in Verilator: golden's outputs bit for bit, the contract's cycles exactly."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from matrices import checkered, integers, sparse

from golden.matrix_engine import Mode, chain_passes, reference_outputs, sweeps
from golden.sddmm import BLOCK, keys_of, sddmm, sddmm_jobs
from golden.spec.errors import ConfigError
from golden.spec.matrix_engine import MatrixEngineConfig
from hw import cosim, payloads, player, verify_engine
from hw.emit import emit
from hw.engine_cases import coverage, crosses, random_cases
from hw.engine_stalls import transfers
from hw.matrix_engine import MatrixEngine
from hw.verify_engine import Case, CaseResult, run_cases

CONFIG = MatrixEngineConfig()
SMALL = MatrixEngineConfig(
    m=8,
    strips=2,
    activation_depth=48,
    word_bits=128,
    weight_depth=2,
    index_depth=8,
    pass_depth=2,
    accumulator_bits=23,
    scale_bits=9,
    scale_shift=12,
    output_bits=6,
)
EIGHTHS = replace(
    SMALL,
    chains=1,
    accumulator_bits=27,
    scale_bits=16,
    scale_shift=17,
    output_bits=27,
    zero_fraction_bits=3,
)
CONFIGS = [
    SMALL,
    MatrixEngineConfig(chains=4, m=8, word_bits=128, output_bits=16),
    MatrixEngineConfig(chains=1, products_per_dsp=1, group_length=4, word_bits=128),
    MatrixEngineConfig(
        chains=3, m=32, chain_length=8, group_length=8, word_bits=384, activation_depth=192
    ),
]
MM, MV = Mode.MATRIX_MATRIX, Mode.MATRIX_VECTOR


@pytest.fixture(scope="module")
def design():
    return emit(MatrixEngine, CONFIG)


def failed(results):
    return [result for result in results if not result.passed]


def a_case(name, config, keep, shape, tokens=4, *, mode=MM, group_size=None, scale=250, **options):
    """A job with random operands and one scale for all rows."""
    matrix = sparse(config, keep, shape, group_size=group_size)
    activations = integers((tokens, matrix.inputs), seed=1)
    grid = (matrix.rows, matrix.groups)
    scales = torch.as_tensor(scale).expand(grid)
    zeros = integers(grid, seed=2) if matrix.is_dense else torch.zeros(grid, dtype=torch.int64)
    return Case(name, config, matrix, activations, scales, zeros, mode, **options)


def codes_case(mode, shape, tokens):
    """A job of 4-bit codes, each row's groups of 32 with a scale and a zero point in eighths."""
    matrix = sparse(EIGHTHS, EIGHTHS.m, shape, group_size=32, bits=4)
    grid = (matrix.rows, matrix.groups)
    operands = integers((tokens, matrix.inputs), seed=1), integers(grid, 16, 2) + 2**15
    return Case(f"{mode.value}, {shape}", EIGHTHS, matrix, *operands, integers(grid, seed=3), mode)


def outputs_of(case):
    return reference_outputs(case.matrix, case.activations, case.scales, case.zeros, case.config)


def directed_cases(config):
    """Yield jobs at the edges of what a job may be, in both modes."""
    m, keeps = config.m, config.chain.keeps
    whole = 2 ** (config.scale_bits - 1)
    fitting = config.activation_depth // m
    for mode in Mode:
        for n in (keeps[0], m):
            about = f"{mode.value}, N = {n}"
            yield a_case(f"1 x 1, {about}", config, n, (1, 1), 1, mode=mode)
            yield a_case(f"one row, {about}", config, n, (1, 4 * m + 1), 2, mode=mode)
            yield a_case(f"one column, {about}", config, n, (3 * m + 1, 1), 3, mode=mode)
            # More inputs than the buffer holds, and more strips than a tile has.
            shape = ((config.strips + 1) * config.chain_length, (min(fitting, 8) + 3) * m)
            group = min(fitting, 2) * m
            yield a_case(f"many, {about}", config, n, shape, 2, mode=mode, group_size=group)
            # Every pass finishes a strip: the credits run out.
            shape = (4 * config.chain_length, 6 * m)
            yield a_case(f"small groups, {about}", config, n, shape, 2, mode=mode, group_size=m)
            saturated = a_case(f"saturation, {about}", config, n, (m, m), 4, mode=mode, scale=whole)
            ends = checkered((4, m))
            yield replace(saturated, activations=ends, scales=saturated.scales * 1)
        columns = min(fitting, 6)
        absent = torch.zeros(5, columns, dtype=torch.int64)
        absent[:-1, 0], absent[-1, -1] = keeps[0], m
        size = (5 * m, columns * m)
        yield a_case(f"strips that end early, {mode.value}", config, absent, size, mode=mode)
        yield a_case(f"nothing, {mode.value}", config, 0, size, mode=mode)
        rising = torch.tensor([*keeps, *keeps[::-1], 0, keeps[0], m]).repeat(3).reshape(3, -1)
        size = (3 * m, rising.shape[1] * m)
        group = min(2, fitting) * m
        yield a_case(f"every N, {mode.value}", config, rising, size, mode=mode, group_size=group)


def with_pauses(cases):
    for number, case in enumerate(cases):
        yield case
        yield replace(case, idle=True, stall=True, reset_after=37 * number % 150)


def test_random_jobs_of_every_cross_are_exact(design):
    cases = random_cases(CONFIG, len(crosses(CONFIG)), seed=1)
    assert coverage(cases) == 1.0
    results = run_cases(cases, design=design, seed=1)
    assert failed(results) == []
    assert sum(result.stall_cycles for result in results) > 2000
    assert any(case.reset_after for case in cases)


@pytest.mark.parametrize("target", ["ultrascale+", pytest.param("ecp5", marks=pytest.mark.full)])
def test_random_jobs_are_exact_in_a_vendors_cells(target):
    cases = [*random_cases(CONFIG, 40, seed=2), *directed_cases(CONFIG)]
    assert failed(run_cases(cases, target=target, seed=2)) == []


def test_directed_jobs_are_exact(design):
    cases = list(with_pauses(directed_cases(CONFIG)))
    assert failed(run_cases(cases, design=design, seed=3)) == []


@pytest.mark.parametrize(
    "config",
    [*CONFIGS[:2], *(pytest.param(c, marks=pytest.mark.full) for c in CONFIGS[2:])],
    ids=str,
)
def test_every_configuration_is_exact(config):
    cases = [*random_cases(config, 40, seed=3), *with_pauses(directed_cases(config))]
    assert failed(run_cases(cases, seed=3)) == []


def test_codes_with_zero_points_in_eighths_are_exact():
    cases = [
        codes_case(mode, shape, tokens)
        for shape in ((8, 32), (40, 144), (21, 75))
        for mode, tokens in ((MM, 5), (MV, 1))
    ]
    assert failed(run_cases([*with_pauses(cases)], seed=4)) == []


@pytest.mark.full
@pytest.mark.parametrize("seed", range(20, 23))
@pytest.mark.parametrize("config", [CONFIG, *CONFIGS], ids=str)
def test_many_random_jobs_are_exact(config, seed):
    assert failed(run_cases(random_cases(config, 300, seed), seed=seed)) == []


def test_the_directed_jobs_do_what_they_say():
    cases = {case.name: case for case in directed_cases(CONFIG)}
    saturated = cases["saturation, matrix-matrix, N = 16"]
    assert {-128, 127} <= set(outputs_of(saturated).flatten().tolist())
    for config in CONFIGS:
        for case in directed_cases(config):
            if case.name.startswith("many") and config in (CONFIGS[0], CONFIGS[3]):
                passes = chain_passes(case.matrix, config, case.mode)[0]
                assert len(sweeps(passes, case.matrix.group_size, config)) > 1


def test_a_reset_in_any_cycle_leaves_nothing_behind(design):
    keep = torch.tensor([[2, 16, 0], [8, 2, 4]])
    job = a_case("", CONFIG, keep, (32, 48), group_size=32)
    (whole,) = run_cases([job], design=design)
    cases = [replace(job, name=f"{k}", reset_after=k) for k in range(1, whole.cycles + 4)]
    assert failed(run_cases(cases, design=design)) == []


PAUSED = np.arange(4000) % 300 < 250


@pytest.mark.parametrize("stream", ["o__0", "o__1", "i_activation__1", "i_scale__1", "i_word__1"])
@pytest.mark.parametrize("mode", Mode)
def test_one_stream_that_waits_for_long_disturbs_no_other(design, monkeypatch, mode, stream):
    monkeypatch.setattr(
        player,
        "random_pauses",
        lambda _, streams, **__: {stream: PAUSED} if stream in streams else {},
    )
    jobs = [
        a_case("small groups", CONFIG, 2, (256, 64), mode=mode, group_size=16),
        a_case("mixed", CONFIG, torch.tensor([[2, 16], [0, 8], [4, 2]]), (48, 32), mode=mode),
    ]
    cases = [replace(job, idle=True, stall=True) for job in jobs]
    results = run_cases(cases, design=design)
    assert failed(results) == []
    used = mode is MV or stream[-1] == "0" or stream[0] == "o" or stream == "i_activation__1"
    if used and not (mode is MV and stream == "i_activation__1"):
        assert results[0].stall_cycles > 100


@pytest.mark.full
def test_sums_of_activations_that_nobody_takes_hold_up_the_buffer(monkeypatch):
    config = MatrixEngineConfig(chains=1, m=8, word_bits=128, strips=64)
    case = a_case("", config, 8, (8, 64 * 8), group_size=8, idle=True)
    # Without scales no row is taken: there is room for the rows of 64 groups, but for 32 sums.
    pauses = {"i_scale__0": np.ones(1500, bool)}
    monkeypatch.setattr(player, "random_pauses", lambda *_, **__: pauses)
    (result,) = run_cases([case])
    assert result.passed and result.stall_cycles > 1000


def hardware_outputs(cases, monkeypatch, design):
    """Return what the engine gives each job of whole dense rows, int8 [tokens, rows]."""
    traces, play = [], player.play
    monkeypatch.setattr(player, "play", lambda *a, **k: traces.extend(play(*a, **k)) or traces)
    assert failed(run_cases(cases, design=design)) == []
    found = []
    for case, trace in zip(cases, traces, strict=True):
        config = case.config
        # [batches, rows, lanes] of each chain
        parts = [
            trace.outputs[f"o__{c}"].view(np.int8).reshape(case.batches, -1, 2)
            for c in range(config.chains)
        ]
        tokens = np.stack(parts, axis=1).transpose(0, 1, 3, 2)
        rows = tokens.reshape(-1, tokens.shape[3])
        found.append(torch.from_numpy(rows[: len(case.activations), : case.matrix.rows].copy()))
    return found


def test_scores_of_block_sparse_attention_are_the_masked_product(design, monkeypatch):
    queries, keys = integers((100, 24)), integers((150, 24), seed=1)
    mask = torch.tensor([[True, False, True], [False, True, True]])
    scales = integers((150,), seed=2).abs() * 100 + 1
    jobs = sddmm_jobs(mask, len(queries), len(keys))
    cases = [
        Case(
            f"block {number}",
            CONFIG,
            keys_of(job, keys, CONFIG),
            queries[job.queries.start : job.queries.stop],
            scales[job.keys][:, None],
            torch.zeros(len(job.keys), 1, dtype=torch.int64),
            sddmm=True,
        )
        for number, job in enumerate(jobs)
    ]
    scores = torch.zeros(len(queries), len(keys), dtype=torch.int64)
    for job, block in zip(jobs, hardware_outputs(cases, monkeypatch, design), strict=True):
        scores[job.queries.start : job.queries.stop, job.keys] = block.long()
    wanted = mask.repeat_interleave(BLOCK, 0)[:100].repeat_interleave(BLOCK, 1)[:, :150]
    real = (queries @ keys.T).double() * scales / 2**CONFIG.scale_shift
    plain = real.round().clamp(-128, 127).long() * wanted
    assert torch.equal(scores, plain)
    assert torch.equal(sddmm(queries, keys, mask, scales, CONFIG).long(), plain)
    assert plain.unique().numel() > 10


def test_98_percent_of_the_multipliers_work_on_large_matrices(design):
    kinds = [(n, MM) for n in CONFIG.chain.keeps] + [(16, MV)]
    cases = [
        a_case("", CONFIG, n, (rows, 1024), 4 if mode is MM else 1, mode=mode)
        for n, mode in kinds
        for rows in (512, 1024)
    ]
    results = run_cases(cases, design=design)
    assert failed(results) == []
    for short, long in zip(results[::2], results[1::2], strict=True):
        # What another 512 rows take: filling and emptying the engine costs as much for both.
        cycles = long.cycles - short.cycles
        assert short.stall_cycles == long.stall_cycles == 0
        assert (long.products - short.products) / (CONFIG.lanes * cycles) > 0.98


def test_coverage_counts_what_the_cases_hit():
    cases = random_cases(CONFIG, 5, seed=0)
    assert coverage([*cases, *cases]) == 5 / len(crosses(CONFIG)) == 5 / 292


def test_random_cases_repeat_with_their_seed_and_differ_without():
    first, again, other = (random_cases(CONFIG, 4, seed) for seed in (1, 1, 2))
    assert torch.equal(first[3].matrix.weights, again[3].matrix.weights)
    assert torch.equal(first[3].scales, again[3].scales)
    assert [case.matrix.keep.shape for case in first] != [case.matrix.keep.shape for case in other]


@pytest.mark.parametrize("configs", [[], [CONFIG, SMALL]])
def test_cases_of_one_configuration_are_needed(configs):
    cases = [case for config in configs for case in random_cases(config, 1, seed=0)]
    message = f"^the cases have {len(configs)} configurations; one is needed$"
    with pytest.raises(ConfigError, match=message):
        run_cases(cases)


@pytest.mark.parametrize(
    "config", [CONFIG, *(pytest.param(c, marks=pytest.mark.full) for c in CONFIGS)], ids=str
)
@pytest.mark.parametrize("target", ["generic", "ultrascale+", "ecp5"])
def test_the_verilog_is_clean(config, target):
    assert cosim.lint(emit(MatrixEngine, config, target=target)) == []


# What follows breaks something on purpose: each must be seen.


def test_a_case_passes_only_with_golden_outputs_and_cycles_that_have_a_reason():
    counted = {"cycles": 45, "contract_cycles": 41, "stall_cycles": 4, "unexplained": 0}
    right = CaseResult("", 720, 32, **counted, compared=16, mismatches=0)
    assert right.passed and right.utilisation == 0.5
    for wrong in ("mismatches", "unexplained", "stall_cycles"):
        assert not replace(right, **{wrong: 1}).passed


# The bit is one that no rounding hides.
FLIPS = {"words": 6, "indices": 0, "passes": 0, "scales": 14, "activations": 6, "segments": 0}


@pytest.mark.parametrize(("stream", "bit"), FLIPS.items())
def test_a_flipped_bit_is_seen(design, monkeypatch, stream, bit):
    exact = getattr(payloads, f"of_{stream}")

    def flipped(*arguments):
        array = exact(*arguments)
        array[len(array) // 2, bit // 8] ^= 1 << bit % 8
        return array

    monkeypatch.setattr(payloads, f"of_{stream}", flipped)
    case = a_case("", CONFIG, 8, (32, 64), scale=2**14, group_size=32)
    (result,) = run_cases([replace(case, activations=checkered((4, 64)))], design=design)
    assert result.mismatches > 0
    assert re.match(r"^chain [01]: \d+ of its outputs differ$", result.first_mismatch)


def test_a_wrong_output_is_seen(design, monkeypatch):
    def one_more(*arguments):
        outputs = reference_outputs(*arguments)
        outputs[3, 5] ^= 1
        return outputs

    monkeypatch.setattr(verify_engine, "reference_outputs", one_more)
    (result,) = run_cases([a_case("", CONFIG, 8, (32, 64))], design=design)
    assert (result.mismatches, result.first_mismatch) == (1, "chain 1: 1 of its outputs differ")


@pytest.mark.parametrize("cycles", [-1, 1])
def test_a_contract_that_is_off_by_a_cycle_is_seen(design, monkeypatch, cycles):
    exact = verify_engine.engine_cycles
    monkeypatch.setattr(verify_engine, "engine_cycles", lambda *job: exact(*job) + cycles)
    (result,) = run_cases([a_case("", CONFIG, 8, (32, 64))], design=design)
    assert (result.mismatches, result.unexplained, result.stall_cycles) == (0, 0, 0)
    assert result.cycles == result.contract_cycles - cycles
    assert not result.passed


@pytest.mark.parametrize("stream", ["o__1", "i_activation__0"])
def test_a_handshake_that_the_stalls_do_not_explain_is_seen(design, monkeypatch, stream):
    def late(*job):
        passed = transfers(*job)
        passed[stream][-1] += 1
        return passed

    monkeypatch.setattr(verify_engine, "transfers", late)
    case = a_case("", CONFIG, 8, (32, 64), idle=True, stall=True)
    (result,) = run_cases([case], design=design)
    assert (result.mismatches, result.unexplained) == (0, 1)
    assert not result.passed


BREAKS = {
    "credits that are ignored": (r"(assign \S+ +)= \| room;", r"\1= 1'h1;"),
    "credits that are counted wrong": (r"(assign \S+ +)= \| room;", r"\1= room[1];"),
    "a bit of the weights that is stuck": (
        r"(\.i_word__payload\(unit_1__i_word__payload)",
        r"\1 | 1",
    ),
    "a unit without indices": (r"(\.broadcast\()fork_index__broadcast", r"\g<1>1'h0"),
}


@pytest.mark.parametrize(
    "what", [pytest.param(w, marks=[pytest.mark.full] * (k > 1)) for k, w in enumerate(BREAKS)]
)
def test_broken_hardware_is_seen(what):
    design = emit(MatrixEngine, SMALL)
    pattern, replacement = BREAKS[what]
    verilog, found = re.subn(pattern, replacement, design.verilog, count=1)
    assert found == 1
    cases = [
        case for case in with_pauses(directed_cases(SMALL)) if case.stall or "small" in case.name
    ]
    results = run_cases(cases, design=replace(design, verilog=verilog))
    assert failed(results) != []


# What loses a cycle, and the signal that decides when it happens.
HICCUPS = {"an input": ("job_keeper", "ready")}
MORE_HICCUPS = {
    "a beat": ("chain_sequencer", "weight_ready"),
    "a read": ("sweep_reader", r"\control.valid "),
    "a loaded input": ("chain_sequencer", "i_activation__ready"),
    "a queued word": (f"fifo_{SMALL.word_bits}x", "i__ready"),
    "an expanded beat": ("expansion_sequencer", r"\begin "),
    "a row": ("group_scale", "i_row__ready"),
}


def with_hiccups(design, module, signal):
    """The design with a module's signal low in every 16th cycle."""
    header = re.search(rf"^module {module}\w*\(.*?\);$", design.verilog, re.M | re.S).end()
    before, body = design.verilog[:header], design.verilog[header:]
    assignment = f"  assign {signal} = "
    assert body.count(assignment, 0, body.index("endmodule")) == 1
    counter = "\n  reg [3:0] hiccup = 0;\n  always @(posedge clk) hiccup <= rst ? 0 : hiccup + 1;"
    body = body.replace(assignment, f"{assignment}(hiccup != 0) & ", 1)
    return replace(design, verilog=before + counter + body)


@pytest.mark.parametrize(
    "what", [*HICCUPS, *(pytest.param(what, marks=pytest.mark.full) for what in MORE_HICCUPS)]
)
def test_a_cycle_lost_without_a_cause_is_seen_although_streams_wait(what):
    design = with_hiccups(emit(MatrixEngine, SMALL), *(HICCUPS | MORE_HICCUPS)[what])
    cases = [case for case in with_pauses(directed_cases(SMALL)) if case.stall]
    results = run_cases(cases, design=design)
    assert [result.mismatches for result in results] == [0] * len(results)
    assert len(failed(results)) > len(results) / 4
