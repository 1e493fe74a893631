"""A job's part of the drive's table: the pages that pass by the engine, in their order."""

from golden.spec.drive_engine import DriveEngineConfig
from golden.spec.kv_layout import KvKind
from storage_engine.kv_address import KvAddress, SequenceId, channel_index


def job_table(
    config: DriveEngineConfig, sequence: SequenceId, context: int, *, sparf: bool
) -> list[int]:
    """Return the packed addresses of the pages that a job's table has, as `PageScheduler` wants.

    Dense attention: all groups. SparF: all pages of the whole spans, span by span; the groups
    behind them; then all groups.

    Args:
        context: tokens that the queries see, 0 or more.
    """
    layout = config.layout
    groups = [
        KvAddress(*sequence, KvKind.PAIRS, group).pack()
        for group in range(-(-context // layout.group_tokens))
    ]
    if not sparf:
        return groups
    spans = context // layout.span_tokens
    by_channel = [
        KvAddress(*sequence, KvKind.KEY_CHANNELS, channel_index(span, group)).pack()
        for span in range(spans)
        for group in range(layout.channel_groups)
    ]
    return [*by_channel, *groups[spans * layout.span_tokens // layout.group_tokens :], *groups]
