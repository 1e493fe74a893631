"""Random accesses to the control registers, and their runs."""

import json
import random
import tempfile
from dataclasses import replace
from pathlib import Path

from control_model import Model, compare

from golden.spec.control import REGISTERS, SPACE_BITS, Access
from hw import cosim
from hw.jobs import pauses

BENCH = "hw.benches.control"
WORDS = (0, 1, 2, 77, 1 << 23, (1 << 23) + 1, (1 << 24) - 1)


def offset(name):
    return REGISTERS[name].offset


def run(design, cases):
    """Return what the bench has logged of each case."""
    with tempfile.TemporaryDirectory(prefix="nandu-") as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps(cases))
        assert cosim.run(cosim.build(design), BENCH, folder), (folder / "log").read_text()[-3000:]
        return json.loads((folder / "results.json").read_text())


def wrong(design, cases, zero=0):
    """Return what is wrong with each case, and all that has happened."""
    models = [Model(zero) for _ in cases]
    found = run(design, cases)
    judged = [compare(one["rows"], model) for one, model in zip(found, models, strict=True)]
    return judged, set().union(*(model.seen for model in models))


def random_cases(count, seed, accesses=300, **options):
    """Return cases under all pauses of the host."""
    choose = random.Random(seed)
    return [
        {
            "seed": choose.getrandbits(30),
            **pause,
            "writes": [random_write(choose) for _ in range(accesses)],
            "reads": [random_address(choose) for _ in range(accesses)],
            **options,
        }
        for pause in pauses(count)
    ]


def random_address(choose):
    """Return the address of a register; now and then one that differs from it in one bit."""
    wrong = 1 << choose.randrange(SPACE_BITS) if choose.random() < 0.2 else 0
    return choose.choice(list(REGISTERS.values())).offset ^ wrong


def random_write(choose):
    """Return address, data and strobe."""
    data = choose.getrandbits(32)
    strobe = 15 if choose.random() < 0.5 else choose.getrandbits(4)
    kind = choose.random()
    if kind < 0.25:
        return offset("CONTROL"), data & ~2 | 1 if choose.random() < 0.7 else data, strobe
    if kind < 0.4:
        return offset("STATUS"), data, strobe
    if kind < 0.5:
        return offset("INTERRUPT_ENABLE"), data, strobe
    if kind < 0.55:
        return offset("PROGRAM_WORDS"), choose.choice(WORDS) | data & 0xFF << 24, 15
    if kind < 0.8:
        settings = [r for r in REGISTERS.values() if r.access is Access.SETTING]
        return choose.choice(settings).offset, data, strobe
    return random_address(choose), data, strobe


def survivors(mutants, cases, zero=0):
    """Return the faults that no case sees, in Yosys' words."""
    # Yosys promises that a case statement has one match; a fault may break that.
    verilog = mutants.design.verilog.replace("// synopsys parallel_case", "")
    design = replace(mutants.design, verilog=verilog)
    left = list(range(len(mutants.faults) + 1))
    for case in cases:
        tried = [{**case, "mutant": number, "most_cycles": 8000} for number in left]
        judged, _ = wrong(design, tried, zero)
        left = [number for number, fault in zip(left, judged, strict=True) if not fault]
        assert left[:1] == [0], "the design without a fault fails"
    return [mutants.faults[number - 1] for number in left[1:]]
