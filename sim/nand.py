"""The flash of a drive: its geometry, its times, how it reads, its retries and its ECC.

A flash array has `channels` buses with dies on each; a die has planes, a plane blocks, a block
pages. A page is sensed from a plane's array into the plane's register, then leaves over the bus.
Terms and commands are those of ONFI. Bounds by closed form stand in `nand_bounds.py`, the event
model in `flash_backend.py`.
"""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveInt, model_validator

from golden.spec.errors import ConfigError
from golden.spec.records import Record, load_fields, make, names

DRIVES = Path(__file__).parent / "drives"

PS_PER_US = 10**6
PS_PER_S = 10**12

Microseconds = Annotated[float, Field(gt=0, le=1e6)]
MicrosecondsOrNone = Annotated[float, Field(ge=0, le=1e6)]
MegabytesPerSecond = Annotated[float, Field(gt=0, le=1e6)]
Share = Annotated[float, Field(ge=0, le=1)]


class PlaneReads(StrEnum):
    """What the planes of a die can do when pages are read.

    `single`: a die senses one page at a time. `together`: one command senses the same page of the
    same block row in any of its planes. `independent`: each plane works as if it were a die.
    """

    SINGLE = "single"
    TOGETHER = "together"
    INDEPENDENT = "independent"


class FlashGeometry(Record):
    """How many of everything, and the bytes of a page: data, and the spare ones beside it.

    The spare bytes hold parity; they take channel time but are no payload.
    """

    channels: PositiveInt
    dies_per_channel: PositiveInt
    planes_per_die: PositiveInt
    blocks_per_plane: PositiveInt
    pages_per_block: PositiveInt
    page_bytes: PositiveInt
    spare_bytes: NonNegativeInt

    @property
    def planes(self) -> int:
        """Planes of all dies."""
        return self.channels * self.dies_per_channel * self.planes_per_die

    @property
    def blocks(self) -> int:
        """Blocks of all planes."""
        return self.planes * self.blocks_per_plane

    @property
    def pages(self) -> int:
        """Pages of all blocks."""
        return self.blocks * self.pages_per_block

    @property
    def bytes(self) -> int:
        """Payload of all pages."""
        return self.pages * self.page_bytes


class NandTiming(Record):
    """How long the array and the bus take.

    Attributes:
        read_us: from array to register (tR), for each kind of page in the order in which they
            follow in a block, as TLC's lower, middle and upper pages; one number for one kind.
        program_us, erase_us: of a page (tPROG) and a block (tBERS).
        channel_mb_per_s: bytes that a bus moves, parity among them.
        command_us: bus time of the command and address that start an array operation.
        data_out_us: bus time of selecting a page in a register before its data leaves.
        cache_busy_us: from the array's register to the cache register (tRCBSY).
    """

    read_us: Annotated[
        tuple[Microseconds, ...],
        Field(min_length=1),
        BeforeValidator(lambda value: (value,) if isinstance(value, int | float) else value),
    ]
    program_us: Microseconds
    erase_us: Microseconds
    channel_mb_per_s: MegabytesPerSecond
    command_us: MicrosecondsOrNone = 0.0
    data_out_us: MicrosecondsOrNone = 0.0
    cache_busy_us: MicrosecondsOrNone = 0.0


class Ecc(Record):
    """A channel's decoder, a pipeline that works on chunks while they arrive.

    Attributes:
        latency_us: from a page's last byte until it is known to be good, or not.
        mb_per_s: bytes of data and parity that it takes; None where it keeps up with the channel.
    """

    latency_us: MicrosecondsOrNone = 0.0
    mb_per_s: MegabytesPerSecond | None = None


class Retry(Record):
    """Pages whose first read fails in ECC and is repeated with shifted thresholds.

    Attributes:
        shares: the share of all pages that needs exactly 1, 2, ... repetitions. Which pages they
            are is drawn from the seed and the address alone, so a page behaves alike each time.
        setup_us: of setting the thresholds, before every repetition; the die is busy meanwhile.
    """

    shares: tuple[Share, ...] = ()
    setup_us: MicrosecondsOrNone = 0.0
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _is_a_part(self) -> Self:
        if sum(self.shares) > 1:
            raise ConfigError(f"shares sum to {sum(self.shares):g}; all pages together are 1")
        return self

    @property
    def mean(self) -> float:
        """Repetitions per page read."""
        return sum(times * share for times, share in enumerate(self.shares, 1))


class Flash(Record):
    """A drive's flash: geometry, times, and what its controller does with it.

    Attributes:
        plane_reads: what the planes of a die can do at a time.
        cache_read: whether the next sense runs beside the transfer of what was sensed before.
        commands_first: whether a bus serves waiting commands before waiting data.
    """

    geometry: FlashGeometry
    timing: NandTiming
    plane_reads: PlaneReads = PlaneReads.SINGLE
    cache_read: bool = False
    commands_first: bool = True
    ecc: Ecc = Ecc()
    retry: Retry = Retry()

    @model_validator(mode="after")
    def _overlaps(self) -> Self:
        if self.cache_read and not self.commands_first:
            raise ConfigError(
                "cache_read needs commands_first; "
                "else a sense waits for the transfers that it is to overlap"
            )
        return self

    @property
    def units_per_channel(self) -> int:
        """What works by itself on a channel: dies, or planes that read independently."""
        dies = self.geometry.dies_per_channel
        return dies * self.geometry.planes_per_die // self.planes_per_unit

    @property
    def planes_per_unit(self) -> int:
        """Planes of one such unit."""
        return 1 if self.plane_reads is PlaneReads.INDEPENDENT else self.geometry.planes_per_die

    @property
    def planes_per_sense(self) -> int:
        """Pages that one array operation can read, program or (as blocks) erase."""
        return self.geometry.planes_per_die if self.plane_reads is PlaneReads.TOGETHER else 1

    @property
    def page_ps(self) -> int:
        """Picoseconds that a page takes on its channel, selecting it included."""
        data = self.raw_page_bytes * PS_PER_US / self.timing.channel_mb_per_s
        return picoseconds(self.timing.data_out_us) + round(data)

    @property
    def ecc_page_ps(self) -> int:
        """Picoseconds of a page in ECC's slowest stage; 0 if it keeps up by definition."""
        rate = self.ecc.mb_per_s
        return 0 if rate is None else round(self.raw_page_bytes * PS_PER_US / rate)

    @property
    def raw_page_bytes(self) -> int:
        """Data and spare bytes of a page."""
        return self.geometry.page_bytes + self.geometry.spare_bytes


class Drive(Record):
    """A storage drive, as far as its flash goes.

    Attributes:
        sources, assumed: for fields of `flash`, or groups of them, by dotted path: where the value
            comes from; what it rests on where nobody states it.
    """

    name: str
    title: str
    flash: Flash
    sources: dict[str, str] = Field(default={})
    assumed: dict[str, str] = Field(default={})

    @model_validator(mode="after")
    def _explains_what_is_there(self) -> Self:
        known = self.flash.model_dump()
        for what, paths in (("sources", self.sources), ("assumed", self.assumed)):
            for path in paths:
                if not _has(known, path.split(".")):
                    raise ConfigError(f"{what} names {path!r}; flash has no such field")
        return self

    @property
    def unexplained(self) -> list[str]:
        """The fields given that have neither a source nor a word on what they rest on."""
        explained = (*self.sources, *self.assumed)
        given = _paths(self.flash.model_dump(exclude_unset=True))
        return [p for p in given if not any(p == e or p.startswith(f"{e}.") for e in explained)]


def picoseconds(us: float) -> int:
    """Return `us` microseconds in whole picoseconds, the event model's unit of time."""
    return round(us * PS_PER_US)


def drive_names() -> list[str]:
    """Return the names of the drives that have a file."""
    return names(DRIVES)


def load_drive(name: str) -> Drive:
    """Return the drive called `name`.

    Raises:
        ConfigError: there is no such drive, or its file is wrong.
    """
    return make(Drive, name, load_fields(DRIVES, "drive", name))


def _has(fields: Any, path: list[str]) -> bool:
    """Return whether nested mappings have a value under `path`."""
    for key in path:
        if not isinstance(fields, dict) or key not in fields:
            return False
        fields = fields[key]
    return True


def _paths(fields: dict[str, Any], before: str = "") -> Iterator[str]:
    """Yield the dotted paths of all values of nested mappings."""
    for key, value in fields.items():
        if isinstance(value, dict):
            yield from _paths(value, f"{before}{key}.")
        else:
            yield before + key
