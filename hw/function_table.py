"""The tables of functions in a ROM with two read ports, one for each lane of a pair."""

from amaranth.hdl import Module, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.special_function_unit import FACTOR_FRACTION_BITS, SpecialFunctionUnitConfig
from golden.special_functions.tables import FUNCTIONS, Tables

FUNCTION_BITS = (len(FUNCTIONS) - 1).bit_length()
START_BITS = FACTOR_FRACTION_BITS + 1
"""A table's value is at most 2**16."""


def segment_layout(config: SpecialFunctionUnitConfig) -> data.StructLayout:
    """A segment of a function: its value at the start, and by how much it rises to the end."""
    points = Tables(config.table_bits).points.values()
    steepest = max(int(values.diff().max()) for values in points)
    return data.StructLayout(
        {"start": unsigned(START_BITS), "rise": unsigned(steepest.bit_length())}
    )


class FunctionTable(wiring.Component):
    """All segments of all functions. Throughput: one segment per cycle and port. Latency: 1 cycle.

    Members:
        advance: the ports hold what they give while it is low.
        address_0, address_1: a segment's number, and above it the function's (`FUNCTIONS`).
        o_0, o_1: `segment_layout`, a cycle later.
    """

    def __init__(self, config: SpecialFunctionUnitConfig) -> None:
        self.config = config
        address = In(unsigned(config.table_bits + FUNCTION_BITS))
        segment = Out(segment_layout(config))
        super().__init__(
            {
                "advance": In(1),
                **{"address_0": address, "address_1": address, "o_0": segment, "o_1": segment},
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"function_table_{self.config.table_bits}"

    def elaborate(self, platform: object) -> Module:
        """One memory that is never written."""
        m = Module()
        tables = Tables(self.config.table_bits)
        rows = [
            {"start": int(start), "rise": int(end) - int(start)}
            for function in FUNCTIONS
            for start, end in zip(
                tables.points[function.name][:-1], tables.points[function.name][1:], strict=True
            )
        ]
        layout = segment_layout(self.config)
        depth = 1 << (self.config.table_bits + FUNCTION_BITS)
        m.submodules.rom = rom = memory.Memory(shape=layout, depth=depth, init=rows)
        for address, o in ((self.address_0, self.o_0), (self.address_1, self.o_1)):
            port = rom.read_port()
            m.d.comb += [port.en.eq(self.advance), port.addr.eq(address), o.eq(port.data)]
        return m
