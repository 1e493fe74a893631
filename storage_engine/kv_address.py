"""The logical address of a page of keys and values: task, batch, layer, head, kind and number.

The fields' places are `ADDRESS_FIELDS` of `golden/spec/kv_layout.py`.
"""

from dataclasses import dataclass
from typing import NamedTuple, Self

from golden.spec.errors import ConfigError
from golden.spec.kv_layout import ADDRESS_FIELDS, INDEX_FIELDS, KvKind


class SequenceId(NamedTuple):
    """One kv head of one layer of one sequence: what an attention command is about."""

    task: int
    batch: int
    layer: int
    head: int


@dataclass(frozen=True)
class KvAddress:
    """Where a page belongs.

    Attributes:
        task: 0 to 4095. batch: 0 to 4095. layer: 0 to 255. head: kv head, 0 to 255.
        kind: what the page holds.
        index: the number of the group, 0 to 2**20 - 1; of KEY_CHANNELS, what `channel_index` gives.

    Raises:
        ConfigError: a field is outside its range.
    """

    task: int
    batch: int
    layer: int
    head: int
    kind: KvKind
    index: int

    def __post_init__(self) -> None:
        for name, field in ADDRESS_FIELDS.items():
            _check(name, getattr(self, name), field.values)

    @property
    def sequence(self) -> SequenceId:
        """The sequence that the page belongs to."""
        return SequenceId(self.task, self.batch, self.layer, self.head)

    @property
    def span(self) -> int:
        """The span of a page of KEY_CHANNELS."""
        return self.index >> INDEX_FIELDS["span"].low

    @property
    def channel_group(self) -> int:
        """The number, among all channels, of the few that a page of KEY_CHANNELS holds."""
        return self.index & INDEX_FIELDS["channel_group"].values - 1

    def pack(self) -> int:
        """Return the address in 64 bits."""
        return sum(getattr(self, name) << field.low for name, field in ADDRESS_FIELDS.items())

    @classmethod
    def unpack(cls, packed: int) -> Self:
        """Return the address that is packed in 64 bits.

        Raises:
            ConfigError: it has more than 64 bits, or its kind is none.
        """
        _check("address", packed, 1 << 64)
        fields = {
            name: packed >> field.low & field.values - 1 for name, field in ADDRESS_FIELDS.items()
        }
        kinds = ", ".join(f"{kind.value} ({kind.name})" for kind in KvKind)
        if fields["kind"] not in list(KvKind):
            raise ConfigError(
                f"address {packed:#018x} has kind {fields['kind']}; allowed are {kinds}"
            )
        return cls(**{**fields, "kind": KvKind(fields["kind"])})  # type: ignore[arg-type]


def channel_index(span: int, channel_group: int) -> int:
    """Return the index of a page that holds a group of channels of a span of tokens.

    Raises:
        ConfigError: a number is outside its range.
    """
    _check("span", span, INDEX_FIELDS["span"].values)
    _check("channel_group", channel_group, INDEX_FIELDS["channel_group"].values)
    return span << INDEX_FIELDS["span"].low | channel_group


def task_of(packed: int) -> int:
    """Return the task of a packed address."""
    return packed >> ADDRESS_FIELDS["task"].low


def _check(name: str, value: int, count: int) -> None:
    if not 0 <= value < count:
        raise ConfigError(f"{name} is {value!r}; allowed are 0 to {count - 1}")
