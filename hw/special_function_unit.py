"""The special function unit: norms, softmax, activations and rotations, `lanes` elements a cycle.

A job is a pass over vectors or a step on scalar registers (`golden.special_functions.passes`, its
twin). Words pass through all lanes in step; behind them a tree finds the maximum or the sum.

    i_job -> queue: scalars are read -> factors, shift
    i_a, i_b -----------------------------> lanes -> o, o_byte
                                              |
              registers <- accumulator <- tree
"""

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.numbers import signed_range
from golden.spec.special_function_unit import (
    BYTE_BITS,
    WIDE_BITS,
    Byte,
    Job,
    Operation,
    SpecialFunctionUnitConfig,
)
from hw import sfu_lane as lane
from hw.emit import add
from hw.function_table import FunctionTable
from hw.group_scale import delay
from hw.sfu_layouts import byte_layout, job_layout, wide_layout
from hw.sfu_queue import SfuQueue
from hw.sfu_reduction import SfuReduction
from hw.sfu_timing import schedule


class SpecialFunctionUnit(wiring.Component):
    """The unit.

    Throughput: one word per cycle, across jobs too where no register is waited for. Latency:
    `STAGES` cycles from a word taken to its outputs offered. Either output stream stops all.

    Members:
        i_job: stream of `job_layout`.
        i_a: stream of `wide_layout`, a word for every `lanes` elements of a pass; what a job's last
            word holds behind the vector's end does not count.
        i_b: as i_a, for jobs that take b.
        o, o_byte: streams of `wide_layout` and `byte_layout`, for jobs that ask for them; 0 behind
            the vector's end.
    """

    def __init__(self, config: SpecialFunctionUnitConfig) -> None:
        self.config = config
        super().__init__(
            {
                "i_job": In(stream.Signature(job_layout())),
                "i_a": In(stream.Signature(wide_layout(config))),
                "i_b": In(stream.Signature(wide_layout(config))),
                "o": Out(stream.Signature(wide_layout(config))),
                "o_byte": Out(stream.Signature(byte_layout(config))),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"special_function_unit_x{self.config.lanes}_t{self.config.table_bits}"

    @staticmethod
    def cycles(config: SpecialFunctionUnitConfig, jobs: Sequence[Job]) -> int:
        """Return the cycles of successive jobs, from the first one offered to the end of the last.

        The timing contract: exact when no stream waits; see `hw.sfu_timing`.
        """
        return schedule(config, jobs).cycles

    def elaborate(self, platform: object) -> Module:
        """The queue, words, lanes, outputs, and the reduction."""
        m = Module()
        advance, words = Signal(), Signal(range(self.config.words(2**16)))
        queue = add(m, platform, "queue", SfuQueue, i_job=self.i_job)
        now = queue.o.payload
        begin, last = Signal(), Signal()
        lane_bits = (self.config.lanes - 1).bit_length()
        m.d.comb += [
            begin.eq(advance & queue.o.valid & self.i_a.valid & (self.i_b.valid | ~now.takes_b)),
            last.eq(words == now.more_elements[lane_bits:]),
            *(self.i_a.ready.eq(begin), self.i_b.ready.eq(begin & now.takes_b)),
            queue.o.ready.eq(begin & last),
        ]
        with m.If(begin):
            m.d.sync += words.eq(Mux(last, 0, words + 1))
        valid = delay(m, advance, "valid", begin, lane.AT_OUT, reset=True)
        passes = delay(m, advance, "pass", now, lane.AT_OUT)
        firsts = delay(m, advance, "first", words == 0, lane.AT_OUT)
        lasts = delay(m, advance, "last", last, lane.AT_OUT)
        used = self._used(m, advance, passes[lane.AT_PRODUCT - 1], lasts[lane.AT_PRODUCT - 1])
        lanes = self._lanes(m, platform, advance, passes, used[0])

        reduction = add(m, platform, "reduction", SfuReduction, self.config)
        word, given = reduction.word, passes[lane.AT_OUT]
        m.d.comb += [
            *(reduction.advance.eq(advance), reduction.used.eq(used[1])),
            *(reduction.outputs[k].eq(one.o) for k, one in enumerate(lanes)),
            *(reduction.squares[k].eq(one.square) for k, one in enumerate(lanes)),
            *(word.valid.eq(valid[-1]), word.first.eq(firsts[-1]), word.last.eq(lasts[-1])),
            *(word.kind.eq(given.reduction), word.carry.eq(given.carry)),
            *(word.target.eq(given.target), word.amount.eq(given.amount)),
            word.squares.eq(given.operation == Operation.SQUARES),
            *(queue.target.eq(reduction.target), reduction.before.eq(queue.before)),
            *(queue.write.eq(reduction.write), queue.written.eq(reduction.written)),
        ]
        self._outputs(m, advance, valid[-1], given, [one.o for one in lanes])
        return m

    def _used(self, m: Module, advance: Value, now: Value, last: Value) -> list[Value]:
        """Return which lanes hold elements of the vector, at AT_PRODUCT and AT_OUT."""
        lanes = self.config.lanes
        end = now.more_elements[: (lanes - 1).bit_length()]
        used = Cat(1, *(~last | (end >= k) for k in range(1, lanes)))
        return delay(m, advance, "used", used, 2)[1:]

    def _lanes(
        self, m: Module, platform: object, advance: Value, passes: list[Value], used: Value
    ) -> list[lane.SfuLane]:
        """Add the lanes, two to a table; return them."""
        factors, steps = passes[lane.AT_FACTORS].factors, Signal(lane.steps_layout())
        amount = passes[lane.AT_HALF - 1].amount
        half = Signal(lane.steps_layout()["half"].shape, reset_less=True)
        with m.If(advance):
            m.d.sync += half.eq(Mux(amount == 0, 0, (1 << amount) >> 1))

        def at(cycle: int) -> Value:
            return passes[cycle].operation

        m.d.comb += [
            *(steps.half.eq(half), steps.amount.eq(passes[lane.AT_SUM].amount)),
            steps.operation_u.eq(at(lane.AT_U)),
            steps.operation_address.eq(at(lane.AT_ADDRESS)),
            steps.operation_scale.eq(at(lane.AT_SCALE)),
            steps.fraction_bits.eq(passes[lane.AT_ADDRESS].fraction_bits),
            steps.squares_unrounded.eq(at(lane.AT_UNROUNDED) == Operation.SQUARES),
            steps.squares_product.eq(at(lane.AT_PRODUCT) == Operation.SQUARES),
        ]
        lanes = []
        for pair in range(self.config.lanes // 2):
            table = add(m, platform, f"table_{pair}", FunctionTable, self.config)
            both = [
                add(m, platform, f"lane_{2 * pair + odd}", lane.SfuLane, self.config, bool(odd))
                for odd in (0, 1)
            ]
            m.d.comb += table.advance.eq(advance)
            for odd, (own, neighbour) in enumerate((both, both[::-1])):
                k = 2 * pair + odd
                m.d.comb += [
                    *(own.advance.eq(advance), own.factors.eq(factors), own.steps.eq(steps)),
                    *(own.a.eq(self.i_a.payload[k]), own.b.eq(self.i_b.payload[k])),
                    own.neighbour_a.eq(neighbour.own_a),
                    own.neighbour_factor.eq(neighbour.own_factor),
                    getattr(table, f"address_{odd}").eq(own.address),
                    *(own.segment.eq(getattr(table, f"o_{odd}")), own.used.eq(used[k])),
                ]
            lanes += both
        return lanes

    def _outputs(
        self, m: Module, advance: Signal, valid: Value, given: Value, outputs: list[Value]
    ) -> None:
        """Both output streams: registers that hold until they are taken."""
        m.d.comb += advance.eq(
            (~self.o.valid | self.o.ready) & (~self.o_byte.valid | self.o_byte.ready)
        )
        for o, wanted in ((self.o, given.wide), (self.o_byte, given.byte != Byte.NONE)):
            with m.If(advance):
                m.d.sync += o.valid.eq(valid & wanted)
            with m.Elif(o.ready):
                m.d.sync += o.valid.eq(0)
        with m.If(advance):
            for k, out in enumerate(outputs):
                m.d.sync += [
                    self.o.payload[k].eq(out),
                    self.o_byte.payload[k].eq(_byte(given.byte, out)),
                ]


def _byte(kind: Value, out: Value) -> Value:
    """Return what `kind` says of an output: saturated, or one half of 14 bits."""
    low, high = signed_range(BYTE_BITS)
    sign = out[BYTE_BITS - 1 :]
    saturated = Mux(sign.all() | ~sign.any(), out[:BYTE_BITS].as_signed(), Mux(out < 0, low, high))
    half = BYTE_BITS - 1
    beyond = out[2 * half : WIDE_BITS].any()
    part = Mux(kind == Byte.HIGH, out[half : 2 * half], out[:half])
    return Mux(
        kind == Byte.SATURATED, saturated, Mux(out < 0, 0, Mux(beyond, (1 << half) - 1, part))
    )
