"""The memory ports of a core, by name."""

from amaranth.lib import wiring

from golden.core_memories import GENERAL, channel
from golden.spec.core import CoreConfig
from hw.axi import read_ports, write_ports

PROGRAM = "program"


def port_names(config: CoreConfig) -> list[str]:
    """Return the names of all ports: the program's, the general one, and the channels."""
    return [PROGRAM, GENERAL, *map(channel, range(config.chains))]


def prefix(port: str) -> str:
    """Return what the names of a port's signals begin with."""
    return f"m_axi_{port}"


def memory_ports(config: CoreConfig) -> dict[str, wiring.Member]:
    """Return the signals of all ports, by name."""
    ports = read_ports(config.general_axi, prefix(PROGRAM))
    ports |= read_ports(config.general_axi, prefix(GENERAL))
    ports |= write_ports(config.write_axi, prefix(GENERAL))
    for number in range(config.chains):
        name = prefix(channel(number))
        ports |= read_ports(config.axi, name) | write_ports(config.write_axi, name)
    return ports
