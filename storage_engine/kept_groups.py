"""Kept tokens, gathered by the group whose page they are in."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.drive_engine import DriveEngineConfig
from golden.spec.errors import ConfigError
from storage_engine.engine_job_layouts import kept_group_layout


def kept_token_layout(config: DriveEngineConfig) -> data.StructLayout:
    """A kept token's number, and whether it is a job's last one."""
    return data.StructLayout({"token": range(config.attention.max_context), "last": 1})


def check_groups(config: DriveEngineConfig) -> None:
    """Raise ConfigError unless a page has a power of two tokens."""
    tokens = config.layout.group_tokens
    if tokens & tokens - 1:
        raise ConfigError(
            f"a page of {config.page_bytes} bytes has {tokens} tokens of {config.head_size} "
            "channels; a power of 2 is needed, as of heads of 32, 64, 128 or 256"
        )


class KeptGroups(wiring.Component):
    """Gathers them. Throughput: a token per cycle, and one cycle more for each group.

    Members:
        i: stream of `kept_token_layout`, ascending in each job.
        o: stream of `kept_group_layout`.

    Raises:
        ConfigError: a group's tokens are no power of 2.
    """

    def __init__(self, config: DriveEngineConfig) -> None:
        check_groups(config)
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(kept_token_layout(config))),
                "o": Out(stream.Signature(kept_group_layout(config))),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"kept_groups_{self.config.layout.group_tokens}_c{self.config.context_bits}"

    def elaborate(self, platform: object) -> Module:
        """A group is offered when a token of another one comes, or none any more."""
        m = Module()
        tokens = self.config.layout.group_tokens
        bits = tokens.bit_length() - 1
        token, group = self.i.payload.token, Signal.like(self.o.payload.group)
        open_, closed, ends, keep = Signal(), Signal(), Signal(), Signal(tokens)
        mine, takes, given = Signal(), Signal(), Signal()
        m.d.comb += [
            mine.eq(~open_ | (token[bits:] == group)),
            closed.eq(open_ & (ends | (self.i.valid & ~mine))),
            takes.eq(self.i.valid & ~ends & mine),
            self.i.ready.eq(~ends & mine),
            self.o.valid.eq(closed),
            self.o.payload.group.eq(group),
            self.o.payload.keep.eq(keep),
            self.o.payload.last.eq(ends),
            given.eq(closed & self.o.ready),
        ]
        bit = Signal(unsigned(tokens))
        m.d.comb += bit.eq(1 << token[:bits] if bits else 1)
        with m.If(takes):
            m.d.sync += [
                *(open_.eq(1), ends.eq(self.i.payload.last), group.eq(token[bits:])),
                keep.eq(Mux(open_, keep, 0) | bit),
            ]
        with m.Elif(given):
            m.d.sync += [open_.eq(0), ends.eq(0)]
        return m
