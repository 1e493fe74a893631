"""The matrix engine: sparse chains side by side, which share their tokens or their weights."""

from amaranth.hdl import Module, Mux
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.matrix_engine import MatrixEngineConfig
from hw.chain_unit import ChainUnit, name, unit_streams
from hw.emit import add
from hw.engine_timing import engine_cycles
from hw.layouts import output_layout
from hw.stream_fork import StreamFork


class MatrixEngine(wiring.Component):
    """`config.chains` units, and what distributes their streams.

    In a matrix-matrix product (and so in a block of SDDMM) every unit has tokens of its own and all
    have the same weights; in a matrix-vector product all have the same token, in every lane, and
    every unit has rows of its own. What all units share comes from the first of the streams; the
    others are then not taken.

    Members:
        matrix_vector: the mode; may change only while nothing is in the engine.
        i_sweep: jobs of all activation buffers.
        i_activation, i_segment, i_word, i_index, i_pass, i_scale: a stream for each unit; see
            `hw.chain_unit.unit_streams`. Of a matrix-vector product's activations lane 0 counts.
        o: a stream of `output_layout` from each unit.
    """

    cycles = staticmethod(engine_cycles)
    """The timing contract."""

    def __init__(self, config: MatrixEngineConfig) -> None:
        self.config = config
        streams = unit_streams(config)
        sweep = streams.pop("i_sweep")
        inputs = {key: In(signature).array(config.chains) for key, signature in streams.items()}
        outputs = Out(stream.Signature(output_layout(config))).array(config.chains)
        super().__init__({"matrix_vector": In(1), "i_sweep": In(sweep), **inputs, "o": outputs})

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"matrix_engine_{self.config.chains}x{name(self.config)}"

    def elaborate(self, platform: object) -> Module:
        """A fork for each kind of stream, and the units."""
        m = Module()
        config = self.config
        streams = list(unit_streams(config))
        units = [
            add(m, platform, f"unit_{c}", ChainUnit, config, o=self.o[c])
            for c in range(config.chains)
        ]
        m.d.comb += [unit.matrix_vector.eq(self.matrix_vector) for unit in units]
        for key in streams:
            sources = [self.i_sweep] if key == "i_sweep" else getattr(self, key)
            width = len(sources[0].payload.as_value())
            fork = add(m, platform, f"fork_{key[2:]}", StreamFork, config.chains, width)
            broadcast = {"i_sweep": 1, "i_activation": self.matrix_vector}
            m.d.comb += fork.broadcast.eq(broadcast.get(key, ~self.matrix_vector))
            for source, entry in zip(sources, fork.i, strict=False):
                payload = source.payload.as_value()
                if key == "i_activation":
                    token = source.payload[0].as_unsigned().replicate(config.products_per_dsp)
                    payload = Mux(self.matrix_vector, token, payload)
                m.d.comb += [
                    entry.payload.eq(payload),
                    entry.valid.eq(source.valid),
                    source.ready.eq(entry.ready),
                ]
            for unit, out in zip(units, fork.o, strict=True):
                sink = getattr(unit, key)
                m.d.comb += [
                    sink.payload.as_value().eq(out.payload),
                    sink.valid.eq(out.valid),
                    out.ready.eq(sink.ready),
                ]
        return m
