import pytest

from golden.model_shapes import load
from golden.spec.errors import ConfigError
from sim.catalogue import load_system
from sim.recompute import AGAIN
from sim.simulate import simulate
from sim.workload import Pass, Workload

OPT = load("opt-13b")
ROOM = load_system("recompute")
ALONE = load_system("gpu-rtx-a6000")


def test_what_fits_is_a_gpu_alone():
    for job in (Pass(8, 1, 1000), Pass(4, 500, 500, prompt=True)):
        assert ROOM.step(OPT, job) == ALONE.step(OPT, job)
        assert ROOM.spans(OPT, job) == ALONE.spans(OPT, job)
    workload = Workload(batch=4, prefill=500, decode=20)
    assert ROOM.footprint(OPT, workload) == ALONE.footprint(OPT, workload)


def test_as_many_sequences_are_kept_as_memory_holds():
    kept = ROOM.kept(OPT, 256, 1536)
    each = 1536 * OPT.cached_elements * 2
    taken = ALONE.footprint(OPT, Workload(batch=256, prefill=1, decode=1535))
    room = taken.held - taken.weights - taken.working
    assert kept * each <= room < (kept + 1) * each
    assert ROOM.kept(OPT, 3, 1536) == 3


@pytest.mark.parametrize("turn", [1, 4, 100])
def test_what_does_not_fit_is_computed_again_once_a_turn(turn):
    system = load_system("recompute", {"turn_tokens": turn})
    kept = system.kept(OPT, 64, 1536)
    cost = system.step(OPT, Pass(64, 1, 1536))
    prompt = ALONE.step(OPT, Pass(kept, 1536, 1536, prompt=True)).seconds
    assert cost.parts[AGAIN] == pytest.approx((64 - kept) / kept * prompt / turn)
    step = ALONE.step(OPT, Pass(kept, 1, 1536)).seconds
    assert cost.seconds == pytest.approx(64 / kept * step + cost.parts[AGAIN])
    assert sum(cost.parts.values()) == pytest.approx(cost.seconds)
    assert system.seconds(OPT, Pass(64, 1, 1536)) == cost.seconds


def test_the_memory_is_full_but_not_more():
    workload = Workload(batch=256, prefill=1024, decode=1024)
    taken = ROOM.footprint(OPT, workload)
    one = 2048 * OPT.cached_elements * 2
    assert not taken.short
    assert taken.held - taken.needed < one
    result = simulate(ROOM, OPT, workload)
    assert result.bottleneck == "compute"
    assert result.breakdown[AGAIN] > 0.9 * result.tpot_ms


def test_one_sequence_has_to_fit():
    with pytest.raises(ConfigError, match=r"^opt-13b needs 47.14 GiB .* 1 x 30,008 tokens; recom"):
        simulate(ROOM, OPT, Workload(prefill=30_000, decode=8))
    with pytest.raises(ConfigError, match=r"^opt-13b has no room for one .* of 90,000 tokens"):
        ROOM.kept(OPT, 1, 90_000)
