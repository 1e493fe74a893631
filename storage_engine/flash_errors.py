"""What can go wrong in a drive: an error for each status that the host is told."""

from enum import IntEnum

from golden.spec.errors import NanduError


class DriveStatus(IntEnum):
    """Status codes of the drive."""

    OK = 0
    FULL = 1
    MISSING = 2
    UNCORRECTABLE = 3
    NOT_FORMATTED = 4
    LOG_CORRUPT = 5
    DAMAGED = 6


class DriveError(NanduError):
    """The root of what a drive reports; `status` is what the host is told."""

    status = DriveStatus.OK


class DriveFullError(DriveError):
    """There is no room for what is written; what was acknowledged is still there."""

    status = DriveStatus.FULL


class MissingError(DriveError):
    """What is read was never written, or was reclaimed."""

    status = DriveStatus.MISSING


class UncorrectableError(DriveError):
    """A page cannot be read, with all retries.

    Attributes:
        block, page: where it is in flash.
    """

    status = DriveStatus.UNCORRECTABLE

    def __init__(self, message: str, block: int, page: int) -> None:
        super().__init__(message)
        self.block, self.page = block, page


class NotFormattedError(DriveError):
    """There is no drive of ours in this flash."""

    status = DriveStatus.NOT_FORMATTED


class DamagedError(DriveError):
    """A part of a sequence was lost; it takes no more tokens until its task is reclaimed."""

    status = DriveStatus.DAMAGED
