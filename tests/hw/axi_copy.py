"""A reader and a writer at one port: copies words from one half of the address space to the other.

It shows `hw.axi.connect_ports`, and gives the memory model reads and writes at the same time.
"""

from amaranth.hdl import Cat, Const, Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.axi import connect_ports, name_part, read_ports, write_ports
from hw.axi_reader import AxiReader, read_job_layout
from hw.axi_writer import AxiWriter
from hw.emit import add

PREFIX = "m_axi_memory"


class AxiCopy(wiring.Component):
    """`i_job` are the reader's jobs; what it reads goes to the same place in the upper half."""

    def __init__(self, config):
        self.config = config
        super().__init__(
            {
                "i_job": In(stream.Signature(read_job_layout(config))),
                "stop": In(1),
                "busy": Out(1),
                "done": Out(1),
                "error": Out(2),
                **read_ports(config, PREFIX),
                **write_ports(config, PREFIX),
            }
        )

    @property
    def module_name(self):
        return f"axi_copy_{name_part(self.config)}"

    def elaborate(self, platform):
        m = Module()
        c = self.config
        reader = add(m, platform, "reader", AxiReader, c)
        writer = add(m, platform, "writer", AxiWriter, c)
        connect_ports(m, c, read_ports, self, PREFIX, reader)
        connect_ports(m, c, write_ports, self, PREFIX, writer)
        job, target = self.i_job.payload, writer.i_job.payload
        m.d.comb += [
            reader.i_job.payload.eq(job),
            target.address.eq(job.address | 1 << (c.address_bits - 1)),
            target.more_bytes.eq(Cat(Const(-1, c.byte_bits), job.more_words)),
            reader.i_job.valid.eq(self.i_job.valid & writer.i_job.ready),
            writer.i_job.valid.eq(self.i_job.valid & reader.i_job.ready),
            self.i_job.ready.eq(reader.i_job.ready & writer.i_job.ready),
            writer.i.payload.eq(reader.o.payload.data),
            writer.i.valid.eq(reader.o.valid),
            reader.o.ready.eq(writer.i.ready),
            reader.stop.eq(self.stop),
            writer.stop.eq(self.stop),
            self.busy.eq(reader.busy | writer.busy),
            self.done.eq(writer.done),
            self.error.eq(reader.error.code | writer.error.code),
        ]
        return m
