"""The barrier between cores: proven for every order of arrivals."""

import pytest
from axi_trials import quick
from control_proofs import BarrierProof
from proofs import broken

from golden.spec.errors import ConfigError
from hw import cosim
from hw.barrier import Barrier
from hw.emit import emit
from hw.formal import prove


@pytest.mark.parametrize("cores", [1, 2, 3, 8])
def test_all_cores_are_released_together(cores):
    found = prove(BarrierProof(cores))
    assert found.holds, f"{found.failed}\n{found.trace}"


BREAKS = [
    (" & ~release)", ")", "a release is one cycle"),
    ("self.arrived.all()", "self.arrived[0]", "all see their release"),
    ("release.replicate(self.cores)", "release", "cores are released together"),
    ("self.arrived.all() &", "0 &", "when all have arrived they are released"),
]


@pytest.mark.parametrize(("right", "wrong", "failed"), quick(BREAKS))
def test_a_broken_barrier_is_seen(right, wrong, failed):
    found = prove(BarrierProof(3, broken(Barrier, right, wrong)), cycles=6)
    assert (found.holds, found.failed) == (False, failed)


def test_the_verilog_is_clean():
    assert cosim.lint(emit(Barrier, 3)) == []


def test_a_barrier_without_cores_is_refused():
    with pytest.raises(ConfigError, match=r"^cores is 0; a barrier has 1 core or more$"):
        Barrier(0)
