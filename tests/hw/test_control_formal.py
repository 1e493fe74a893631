"""Proofs of the AXI4-Lite port and the control registers; broken copies must fail them."""

import pytest
from axi_trials import quick
from control_proofs import AxiLiteProof, ControlProof
from proofs import broken

from hw.axi_lite import AxiLitePort
from hw.control_registers import ControlRegisters
from hw.formal import prove


@pytest.mark.parametrize("proof", [AxiLiteProof, ControlProof])
def test_the_contracts_hold_in_every_state(proof):
    found = prove(proof())
    assert found.holds, f"{found.failed}\n{found.trace}"


BROKEN_PORTS = [
    ("If(self.s_axi_bready)", "If(1)", "b holds still until it is taken"),
    ("If(self.s_axi_rready)", "If(1)", "r holds still until it is taken"),
    ("has_address & has_data &", "has_address &", "no b response without a request"),
    ("has_address & has_data &", "has_data &", "no b response without a request"),
    ("has_read.eq(0), self", "self", "a port without ar requests takes one"),
    ("has_data.eq(0), self", "self", "a port without w requests takes one"),
    ("(~self.s_axi_rvalid | self.s_axi_rready)", "1", "r holds still until it is taken"),
    ("_awready.eq(~has_address)", "_awready.eq(1)", "no more than two aw requests are open"),
    ("_arready.eq(~has_read)", "_arready.eq(0)", "a port without ar requests takes one"),
    ("self.write_address[:2].any()", "self.write_address[0]", "b accesses happen"),
    ("self.read.eq(reads & ~unaligned_read)", "self.read.eq(reads)", "r accesses happen"),
    ("unaligned_read | self.read_refused", "unaligned_read", "the r response is right"),
    ("unaligned_write | self.write_refused", "self.write_refused", "the b response is right"),
    ("write_strobe.eq(self.s_axi_wstrb)", "write_strobe.eq(15)", "a write has its data"),
    ("Mux(refused, 0, self.read_data)", "self.read_data", "data are right"),
]


@pytest.mark.parametrize(("right", "wrong", "failed"), quick(BROKEN_PORTS))
def test_a_broken_port_is_seen(right, wrong, failed):
    found = prove(AxiLiteProof(broken(AxiLitePort, right, wrong)), cycles=8)
    assert not found.holds and found.failed.startswith(failed)


BROKEN_REGISTERS = [
    ("self.busy & locked", "0", "program and bases hold still while it is busy"),
    ("starts & ~cannot_start)", "starts)", "nothing starts while it is busy"),
    ("~starts & self.busy", "~starts", "nothing stops while it is not busy"),
]


@pytest.mark.full
@pytest.mark.parametrize(("right", "wrong", "failed"), BROKEN_REGISTERS)
def test_broken_registers_are_seen(right, wrong, failed):
    found = prove(ControlProof(broken(ControlRegisters, right, wrong)), cycles=8)
    assert (found.holds, found.failed) == (False, failed)
