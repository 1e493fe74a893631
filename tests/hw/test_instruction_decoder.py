"""The decoder in Verilator: what golden decodes, each instruction in its cycle, and every error."""

import re

import numpy as np
import pytest
from payload_rows import to_bytes
from proofs import broken
from watched import Watched

from golden.spec.errors import ConfigError
from golden.spec.instruction import IllegalInstruction, instruction, walk
from golden.spec.isa import FORMATS, ErrorCode, SystemOperation, Unit
from golden.spec.special_function_unit import Operation, Second
from hw import cosim
from hw.emit import emit
from hw.instruction_decoder import InstructionDecoder
from hw.isa import error_layout, instruction_layout, port_name, word_layout
from hw.player import Case, count_mismatches, play, random_pauses
from hw.random_programs import broken_words, random_instruction, random_program

CHANNELS = 8
OUTPUTS = {unit: port_name("o", unit) for unit in Unit}
END = instruction(Unit.SYS, op=SystemOperation.END)


def encode(program):
    return [word for one in program for word in one.encode()]


class Job:
    """Programs one behind the other, and what must become of them."""

    def __init__(self, programs, channels=CHANNELS, **options):
        self.rows = {unit: [] for unit in Unit}
        self.ends = {unit: [] for unit in Unit}  # the number of each instruction's last word
        self.errors, words = [], []
        self.length = 0  # words that are decoded
        for program in programs:
            try:
                for pc, one in walk(program, channels):
                    fields = dict(zip((f.name for f in one.format.fields), one.values, strict=True))
                    self.length = len(words) + pc + one.format.words
                    self.rows[one.unit].append({**fields, "pc": pc})
                    self.ends[one.unit].append(self.length - 1)
            except IllegalInstruction as error:
                self.errors.append({"code": error.code, "pc": error.pc})
            words += [{"word": w, "last": k == len(program) - 1} for k, w in enumerate(program)]
            if self.errors:
                break
        self.outputs = {
            port: to_bytes(instruction_layout(unit), self.rows[unit])
            for unit, port in OUTPUTS.items()
        }
        self.outputs["o_error"] = to_bytes(error_layout(), self.errors)
        counts = {port: len(rows) for port, rows in self.outputs.items()}
        self.case = Case({"i": to_bytes(word_layout(), words)}, counts, **options)

    def wrong(self, trace):
        """Return what is wrong in a trace, or an empty text."""
        for port, expected in self.outputs.items():
            if count_mismatches(trace.outputs[port], expected):
                return f"other payloads at {port}"
        taken = trace.transfers("i")
        keeps = np.zeros(len(trace.valid["i"]), bool)  # cycles in which no word may be taken
        for unit, port in OUTPUTS.items():
            valid, ready = trace.valid[port], trace.ready[port]
            waited = np.concatenate([[False], (valid & ~ready)[:-1]])
            if (np.flatnonzero(valid & ~waited) != taken[self.ends[unit]] + 1).any():
                return f"{port} is offered in other cycles"
            keeps |= valid & ~ready
        for row, end, leaves in zip(
            self.rows[Unit.SYS],
            self.ends[Unit.SYS],
            trace.transfers(OUTPUTS[Unit.SYS]),
            strict=True,
        ):
            if row["op"] == SystemOperation.END:
                keeps[taken[end] + 1 : leaves + 1] = True
        if self.errors:
            keeps[taken[-1] + 1 :] = True
        if (trace.ready["i"] == keeps)[trace.valid["i"]].any():
            return "i is ready in other cycles"
        if not self.errors:
            return "" if len(taken) == len(self.case.inputs["i"]) else "words are left"
        if len(taken) != self.length + self.words_of_the_error():
            return "other words are taken behind the error"
        return ""

    def words_of_the_error(self):
        """Return how many words are taken of an instruction with an error."""
        words = len(self.case.inputs["i"]) - self.length
        (error,) = self.errors
        if error["code"] == ErrorCode.PAST_END:
            return words
        if error["code"] == ErrorCode.ILLEGAL_OPCODE:
            return 1
        opcode = self.case.inputs["i"][self.length][3] >> 4
        return next(form.words for form in FORMATS.values() if form.opcode == opcode)


@pytest.fixture(scope="module")
def design():
    return emit(Watched, InstructionDecoder, CHANNELS)


def judge(design, jobs):
    traces = play(design, [job.case for job in jobs])
    return [job.wrong(trace) for job, trace in zip(jobs, traces, strict=True)], traces


def pauses(random, words, share):
    streams = {"i": words} | dict.fromkeys(OUTPUTS.values(), words)
    return random_pauses(random, streams, share)


def test_random_programs_with_random_pauses(design):
    random = np.random.default_rng(1)
    jobs = []
    for number in range(12):
        programs = [
            encode(random_program(random, int(random.integers(1, 120)), CHANNELS)) for _ in range(4)
        ]
        programs[1] += random.integers(0, 1 << 32, int(random.integers(1, 20))).tolist()
        share = (0.0, 0.3, 0.6)[number % 3]
        breaks = {"reset_after": 150 * (number % 2)}
        jobs.append(Job(programs, pauses=pauses(random, 3000, share), **breaks))
    assert judge(design, jobs)[0] == [""] * len(jobs)


def test_every_field_at_its_extremes(design):
    """The least and the largest value of each field; half of the others have theirs, too."""
    random = np.random.default_rng(6)
    program = []
    for unit, form in FORMATS.items():
        fixed = {"op": SystemOperation.SYNC} if unit is Unit.SYS else {}
        for field in form.fields:
            for value in (field.allowed[0], field.allowed[-1]):
                if field.codes is SystemOperation and value == SystemOperation.END:
                    continue
                value &= (1 << CHANNELS) - 1 if field.name == "channels" else -1
                fields = {**fixed, field.name: value}
                program.append(random_instruction(random, unit, fields, CHANNELS))
    assert judge(design, [Job([encode([*program, END])])])[0] == [""]


def test_a_word_per_cycle(design):
    random = np.random.default_rng(2)
    program = encode(random_program(random, 200, CHANNELS))
    job = Job([program])
    (wrong,), (trace,) = judge(design, [job])
    assert not wrong
    first = np.flatnonzero(trace.valid["i"])[0]
    last = max(np.flatnonzero(trace.valid[port])[-1] for port in OUTPUTS.values())
    assert last - first + 1 == InstructionDecoder.cycles(len(program))
    assert trace.ready["i"][first : first + len(program)].all()


def test_a_long_program(design):
    random = np.random.default_rng(8)
    program = [random_instruction(random, Unit.ST, {}, CHANNELS) for _ in range(2000)]
    job = Job([encode(program)])
    assert job.errors == [{"code": ErrorCode.PAST_END, "pc": 18000}]
    assert judge(design, [job])[0] == [""]


def poke(unit, words, field, value):
    """Return the words of an instruction with any bits in a field."""
    words = list(words)
    for piece in FORMATS[unit].pieces:
        if piece.field.name == field:
            mask = (1 << piece.bits) - 1
            words[piece.word] &= ~(mask << piece.shift)
            words[piece.word] |= (value >> piece.low & mask) << piece.shift
    return words


def illegal_instructions():
    """Every way in which an instruction is illegal: (name, words)."""
    for opcode in range(16):
        if opcode not in [form.opcode for form in FORMATS.values()]:
            yield f"opcode {opcode}", [opcode << 28, 0, 0]
    for unit, form in FORMATS.items():
        plain = instruction(unit).encode()
        for field in form.fields:
            low, high = field.span
            for value in {low, *range(16), high}:
                if low <= value <= high and value not in field.allowed:
                    yield f"{unit.name} {field.name} {value}", poke(unit, plain, field.name, value)
        for bit in range(form.spare_bits):
            yield f"{unit.name} spare {bit}", [*plain[:-1], plain[-1] | 1 << bit]
        if unit in (Unit.LD, Unit.ST):
            for bit in range(CHANNELS, 32):
                yield f"{unit.name} channel {bit}", poke(unit, plain, "channels", 1 << bit)
    for fields in (
        {"op": Operation.LOAD, "shift": -1},
        {"op": Operation.LOAD, "shift": 32},
        {"op": Operation.PRODUCT, "source": Second.VECTOR},
        {"op": Operation.ROTATE, "length": 2, "source": Second.SCALAR},
        {"op": Operation.ROTATE, "length": 2, "scaled": 1},
        {"op": Operation.ROTATE, "length": 7},
        *({"op": op, "length": 2} for op in Operation if not op.is_pass),
    ):
        words = instruction(Unit.MISC).encode()
        for field, value in fields.items():
            words = poke(Unit.MISC, words, field, value)
        yield f"MISC {fields}", words


def test_every_illegal_instruction_stops_the_decoder(design):
    random = np.random.default_rng(3)
    before = encode(random_program(random, 5, CHANNELS)[:-1])
    jobs, names = [], []
    for name, words in illegal_instructions():
        jobs.append(Job([[*before, *words, *encode([END])]], reset_after=len(jobs) % 2 * 60))
        names.append(name)
        assert jobs[-1].errors, name
    assert len(jobs) > 150
    wrong, _ = judge(design, jobs)
    assert {n: w for n, w in zip(names, wrong, strict=True) if w} == {}


def test_golden_and_the_decoder_agree_on_any_job(design):
    """Fields that a MISC may not have together; `Job` says which they are."""
    random = np.random.default_rng(7)
    jobs = []
    for _ in range(200):
        words = random.integers(0, 1 << 32, FORMATS[Unit.MISC].words).tolist()
        words[0] = FORMATS[Unit.MISC].opcode << 28 | words[0] % (1 << 28)
        words[-1] &= -1 << FORMATS[Unit.MISC].spare_bits
        for field, most in (("op", 14), ("length", 5), ("shift", 64)):
            words = poke(Unit.MISC, words, field, int(random.integers(most)))
        jobs.append(Job([[*words, *encode([END])]]))
    illegal = sum(bool(job.errors) for job in jobs)
    assert 60 < illegal < 160
    assert judge(design, jobs)[0] == [""] * len(jobs)


def test_programs_without_an_end(design):
    random = np.random.default_rng(4)
    program = random_program(random, 20, CHANNELS)
    words = encode(program)
    jobs = [Job([words[:k]]) for k in range(1, len(words))]
    assert {job.errors[0]["code"] for job in jobs} == {ErrorCode.PAST_END}
    assert judge(design, jobs)[0] == [""] * len(jobs)


def test_broken_programs(design):
    random = np.random.default_rng(5)
    jobs = []
    for _ in range(150):
        words = encode(random_program(random, int(random.integers(1, 40)), CHANNELS))
        programs = [words, broken_words(random, words) or [0], words]
        jobs.append(Job(programs, pauses=pauses(random, 300, 0.3)))
    codes = [job.errors[0]["code"] for job in jobs if job.errors]
    assert len(set(codes)) == 3 and len(codes) > 60
    assert judge(design, jobs)[0] == [""] * len(jobs)


@pytest.mark.parametrize(
    ("right", "wrong", "seen"),
    [
        ("taken & ~is_end & ~was_last", "0", "i is ready in other cycles"),
        *(
            pytest.param(*case, marks=pytest.mark.full)
            for case in [
                ("taken & ~is_end & ~was_last", "taken & ~was_last", "other payloads"),
                ("Mux(whole, next_pc, pc)", "pc", "other payloads"),
                ("dropping.eq(~self.i.payload.last)", "dropping.eq(0)", "other payloads"),
                ("[pc.eq(0), dropping", "[dropping", "other payloads"),
                ("with m.Elif(last):", "with m.Elif(0):", "other payloads at o_error"),
                ("is_mine & ~illegal", "is_mine", "other payloads"),
            ]
        ),
    ],
)
def test_a_broken_decoder_is_seen(right, wrong, seen):
    random = np.random.default_rng(9)
    jobs = []
    for number in range(20):
        words = encode(random_program(random, 40, CHANNELS))
        second = [words, broken_words(random, words) or [0]][number % 2]
        jobs.append(Job([[*words, 1, 2, 3], second], pauses=pauses(random, 400, 0.3)))
    found, _ = judge(emit(Watched, broken(InstructionDecoder, right, wrong), CHANNELS), jobs)
    assert any(one.startswith(seen) for one in found)


def test_the_verilog_is_clean():
    assert cosim.lint(emit(InstructionDecoder, CHANNELS)) == []


@pytest.mark.parametrize("channels", [0, 1, 32])
def test_other_numbers_of_channels_can_be_had(channels):
    assert emit(InstructionDecoder, channels).top == f"instruction_decoder_c{channels}"


@pytest.mark.parametrize("channels", [-1, 33])
def test_numbers_of_channels_that_are_refused(channels):
    message = f"channels is {channels}; allowed are 0 to 32"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        InstructionDecoder(channels)
