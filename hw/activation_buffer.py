"""A chain's activation buffer: the inputs of a job in, all of them once per sweep out.

A job is some columns of m inputs. Two halves of a block RAM hold one job each, so the next one is
written while the present one is read. Reading follows writing at a few cycles' distance: the first
sweep begins with the job's first input, not after its last.
"""

from collections.abc import Iterable

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.matrix_engine import MatrixEngineConfig
from hw.emit import add
from hw.fifo import Fifo
from hw.layouts import activation_layout, offset_layout, sweep_layout

HALVES = 2

OFFSETS = 32
"""Sums of groups that wait to be taken before the inputs must."""

JOB_CYCLES = 1
"""Cycles from a job taken to its first input taken."""

READ_AHEAD = 2
"""Cycles from an input's read to the same input offered: read from memory, registered."""

READ_CYCLES = 1 + READ_AHEAD
"""Cycles from an input taken to the same input offered: written, then read."""

OFFSET_CYCLES = 2
"""Cycles from a group's last activation given to the sum offered: registered, into the queue."""


class ActivationBuffer(wiring.Component):
    """Keeps two jobs' activations, and gives each job's `more_sweeps` + 1 times.

    Throughput: one input per cycle in and out, from sweep to sweep and from job to job. Latency:
    3 cycles from an input taken to the same input offered; 2 from a group's last activation given
    to the group's sum offered.

    Members:
        i_job: stream of `sweep_layout`, one beat per job, taken as soon as a half is free for it:
            while a job is read, the next one is known and written.
        i: the jobs' inputs, column after column; a job's first one is taken after the job.
        o: the same inputs, every job's in as many sweeps as it has. `m` times a job's columns must
            not be more than `activation_depth`.
        o_offset: the sums of the activations of each scale group, in every sweep. A sweep begins
            with a new group; its last one may have fewer columns. While 32 sums wait, the last
            input of one more group is held back.
    """

    def __init__(self, config: MatrixEngineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "i_job": In(stream.Signature(sweep_layout(config))),
                "i": In(stream.Signature(activation_layout(config.chain))),
                "o": Out(stream.Signature(activation_layout(config.chain))),
                "o_offset": Out(stream.Signature(offset_layout(config))),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        c = self.config
        return f"activation_buffer_{c.activation_depth}x{c.products_per_dsp}_m{c.m}"

    @staticmethod
    def cycles(config: MatrixEngineConfig, jobs: Iterable[tuple[int, int]]) -> int:
        """Return the cycles of successive jobs, from the first one offered to the last input given.

        The timing contract: exact when no stream waits.

        Args:
            jobs: columns and sweeps of each.
        """
        inputs = sum(columns * sweeps for columns, sweeps in jobs) * config.m
        return JOB_CYCLES + READ_CYCLES + inputs

    def elaborate(self, platform: object) -> Module:
        """Two halves whose words alternate in one memory; each is written, read and given back."""
        m = Module()
        config = self.config
        layout = activation_layout(config.chain)
        m.submodules.memory = rows = memory.Memory(
            shape=layout, depth=HALVES * config.activation_depth, init=[]
        )
        write, read = rows.write_port(), rows.read_port()
        keeper = add(m, platform, "keeper", JobKeeper, config, i_job=self.i_job)
        reader = add(m, platform, "reader", SweepReader, config)
        offsets = add(m, platform, "offsets", GroupOffsets, config, o=self.o_offset)

        advance = Signal()
        on_the_way = Signal(control_layout())
        given, end_group = Signal(layout, reset_less=True), Signal()
        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready),
            keeper.valid.eq(self.i.valid),
            self.i.ready.eq(keeper.ready),
            keeper.read_input.eq(reader.input),
            keeper.done.eq(reader.done),
            write.en.eq(self.i.valid & self.i.ready),
            write.addr.eq(keeper.write_address),
            write.data.eq(self.i.payload),
            reader.advance.eq(advance),
            reader.job.eq(keeper.job),
            reader.offered.eq(keeper.offered),
            reader.room.eq(offsets.room),
            read.en.eq(advance),
            read.addr.eq(keeper.read_address),
            offsets.promise.eq(reader.control.valid & reader.control.end_group),
            offsets.end_group.eq(end_group),
            offsets.give.eq(self.o.valid & self.o.ready),
            offsets.activations.eq(given),
            self.o.payload.eq(given),
        ]
        with m.If(advance):
            m.d.sync += [
                on_the_way.eq(reader.control),
                self.o.valid.eq(on_the_way.valid),
                given.eq(read.data),
                end_group.eq(on_the_way.end_group),
            ]
        return m


def control_layout() -> data.StructLayout:
    """What travels down the pipeline beside one input; `end_group`: the last of its group."""
    return data.StructLayout({"valid": 1, "end_group": 1})


def _input_bits(config: MatrixEngineConfig) -> int:
    """Return the bits of the number of an input in its job."""
    return config.chain.index_bits + sweep_layout(config)["more_columns"].width


def _last_input(config: MatrixEngineConfig, more_columns: Value) -> Value:
    """Return the number of a job's last input."""
    return Cat(Const(config.m - 1, config.chain.index_bits), more_columns)


class JobKeeper(wiring.Component):
    """Keeps the jobs of both halves, and where each is written.

    Members:
        i_job: the buffer's jobs; valid, ready: the handshake of its inputs.
        write_address, read_address: of the input that is written, and of number `read_input`; the
            words of the halves alternate in the memory.
        job: the job that is read; offered: there is one, and input `read_input` has been written.
        done: its last input is read in this cycle, which frees its half.
    """

    def __init__(self, config: MatrixEngineConfig) -> None:
        self.config = config
        bits = _input_bits(config)
        super().__init__(
            {
                "i_job": In(stream.Signature(sweep_layout(config))),
                "valid": In(1),
                "ready": Out(1),
                "write_address": Out(bits + 1),
                "read_input": In(bits),
                "read_address": Out(bits + 1),
                "job": Out(sweep_layout(config)),
                "offered": Out(1),
                "done": In(1),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"job_keeper_{self.config.activation_depth}_m{self.config.m}"

    def elaborate(self, platform: object) -> Module:
        """A job and two flags per half; accepting, writing and reading each go round the halves."""
        m = Module()
        jobs = [
            Signal(sweep_layout(self.config), name=f"job_{half}", reset_less=True)
            for half in range(HALVES)
        ]
        more_columns = [job.more_columns for job in jobs]
        accepts, writes, reads = Signal(), Signal(), Signal()  # the half that each works on
        taken = Signal(HALVES)  # halves with a job
        unwritten = Signal(HALVES)  # halves whose job is not all written
        written = Signal.like(self.read_input)  # inputs of the job that is written now
        takes_job, takes, ends = Signal(), Signal(), Signal()
        last_input = _last_input(self.config, Mux(writes, more_columns[1], more_columns[0]))
        m.d.comb += [
            self.i_job.ready.eq(~taken.bit_select(accepts, 1)),
            self.ready.eq(unwritten.bit_select(writes, 1)),
            self.write_address.eq(Cat(writes, written)),
            self.read_address.eq(Cat(reads, self.read_input)),
            self.job.eq(Mux(reads, jobs[1], jobs[0])),
            # The job that is read is all written, or it is the one that is written now.
            self.offered.eq(
                taken.bit_select(reads, 1)
                & (~unwritten.bit_select(reads, 1) | (self.read_input != written))
            ),
            takes_job.eq(self.i_job.valid & self.i_job.ready),
            takes.eq(self.valid & self.ready),
            ends.eq(takes & (written == last_input)),
        ]
        for half, job in enumerate(jobs):
            with m.If(takes_job & (accepts == half)):
                m.d.sync += [job.eq(self.i_job.payload), taken[half].eq(1), unwritten[half].eq(1)]
            with m.If(ends & (writes == half)):
                m.d.sync += unwritten[half].eq(0)
            with m.If(self.done & (reads == half)):
                m.d.sync += taken[half].eq(0)
        with m.If(takes):
            m.d.sync += written.eq(Mux(ends, 0, written + 1))
        m.d.sync += [
            accepts.eq(accepts ^ takes_job),
            writes.eq(writes ^ ends),
            reads.eq(reads ^ self.done),
        ]
        return m


class SweepReader(wiring.Component):
    """Counts through a job's inputs, groups and sweeps; no memory, no register behind the counters.

    Members:
        advance: the pipeline takes an input in this cycle if there is one.
        job: the job that is read.
        offered: there is one, and its input number `input` has been written.
        room: another group's sum can be kept.
        input: the input that is to be read.
        control: whether it is read in this cycle, and whether its group ends with it.
        done: the job's last input is read in this cycle.
    """

    def __init__(self, config: MatrixEngineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "advance": In(1),
                "job": In(sweep_layout(config)),
                "offered": In(1),
                "room": In(1),
                "input": Out(_input_bits(config)),
                "control": Out(control_layout()),
                "done": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"sweep_reader_{self.config.activation_depth}_m{self.config.m}"

    def elaborate(self, platform: object) -> Module:
        """Counters of inputs, of columns in the group and of sweeps."""
        m = Module()
        job, reads, last_of_group = self.job, self.control.valid, self.control.end_group
        column = Signal.like(job.more_in_group)  # within the group
        sweep = Signal.like(job.more_sweeps)
        last_of_column, last_of_sweep = Signal(), Signal()
        m.d.comb += [
            last_of_column.eq(self.input[: self.config.chain.index_bits].all()),
            last_of_sweep.eq(self.input == _last_input(self.config, job.more_columns)),
            last_of_group.eq(last_of_column & ((column == job.more_in_group) | last_of_sweep)),
            reads.eq(self.advance & self.offered & (self.room | ~last_of_group)),
            self.done.eq(reads & last_of_sweep & (sweep == job.more_sweeps)),
        ]
        with m.If(reads):
            m.d.sync += [
                self.input.eq(Mux(last_of_sweep, 0, self.input + 1)),
                column.eq(Mux(last_of_group, 0, column + last_of_column)),
            ]
            with m.If(last_of_sweep):
                m.d.sync += sweep.eq(Mux(self.done, 0, sweep + 1))
        return m


class GroupOffsets(wiring.Component):
    """Adds the activations of each group, and keeps up to 32 sums until they are taken.

    Members:
        promise: a group's last input is read in this cycle; a place is kept for the sum.
        room: there is one more place.
        give: `activations` are given in this cycle; end_group: they are the group's last.
        o: the sums.
    """

    def __init__(self, config: MatrixEngineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "promise": In(1),
                "room": Out(1),
                "give": In(1),
                "end_group": In(1),
                "activations": In(activation_layout(config.chain)),
                "o": Out(stream.Signature(offset_layout(config))),
            }
        )

    @property
    def module_name(self) -> str:
        """The Verilog module's name."""
        return f"group_offsets_{self.config.products_per_dsp}x{self.config.offset_bits}"

    def elaborate(self, platform: object) -> Module:
        """An adder per lane, a queue, and a count of the places that are promised or taken."""
        m = Module()
        layout = offset_layout(self.config)
        queue = add(m, platform, "queue", Fifo, layout.size, OFFSETS)
        begins = Signal(init=1)
        sums = Signal(layout, reset_less=True)
        complete = Signal()
        kept = Signal(range(OFFSETS + 1))
        m.d.comb += [
            self.room.eq(kept != OFFSETS),
            queue.i.valid.eq(complete),  # and ready, for a place is kept
            queue.i.payload.eq(sums.as_value()),
            self.o.valid.eq(queue.o.valid),
            self.o.payload.as_value().eq(queue.o.payload),
            queue.o.ready.eq(self.o.ready),
        ]
        m.d.sync += [
            kept.eq(kept + self.promise - (self.o.valid & self.o.ready)),
            complete.eq(self.give & self.end_group),
        ]
        with m.If(self.give):
            m.d.sync += begins.eq(self.end_group)
            for total, activation in zip(sums, self.activations, strict=True):
                m.d.sync += total.eq(Mux(begins, 0, total) + activation)
        return m
