"""How a serving machine chooses what to do next."""

from typing import ClassVar

from pydantic import PositiveFloat, PositiveInt

from golden.spec.errors import ConfigError
from golden.spec.names import nearest
from golden.spec.records import Record
from sim.treat import read_options


class Policy(Record):
    """A policy; its fields are its options.

    Attributes:
        sequences: the most that are served at a time; None for what the system takes.
    """

    name: ClassVar[str]
    about: ClassVar[str]

    sequences: PositiveInt | None = None


class Continuous(Policy):
    """Every pass decodes all sequences that run, and reads as much of prompts as there is room for.

    Attributes:
        chunk: tokens of a pass, those that decode included (Sarathi-Serve, arXiv 2403.02310, whose
            program's default this is).
    """

    name: ClassVar[str] = "continuous"
    about: ClassVar[str] = "continuous batching with chunked prefill"

    chunk: PositiveInt = 512


class Disaggregated(Policy):
    """One kind of machine reads prompts, another decodes; caches are sent (DistServe, 2401.09670).

    Attributes:
        readers: machines that read prompts, one at a time each, for one that decodes.
        link: 1e9 bytes per second between them; None for the link of the system's devices.
    """

    name: ClassVar[str] = "disaggregated"
    about: ClassVar[str] = "machines that read prompts send the cache to one that decodes"

    readers: PositiveInt = 1
    link: PositiveFloat | None = None


class Static(Policy):
    """A batch of what waits; the next one begins when its longest sequence has ended.

    Prompts are padded to the longest.
    """

    name: ClassVar[str] = "static"
    about: ClassVar[str] = "static batches, prompts padded to the longest"


class Prepacking(Policy):
    """As static, with short prompts side by side in one row (Prepacking, arXiv 2404.09529).

    Rows are as long as the longest prompt; masked parts of a row's attention are computed.
    """

    name: ClassVar[str] = "prepacking"
    about: ClassVar[str] = "static batches, prompts packed side by side"


POLICIES: dict[str, type[Policy]] = {
    one.name: one for one in (Continuous, Disaggregated, Prepacking, Static)
}


def parse_policy(text: str) -> Policy:
    """Return the policy that `NAME[:k=v,...]` means.

    Raises:
        ConfigError: the name or an option is unknown, or a value is not allowed.
    """
    name, _, rest = text.partition(":")
    if name not in POLICIES:
        known = ", ".join(POLICIES)
        raise ConfigError(
            f"there is no policy {name!r}{nearest(name, POLICIES)}; known are {known}"
        )
    record = POLICIES[name]
    try:
        return record(**read_options(record, rest))
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None


def described(policy: Policy) -> str:
    """Return a policy with the options that are set."""
    found = ",".join(f"{key}={value:g}" for key, value in policy if value is not None)
    return ":".join([policy.name, *([found] if found else [])])


def rows(lengths: list[int]) -> int:
    """Return the rows that prompts fill side by side, each as long as the longest prompt.

    The longest first, each in the first row that has room for it.
    """
    most = max(lengths)
    room: list[int] = []
    for length in sorted(lengths, reverse=True):
        for row, left in enumerate(room):
            if length <= left:
                room[row] -= length
                break
        else:
            room.append(most - length)
    return len(room)
