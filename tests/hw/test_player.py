"""The player in Verilator: what it plays and logs, and that it sees what a design does wrong."""

from dataclasses import replace

import numpy as np
import pytest

from golden.spec.errors import ToolError
from hw.emit import Design, Port
from hw.player import Case, count_mismatches, play, random_pauses


def stream(name, width, direction, *, ready=True):
    """The ports of a stream into a design ("input") or out of it."""
    back = "output" if direction == "input" else "input"
    ports = [Port(f"{name}__payload", direction, width), Port(f"{name}__valid", direction, 1)]
    return [*ports, *([Port(f"{name}__ready", back, 1)] if ready else [])]


def design(name, body, ports):
    every = [Port("clk", "input", 1), Port("rst", "input", 1), *ports]
    declared = ", ".join(f"{p.direction} [{p.width - 1}:0] {p.name}" for p in every)
    return Design(name, f"module {name}({declared});\n{body}\nendmodule\n", (name,), tuple(every))


def payloads(count, width, seed=0):
    random = np.random.default_rng(seed)
    bits = random.integers(0, 2, (count, width), dtype=np.uint8)
    return np.packbits(bits, axis=1, bitorder="little")


def a_case(count=300, width=12, **options):
    return Case({"i": payloads(count, width)}, {"o": count}, **options)


def wrong(case, trace):
    return count_mismatches(trace.outputs["o"], case.inputs["i"])


FAULTS = [
    "none",
    "payloads are lost",
    "a payload comes twice",
    "a bit is flipped",
    "an output too many",
    "outputs without end",
    "it stops",
    "it never begins",
    "an output before the first",
]

REGISTER = design(
    "register",
    """
    reg [11:0] kept; reg full = 0; reg [31:0] number = 0;
    assign i__ready = (fault == 1 | ~full | o__ready) & fault != 7;
    assign o__valid = (full & ~(fault == 6 & number == 200)) | (fault == 4 & number == 300)
                    | (fault == 5 & number >= 300) | (fault == 8 & number == 0);
    assign o__payload = fault == 2 & number == 99 ? 12'h0 : kept ^ (fault == 3 & number == 299);
    always @(posedge clk)
      if (rst) begin full <= 0; number <= 0; end
      else begin
        if (o__valid & o__ready) begin full <= 0; number <= number + 1; end
        if (i__valid & i__ready) begin full <= 1; kept <= i__payload; end
      end
    """,
    [*stream("i", 12, "input"), *stream("o", 12, "output"), Port("fault", "input", 4)],
)


def test_payloads_of_every_width_pass_unchanged():
    widths = [1, 3, 8, 12, 31, 32, 33, 64, 67, 300]
    ports, body = [], ""
    for w in widths:
        ports += [*stream(f"i_{w}", w, "input"), *stream(f"o_{w}", w, "output")]
        body += f"assign o_{w}__payload = i_{w}__payload, o_{w}__valid = i_{w}__valid;\n"
        body += f"assign i_{w}__ready = o_{w}__ready;\n"
    inputs = {f"i_{w}": payloads(50 + w, w) for w in widths}
    outputs = {f"o_{w}": 50 + w for w in widths}
    (trace,) = play(design("wires", body, ports), [Case(inputs, outputs)])
    for w in widths:
        assert trace.outputs[f"o_{w}"].shape == (50 + w, -(-w // 8))
        assert count_mismatches(trace.outputs[f"o_{w}"], inputs[f"i_{w}"]) == 0


def test_without_pauses_a_payload_passes_in_every_cycle():
    case = a_case()
    traces = play(REGISTER, [case, case])
    for trace in traces:
        assert wrong(case, trace) == 0
        assert trace.transfers("i").tolist() == list(range(1, 301))
        assert trace.transfers("o").tolist() == list(range(2, 302))
        # The log goes on for a while, so that an output too many would be seen.
        assert len(trace.valid["o"]) > 302 + 60


def test_pauses_are_in_the_cycles_that_were_asked_for():
    random = np.random.default_rng(0)
    pauses = {"i": random.random(1500) < 0.4, "o": random.random(1500) < 0.5}
    case = a_case(pauses=pauses)
    (trace,) = play(REGISTER, [case])
    assert wrong(case, trace) == 0
    assert (trace.ready["o"][1:500] == ~pauses["o"][:499]).all()
    # A source that is free offers its next payload in the cycle after one without a pause.
    valid, free = trace.valid["i"], ~trace.valid["i"] | trace.ready["i"]
    decides = np.flatnonzero(free[1:400]) + 1
    assert (valid[decides + 1] == ~pauses["i"][decides - 1]).all()
    assert len(decides) > 100


def test_the_rules_of_streams_are_kept():
    """What is offered stays until it is taken; the lowest bit tells if it has changed."""
    body = """
    reg [11:0] last; reg waited = 0, changed = 0;
    always @(posedge clk) begin
      last <= i__payload;
      waited <= ~rst & i__valid & ~i__ready;
      changed <= ~rst & (changed | (waited & (~i__valid | (i__payload != last))));
    end
    assign o__payload = {i__payload[11:1], changed}, o__valid = i__valid, i__ready = o__ready;
    """
    watch = design("watch", body, [*stream("i", 12, "input"), *stream("o", 12, "output")])
    inputs = payloads(400, 12)
    inputs[:, 0] &= 0xFE
    pauses = random_pauses(np.random.default_rng(1), {"i": 400, "o": 400}, share=0.5)
    case = Case({"i": inputs}, {"o": 400}, pauses)
    (trace,) = play(watch, [case])
    assert wrong(case, trace) == 0
    waits = trace.valid["i"] & ~trace.ready["i"]
    assert waits.sum() > 50
    assert trace.valid["i"][1:][waits[:-1]].all()


def test_a_case_that_a_reset_breaks_off_begins_again():
    cases = [a_case(reset_after=cycles) for cycles in (1, 2, 7, 150, 400)]
    for case, trace in zip(cases, play(REGISTER, cases), strict=True):
        assert wrong(case, trace) == 0
        assert trace.transfers("i").tolist() == list(range(1, 301))


def test_cases_of_any_length_follow_each_other():
    cases = [a_case(count) for count in (1, 0, 700, 2, 0, 3)]
    for case, trace in zip(cases, play(REGISTER, cases), strict=True):
        assert wrong(case, trace) == 0
        assert len(trace.transfers("i")) == len(case.inputs["i"])


def test_levels_hold_through_their_case():
    body = "assign o__payload = i__payload ^ key, o__valid = i__valid, i__ready = o__ready;"
    ports = [*stream("i", 8, "input"), *stream("o", 8, "output"), Port("key", "input", 8)]
    cases = [a_case(20, 8, levels={"key": key}) for key in (0x5A, 0xFF)] + [a_case(20, 8)]
    for case, trace in zip(cases, play(design("keyed", body, ports), cases), strict=True):
        given = trace.outputs["o"] ^ np.uint8(case.levels.get("key", 0))
        assert count_mismatches(given, case.inputs["i"]) == 0


def test_streams_without_ready_are_never_made_to_wait():
    body = """
    reg [4:0] kept; reg full = 0;
    always @(posedge clk) begin kept <= i__payload; full <= ~rst & i__valid; end
    assign o__payload = kept, o__valid = full;
    """
    ports = [*stream("i", 5, "input", ready=False), *stream("o", 5, "output", ready=False)]
    case = a_case(100, 5, pauses={"i": np.arange(200) % 3 == 0})
    (trace,) = play(design("unstoppable", body, ports), [case])
    assert wrong(case, trace) == 0
    assert trace.ready["i"].all() and trace.ready["o"].all()
    assert (np.diff(trace.transfers("i")) > 1).sum() > 30


def test_files_of_the_design_are_written_in_front_and_read_behind():
    body = """
    integer file, got; reg [7:0] key;
    initial begin
      file = $fopen("key", "r"); got = $fscanf(file, "%h", key); $fclose(file);
    end
    final begin file = $fopen("left", "w"); $fwrite(file, "%h", ~key); $fclose(file); end
    assign o__payload = i__payload ^ key, o__valid = i__valid, i__ready = o__ready;
    """
    left = []
    case = a_case(20, 8)
    (trace,) = play(
        design("filed", body, [*stream("i", 8, "input"), *stream("o", 8, "output")]),
        [case],
        prepare=lambda folder: (folder / "key").write_text("3c", encoding="utf-8"),
        collect=lambda folder: left.append((folder / "left").read_text(encoding="utf-8")),
    )
    assert count_mismatches(trace.outputs["o"] ^ np.uint8(0x3C), case.inputs["i"]) == 0
    assert left == ["c3"]


def test_a_simulation_that_breaks_off_is_an_error():
    body = """
    assign o__payload = i__payload, o__valid = i__valid, i__ready = o__ready;
    always @(posedge clk) if (i__valid) $fatal(1, "it breaks off");
    """
    broken = design("fatal", body, [*stream("i", 8, "input"), *stream("o", 8, "output")])
    with pytest.raises(ToolError, match=r"the simulation of fatal broke off: .*: it breaks off$"):
        play(broken, [a_case(20, 8)])


def test_only_what_is_asked_for_is_logged():
    (trace,) = play(REGISTER, [a_case()], logged=[])
    assert set(trace.valid) == set(trace.ready) == {"o"}


def test_random_pauses_take_about_the_share_that_was_asked_for():
    shares = []
    for seed in range(200):
        (pauses,) = random_pauses(np.random.default_rng(seed), {"i": 500}, share=0.4).values()
        assert (~pauses).sum() >= 500
        shares.append(pauses.mean())
    assert 0.3 < np.mean(shares) < 0.5
    assert np.std(shares) > 0.05


# What follows breaks something on purpose: each must be seen.


def test_what_is_broken_is_seen():
    pauses = {"o": np.arange(500) % 3 == 0}
    cases = [a_case(levels={"fault": fault}, pauses=pauses) for fault in range(len(FAULTS))]
    traces = play(REGISTER, cases)
    seen = [what for what, c, t in zip(FAULTS, cases, traces, strict=True) if wrong(c, t)]
    assert seen == FAULTS[1:]
    # A case behind a broken one is not touched by it.
    faulty = replace(cases[5], pauses={})
    whole = a_case()
    for trace in play(REGISTER, [faulty, whole, cases[6], whole])[1::2]:
        assert wrong(whole, trace) == 0


def test_what_is_missing_too_many_or_different_is_counted():
    some = np.arange(10, dtype=np.uint8).reshape(5, 2)
    other = some.copy()
    other[3, 1] ^= 1
    assert count_mismatches(some, some) == 0
    assert count_mismatches(other, some) == 1
    assert count_mismatches(some[:3], some) == 2
    assert count_mismatches(some, some[:4]) == 1
    assert count_mismatches(other[:4], some) == 2
