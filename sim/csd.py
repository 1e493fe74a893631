"""Drives that keep the KV cache and do the attention of decode steps; anything else computes.

What computes is any other system: a GPU, as in InstInfer (arXiv 2409.04992), or an FPGA. It reads
the prompts, attention included; then, in each layer of a step, it sends q, k and v to the drives
and gets the result back. KV heads are dealt to the drives.
"""

from collections.abc import Callable, Hashable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveInt, PrivateAttr

from golden.model_shapes import ModelShape
from sim import csd_events
from sim.cost import Cost
from sim.csd_engine import (
    ELEMENT_BYTES,
    Attention,
    DriveJob,
    Engine,
    copies,
    drive_job,
    heads_of_a_drive,
    write_seconds,
)
from sim.csd_events import Layer
from sim.nand import Drive, Flash, load_drive
from sim.offload import without_attention
from sim.operators import Forward, Operator
from sim.system import Footprint, Span, System
from sim.workload import Pass, Workload

COMMANDS = "commands to the drives"
SENT = "q, k, v and results"
PAGES = "KV pages"
ENGINE = "attention behind the pages"
STORED = "prompt's cache to the drives"

MOST_PROMPT_TOKENS = 65536
"""That are computed at a time, as in a GPU's working memory (`sim/gpu.py`)."""

NamedDrive = Annotated[
    Drive, BeforeValidator(lambda value: load_drive(value) if isinstance(value, str) else value)
]

FLASH, LINK, HOST, ATTEND = "flash", "drive link", "commands", "engine"


class CsdSystem(System):
    """A system that computes, and drives that attend.

    Attributes:
        compute: the system without its drives.
        drive: its flash, by name. drives: how many, all alike.
        attention: SparF, or dense. engine: what a drive has beside its flash.
    """

    kind: Literal["csd"]
    compute: System
    drive: NamedDrive
    drives: PositiveInt = Field(default=1, le=1024)
    attention: Attention = "sparf"
    engine: Engine
    _known: dict[Hashable, tuple[System, Cost | None]] = PrivateAttr(default_factory=dict)

    @property
    def chunk(self) -> int | None:
        """The most tokens of a prompt that go through at a time."""
        return self.compute.chunk

    @property
    def resources(self) -> tuple[str, ...]:
        """What could be made faster."""
        return (*self.compute.resources, FLASH, ATTEND, LINK, HOST)

    def faster(self, resource: str, factor: float) -> "CsdSystem":
        """Return the same system with one resource `factor` times as fast."""
        engine = self.engine
        changes: dict[str, dict[str, float]] = {
            ATTEND: {
                "gemv_gflops": engine.gemv_gflops * factor,
                "score_ns": engine.score_ns / factor,
            },
            LINK: {"link_gb_per_s": engine.link_gb_per_s * factor},
            HOST: {"command_us": engine.command_us / factor},
        }
        if resource == FLASH:
            flash = _faster_flash(self.drive.flash, factor)
            return self.model_copy(update={"drive": self.drive.model_copy(update={"flash": flash})})
        if resource in changes:
            update = changes[resource]
            return self.model_copy(update={"engine": engine.model_copy(update=update)})
        return self.model_copy(update={"compute": self.compute.faster(resource, factor)})

    @property
    def bytes_per_s(self) -> float:
        """Peak bytes per second of the memory that holds the weights."""
        return self.compute.bytes_per_s

    @property
    def label(self) -> str:
        """The system as a chart shows it."""
        count = "1 drive" if self.drives == 1 else f"{self.drives} drives"
        kind = f"SparF 1/{self.engine.ratio}" if self.attention == "sparf" else "dense attention"
        return f"{self.compute.label} and {count}, {kind}"

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What an estimate for such a system takes for granted."""
        engine = self.engine
        read: tuple[str, ...] = ()
        if self.attention == "sparf":
            share = engine.channel_pages / 2 + engine.token_pages
            read = (f"SparF reads {share:.1%} of the pages that dense attention reads.",)
        return (
            *self.compute.assumptions,
            f"The cache is on the drives, as FP16; their flash is that of {self.drive.title}.",
            *read,
            f"In each layer {engine.commands} commands of {engine.command_us:g} us a sequence go "
            "to each drive, one after the other, before it reads.",
            "New keys and values are programmed beside the reads and take none of their time.",
        )

    @property
    def computing(self) -> System:
        """What computes, with the techniques."""
        return self.compute.model_copy(update={"techniques": self.techniques})

    def check(self, workload: Workload) -> None:
        """Raise ConfigError unless what computes can do the workload."""
        self.compute.check(workload)

    def cannot(self, model: ModelShape, job: Pass) -> str | None:
        """Return why it cannot do a pass with its techniques; None if it can.

        What computes takes techniques that change weights; drives read their pages as they are.
        """
        if job.new > 1 and not job.prompt:
            return "its drives attend to one new token of a sequence at a time"
        usual = self.model_copy(update={"techniques": ()})
        if _attention(self.work(model, job)) != _attention(usual.work(model, job)):
            return (
                "keys and values are on its drives, which read them as pages of FP16, with SparF "
                "or dense as the system's name says"
            )
        return self.computing.cannot(model, job)

    # Memory

    def footprint(self, model: ModelShape, workload: Workload) -> Footprint:
        """Return what is held where weights are, or on the drives where these are too small.

        Where weights are, there is room for two layers of the prompts' keys and values, which
        leave for the drives while the next layer is computed. Large batches are read in parts.
        """
        all_of_it = self.computing.footprint(model, workload)
        tokens = min(workload.batch * workload.prefill, MOST_PROMPT_TOKENS)
        cache = 2 / model.layers * tokens * model.cached_elements * ELEMENT_BYTES
        computing = Footprint(all_of_it.weights, cache, all_of_it.working, all_of_it.held)
        drives = self._on_drives(model, workload)
        return drives if drives.short > computing.short else computing

    def _on_drives(self, model: ModelShape, workload: Workload) -> Footprint:
        stored = workload.batch * workload.longest * model.cached_elements * ELEMENT_BYTES
        even = model.kv_heads / (self.drives * heads_of_a_drive(model, self.drives))
        held = self.drives * even * self.drive.flash.geometry.bytes
        return Footprint(0.0, stored * copies(self.attention), 0.0, held)

    def remedy(self, model: ModelShape, workload: Workload) -> str:
        """Return what to do where a workload does not fit."""
        drives = self._on_drives(model, workload)
        if not drives.short:
            return (
                "compute={system: NAME, devices: N} with --set takes another system to compute, or "
                "more devices; a smaller batch and shorter prompts take less"
            )
        batch = int(drives.held / drives.needed * workload.batch)
        small = f"--batch {batch} would fit, or " if batch else ""
        return f"{small}more drives with --set drives={self._enough(model, workload)}"

    def _enough(self, model: ModelShape, workload: Workload) -> int:
        """Return the least number of drives that hold the cache, or one for each head."""
        for drives in range(self.drives, model.kv_heads):
            more = self.model_copy(update={"drives": drives})
            if not more._on_drives(model, workload).short:
                return drives
        return model.kv_heads

    # Time

    def prefill(self, model: ModelShape, workload: Workload) -> Cost | None:
        """Return the cost of reading the prompts; None where `compute` does not model it.

        A layer's keys and values go to the drives while the next layer is computed.
        """
        computing = self._once((model, workload), lambda: self.computing.prefill(model, workload))
        if computing is None:
            return None
        return self._stored(model, computing, workload.batch * workload.prefill)

    def _stored(self, model: ModelShape, computing: Cost, tokens: float) -> Cost:
        """Return the cost of computing, and of what of the storing lasts longer."""
        layer = computing.seconds / model.layers
        write = self._write(model, tokens)
        seconds = csd_events.stored_seconds(model.layers, layer, write)
        longer = {STORED: seconds - computing.seconds}
        sent = tokens * model.cached_elements * ELEMENT_BYTES
        moved = {LINK: sent, "flash written": sent * copies(self.attention)}
        return computing + Cost(
            longer[STORED], longer, longer, {FLASH: model.layers * write}, moved
        )

    def _write(self, model: ModelShape, tokens: float) -> float:
        """Return how long the fullest drive takes to store one layer's keys and values."""
        heads = heads_of_a_drive(model, self.drives)
        size = tokens * 2 * heads * model.head_size * ELEMENT_BYTES
        return write_seconds(self.drive.flash, self.engine, self.attention, size)

    def step(self, model: ModelShape, job: Pass) -> Cost:
        """Return the cost of one decode step, or of one pass over prompts."""
        if job.new > 1:
            return self._stored(model, self.computing.step(model, job), job.batch * job.new)
        computing = self._computing(model, job)
        drive, layers = self.job(model, job), model.layers
        layer = self._layer(model, job, computing.seconds, drive)
        parts = {
            COMMANDS: layers * layer.commands,
            SENT: layers * (layer.sent + layer.returned),
            PAGES: layers * drive.read,
            ENGINE: layers * (drive.seconds - drive.read),
        }
        busy = {
            HOST: parts[COMMANDS],
            LINK: parts[SENT],
            FLASH: parts[PAGES],
            ATTEND: layers * drive.engine,
        }
        used = model.kv_heads / heads_of_a_drive(model, self.drives)
        new = job.batch * model.cached_elements * ELEMENT_BYTES
        moved = {
            LINK: layers * job.batch * _vector_bytes(model, model.kv_heads),
            "flash": layers * used * drive.bytes,
            "flash written": new * copies(self.attention),
        }
        work = {"drive operations": layers * used * drive.operations}
        return computing + Cost(sum(parts.values()), parts, parts, busy, moved, {}, work)

    def seconds(self, model: ModelShape, job: Pass) -> float:
        """Return the time of one pass."""
        return self.step(model, job).seconds

    def job(self, model: ModelShape, job: Pass) -> DriveJob:
        """Return what the fullest drive does for one layer of a step."""
        return drive_job(self.drive.flash, self.engine, self.attention, self.drives, model, job)

    def _computing(self, model: ModelShape, job: Pass) -> Cost:
        """Return what is left of a step without attention, which no context makes longer."""
        alone = Pass(job.batch, 1, 1, job.extra)
        cost = self._once((model, alone), lambda: self.computing.step(model, alone))
        assert cost is not None
        return without_attention(cost)

    def _once(self, what: Hashable, cost: Callable[[], Cost | None]) -> Cost | None:
        """Return what `compute` costs, asked for only once: contexts and drives do not change it.

        Copies of the system share what is known. So the key is the part itself, and it is kept.
        """
        key = (id(self.compute), self.techniques, what)
        if key not in self._known:
            self._known[key] = self.compute, cost()
        return self._known[key][1]

    def _layer(self, model: ModelShape, job: Pass, computing: float, drive: DriveJob) -> Layer:
        heads = heads_of_a_drive(model, self.drives)
        vectors = job.batch * _vector_bytes(model, heads)
        queries = job.batch * heads * (model.heads // model.kv_heads)
        returned = queries * model.head_size * ELEMENT_BYTES
        link = self.engine.link_gb_per_s * 1e9
        return Layer(
            compute=computing / model.layers,
            commands=job.batch * self.engine.commands * self.engine.command_us * 1e-6,
            sent=(vectors - returned) / link,
            read=drive.read,
            engine=drive.engine,
            attend=drive.seconds,
            returned=returned / link,
        )

    def spans(self, model: ModelShape, job: Pass) -> list[Span]:
        """Return what every unit does in one pass, by an event simulation."""
        if job.new > 1:
            layer = self.computing.seconds(model, job) / model.layers
            write = self._write(model, job.batch * job.new)
            return csd_events.run_stored(model.layers, layer, write, self.drives)
        computing = self._computing(model, job).seconds
        layers = self._layer(model, job, computing, self.job(model, job))
        return csd_events.run(layers, model.layers, self.drives)

    # Energy and cost

    def joules(self, cost: Cost) -> float | None:
        """Return the energy of passes: what computes, and the drives at what they draw."""
        computing, each = self.compute.joules(cost), self.engine.watts
        if computing is None or each is None:
            return None
        return computing + self.drives * each * cost.seconds

    @property
    def watts(self) -> float | None:
        """The power limit of all devices together, where it is known."""
        return _with_drives(self.compute.watts, self.engine.watts, self.drives)

    @property
    def price_usd(self) -> float | None:
        """What all devices cost, where it is known."""
        return _with_drives(self.compute.price_usd, self.engine.price_usd, self.drives)


def _with_drives(computing: float | None, each: float | None, drives: int) -> float | None:
    return None if computing is None or each is None else computing + drives * each


def _attention(work: Forward) -> list[Operator]:
    return [operator for operator in work if operator.cached]


def _vector_bytes(model: ModelShape, kv_heads: int) -> int:
    """Return the bytes of q, k, v and the result of one token for so many KV heads."""
    heads = kv_heads * (model.heads // model.kv_heads)
    return 2 * (heads + kv_heads) * model.head_size * ELEMENT_BYTES


def _faster_flash(flash: Flash, factor: float) -> Flash:
    """Return flash that does everything in less time."""
    timing = flash.timing
    update: dict[str, Any] = {
        "read_us": tuple(us / factor for us in timing.read_us),
        "channel_mb_per_s": timing.channel_mb_per_s * factor,
    }
    for name in ("program_us", "erase_us", "command_us", "data_out_us", "cache_busy_us"):
        update[name] = getattr(timing, name) / factor
    return flash.model_copy(update={"timing": timing.model_copy(update=update)})
