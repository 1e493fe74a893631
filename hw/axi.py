"""AXI4 ports (Arm IHI 0022), named as in the standard, and what all masters on them share.

Only the signals that a memory needs: INCR bursts of full words, one identifier. Whatever else the
standard has (AxLOCK, AxCACHE, AxPROT, AxQOS, AxREGION) may be tied to its default there.
"""

from collections.abc import Callable, Mapping
from enum import IntEnum

from amaranth.hdl import Module, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.axi import AxiConfig

INCR = 1
"""AxBURST of a burst of successive addresses."""

Ports = Callable[[AxiConfig, str], Mapping[str, wiring.Member]]
"""`read_ports` or `write_ports`."""


class AxiError(IntEnum):
    """What stopped a master; the responses of a memory keep their codes."""

    NONE = 0
    UNALIGNED = 1
    SLAVE = 2
    DECODE = 3


def error_layout(config: AxiConfig) -> data.StructLayout:
    """The error that stopped a master: its `AxiError`, and the address of the job or burst.

    `tag`: of a reader's job.
    """
    return data.StructLayout(
        {"code": 2, "address": config.address_bits, "tag": unsigned(config.tag_bits)}
    )


def flight_layout(config: AxiConfig) -> data.StructLayout:
    """What is kept of a burst in flight: its first word's number, and whether a job ends in it."""
    words = config.address_bits - config.byte_bits
    return data.StructLayout({"word_address": words, "ends_job": 1})


def read_ports(config: AxiConfig, prefix: str = "m_axi") -> dict[str, wiring.Member]:
    """Return the ports of a master that reads, by name."""
    return {
        **_address_ports(config, f"{prefix}_ar"),
        f"{prefix}_rid": In(config.id_bits),
        f"{prefix}_rdata": In(config.data_bits),
        f"{prefix}_rresp": In(2),
        f"{prefix}_rlast": In(1),
        f"{prefix}_rvalid": In(1),
        f"{prefix}_rready": Out(1),
    }


def write_ports(config: AxiConfig, prefix: str = "m_axi") -> dict[str, wiring.Member]:
    """Return the ports of a master that writes, by name."""
    return {
        **_address_ports(config, f"{prefix}_aw"),
        f"{prefix}_wdata": Out(config.data_bits),
        f"{prefix}_wstrb": Out(config.word_bytes),
        f"{prefix}_wlast": Out(1),
        f"{prefix}_wvalid": Out(1),
        f"{prefix}_wready": In(1),
        f"{prefix}_bid": In(config.id_bits),
        f"{prefix}_bresp": In(2),
        f"{prefix}_bvalid": In(1),
        f"{prefix}_bready": Out(1),
    }


def name_part(config: AxiConfig) -> str:
    """Return a part of a Verilog identifier that tells the configuration."""
    c = config
    return (
        f"{c.data_bits}_a{c.address_bits}_b{c.burst_beats}_o{c.outstanding}_d{c.buffer_words}"
        f"_l{c.length_bits}_i{c.id_bits}{f'_t{c.tag_bits}' * (c.tag_bits > 0)}"
    )


def _address_ports(config: AxiConfig, prefix: str) -> dict[str, wiring.Member]:
    return {
        f"{prefix}id": Out(config.id_bits),
        f"{prefix}addr": Out(config.address_bits),
        f"{prefix}len": Out(8),
        f"{prefix}size": Out(3),
        f"{prefix}burst": Out(2),
        f"{prefix}valid": Out(1),
        f"{prefix}ready": In(1),
    }


def connect_ports(
    m: Module, config: AxiConfig, ports: Ports, own: object, prefix: str, child: object
) -> None:
    """Make the port `m_axi` of `child` the port `prefix` of its parent `own`.

    Args:
        ports: `read_ports` or `write_ports`: the half of the port that is connected.
    """
    names = zip(ports(config, prefix).items(), ports(config, "m_axi"), strict=True)
    for (name, member), child_name in names:
        ours, theirs = getattr(own, name), getattr(child, child_name)
        m.d.comb += ours.eq(theirs) if member.flow is Out else theirs.eq(ours)
