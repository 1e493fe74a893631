"""What a drive that does attention itself reads, computes and sends for one layer of a step."""

from dataclasses import dataclass
from math import ceil
from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from golden.model_shapes import ModelShape
from golden.spec.records import Record
from sim.csd_flash import read_seconds
from sim.nand import Flash
from sim.nand_bounds import page_latency_us, program_gb_per_s
from sim.workload import Pass

ELEMENT_BYTES = 2
"""Of a key's or value's element, as of a query's and a result's: FP16."""

Attention = Literal["sparf", "dense"]


class Engine(Record):
    """What a drive has beside its flash.

    Attributes:
        gemv_gflops: operations per second of all matrix-vector units, 1e9.
        score_ns: of the softmax, for one score of one head.
        ratio: of SparF: the share of elements that it wants is one in so many.
        channel_pages: share that SparF reads of the pages of K by channels.
        token_pages: share that it then reads of the pages of K and V by tokens.
        commands: NVMe commands for each sequence and layer, one after the other.
        command_us: from a command to its end, without data.
        link_gb_per_s: of the drive's PCIe link, in one direction, 1e9 bytes.
        watts, price_usd: what one drive draws and costs.
    """

    gemv_gflops: PositiveFloat
    score_ns: NonNegativeFloat
    ratio: PositiveInt
    channel_pages: float = Field(gt=0, le=1)
    token_pages: float = Field(gt=0, le=1)
    commands: NonNegativeInt
    command_us: NonNegativeFloat
    link_gb_per_s: PositiveFloat
    watts: PositiveFloat | None = None
    price_usd: PositiveFloat | None = None


@dataclass(frozen=True)
class DriveJob:
    """One layer of a decode step on the drive that has most heads.

    Attributes:
        flash: of the drive. scattered: whether pages are read here and there.
        heads: of all sequences, which are read and worked on one after the other.
        first_pages, pages: read before the tokens are chosen; all that are read.
        operations, scores: of the matrix-vector units; of the softmax.
        engine: seconds for which these work, if nothing else holds them up.
    """

    flash: Flash
    scattered: bool
    heads: int
    first_pages: float
    pages: float
    operations: float
    scores: float
    engine: float

    @property
    def bytes(self) -> float:
        """Payload of the pages that are read."""
        return self.pages * self.flash.geometry.page_bytes

    @property
    def read(self) -> float:
        """Seconds of reading.

        Sequences follow one another without a gap. But the first one's tokens are read when the
        pages by channels are there, so a page's latency comes on top.
        """
        first = page_latency_us(self.flash) * 1e-6 if self.first_pages else 0.0
        return first + read_seconds(self.flash, self.pages, self.scattered)

    @property
    def seconds(self) -> float:
        """From the query to the result: the engine works on one head while more are read.

        So the last head's work comes after all reading, or all work after the first head's reading.
        """
        first = self.read / self.heads + page_latency_us(self.flash) * 1e-6
        return max(self.read + self.engine / self.heads, self.engine + first)


def heads_of_a_drive(model: ModelShape, drives: int) -> int:
    """Return the KV heads of the drive that has most of them."""
    return ceil(model.kv_heads / drives)


def drive_job(
    flash: Flash, engine: Engine, attention: Attention, drives: int, model: ModelShape, job: Pass
) -> DriveJob:
    """Return what the fullest of `drives` drives does for one layer of a step.

    A page has keys or values of neighbouring tokens of one head. What does not fill a page yet is
    in the drive's memory, so a context of S tokens is S / tokens of a page, not rounded.
    """
    heads = heads_of_a_drive(model, drives) * job.batch
    queries = heads * (model.heads // model.kv_heads)
    tokens, size = job.context, model.head_size
    copy = heads * tokens * size * ELEMENT_BYTES / flash.geometry.page_bytes
    if attention == "dense":
        first, pages = 0.0, 2 * copy
        operations, scores = queries * 4.0 * tokens * size, queries * float(tokens)
    else:
        first = engine.channel_pages * copy
        pages = first + engine.token_pages * 2 * copy
        channels, kept = round(size / engine.ratio), tokens / (2 * engine.ratio)
        operations = queries * (2 * tokens * channels + 4 * kept * size)
        scores = queries * (tokens + kept)
    busy = operations / (engine.gemv_gflops * 1e9) + scores * engine.score_ns * 1e-9
    return DriveJob(flash, attention == "sparf", heads, first, pages, operations, scores, busy)


def copies(attention: Attention) -> float:
    """Return what is stored over one K and one V: SparF has K twice, by tokens and by channels."""
    return 1.5 if attention == "sparf" else 1.0


def write_seconds(flash: Flash, engine: Engine, attention: Attention, bytes_: float) -> float:
    """Return how long one drive takes to receive and program `bytes_` of keys and values."""
    programmed = bytes_ * copies(attention) / (program_gb_per_s(flash) * 1e9)
    return max(bytes_ / (engine.link_gb_per_s * 1e9), programmed)
