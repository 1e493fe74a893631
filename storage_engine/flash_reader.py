"""Reading pages of flash with retries, and counting what happens."""

from dataclasses import dataclass

from golden.spec.errors import ConfigError
from storage_engine.flash_device import Flash
from storage_engine.flash_format import PageCodec, PageState, StoredPage


@dataclass(frozen=True)
class FlashPolicy:
    """How a drive treats its flash.

    Attributes:
        retries: reads of a page after the first, 0 to 15.
        wear_spread: erases by which the least worn block with data may be behind the most worn free
            one; beyond that its data are moved, 1 or more.
        spare_blocks: blocks kept for moving data and replacing bad ones, 1 or more.

    Raises:
        ConfigError: a field is outside its range.
    """

    retries: int = 5
    wear_spread: int = 8
    spare_blocks: int = 4

    def __post_init__(self) -> None:
        if self.retries not in range(16):
            raise ConfigError(f"retries is {self.retries!r}; allowed are 0 to 15")
        for name in ("wear_spread", "spare_blocks"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; 1 or more is needed")


@dataclass
class FlashCounters:
    """What happened so far.

    Attributes:
        written: pages that were asked to be written. moved: live pages written again. summaries:
            pages of summaries. failed: programs that failed. aborted: writes that were given up.
        reads: pages read, each retry counted. retried: pages read by a retry.
        corrected: wrong bits. uncorrectable: pages that were asked for and cannot be read.
    """

    written: int = 0
    moved: int = 0
    summaries: int = 0
    failed: int = 0
    aborted: int = 0
    reads: int = 0
    retried: int = 0
    corrected: int = 0
    uncorrectable: int = 0


class PageReader:
    """Reads pages with retries.

    Attributes:
        flash, codec, policy: as given. counters: what happened so far, of the whole drive.
    """

    def __init__(self, flash: Flash, codec: PageCodec, policy: FlashPolicy | None = None) -> None:
        if codec.stored_bytes != flash.shape.stored_bytes:
            raise ConfigError(
                f"a page of the flash has {flash.shape.stored_bytes} bytes; its code makes "
                f"{codec.stored_bytes} of it, take another stored_bytes or code"
            )
        self.flash, self.codec, self.policy = flash, codec, policy or FlashPolicy()
        self.counters = FlashCounters()

    def read(self, block: int, page: int) -> StoredPage | PageState:
        """Return a page; UNREADABLE if all retries fail."""
        found: StoredPage | PageState = PageState.UNREADABLE
        for retry in range(self.policy.retries + 1):
            self.counters.reads += 1
            found = self.codec.decode(self.flash.read(block, page, retry))
            if found is not PageState.UNREADABLE:
                self.counters.retried += retry > 0
                break
        if isinstance(found, StoredPage):
            self.counters.corrected += found.corrected
        return found
