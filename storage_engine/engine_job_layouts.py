"""The payloads of an attention engine's own streams: jobs, pages to read, what became of them."""

from enum import IntEnum

from amaranth.hdl import Value, signed
from amaranth.lib import data

from golden.spec.drive_engine import DriveEngineConfig
from golden.spec.kv_layout import ADDRESS_FIELDS
from storage_engine.engine_layouts import FRACTION_BITS

JOB_ID_BITS = 16
"""Bits of a job's number, by which its completion names it."""

PAGE_BITS = 32
"""Bits of a physical page's number within its flash channel."""

SEQUENCE_LOW = ADDRESS_FIELDS["head"].low
SEQUENCE_BITS = 64 - SEQUENCE_LOW
"""A packed address is a sequence's, and below it a kind and a number."""

SLOTS = 4
"""What pages are counted by: spans of even and of odd numbers, pairs of even and of odd jobs."""

COUNT_BITS = 32
"""Bits of a completion's counters."""


class Status(IntEnum):
    """What became of a job; of several the first that happened. Only OK has outputs.

    BAD_JOB: it has no token, or `k` or `newest` are too large. MISSING: a page is not in the
    table. LOST: a page could not be read, however often it was tried. NOT_FINITE: a query, or an
    element of a page that was read, is infinite or no number.
    """

    OK = 0
    BAD_JOB = 1
    MISSING = 2
    LOST = 3
    NOT_FINITE = 4


def channel_bits(config: DriveEngineConfig) -> int:
    """Return the bits of a flash channel's number, at least one."""
    return max((config.flash_channels - 1).bit_length(), 1)


def engine_job_layout(config: DriveEngineConfig) -> data.StructLayout:
    """A job: attention of one group of queries over one sequence.

    Fields:
        id: by which its completion names it.
        sequence: the upper bits of the packed `KvAddress` of all its pages.
        context: tokens that the queries see, 1 to `max_context`.
        sparf: SparF, else dense attention.
        k, newest: of SparF, what `AttentionConfig.tokens` and `newest` say for the context:
            k is less than the context, and `newest` at most k.
        key_fraction, value_fraction: fraction bits of the sequence's keys and values.
    """
    tokens = range(config.attention.max_context + 1)
    return data.StructLayout(
        {
            "id": JOB_ID_BITS,
            "sequence": SEQUENCE_BITS,
            "context": tokens,
            "sparf": 1,
            "k": tokens,
            "newest": tokens,
            "key_fraction": signed(FRACTION_BITS),
            "value_fraction": signed(FRACTION_BITS),
        }
    )


def is_refused(config: DriveEngineConfig, job: data.View) -> Value:
    """Return whether a job is BAD_JOB; such a one takes nothing from the other streams."""
    too_many = (job.k >= job.context) | (job.k > config.max_k) | (job.newest > job.k)
    return (job.context == 0) | (job.sparf & too_many)


def page_entry_layout(config: DriveEngineConfig) -> data.StructLayout:
    """Where a page lies, as the drive's table says: is there one, its channel, its number."""
    return data.StructLayout(
        {"present": 1, "flash_channel": channel_bits(config), "page": PAGE_BITS}
    )


def flash_read_layout(config: DriveEngineConfig) -> data.StructLayout:
    """A page that a flash channel is asked for; `attempt` counts read retries from 0 on."""
    return data.StructLayout({"page": PAGE_BITS, "attempt": range(max(config.attempts, 2))})


def page_read_layout(config: DriveEngineConfig) -> data.StructLayout:
    """A page that a job needs.

    Fields:
        page: its number within the flash channel.
        slot: what it is counted by; `SLOTS`.
        job: whether its job is an odd one.
        kind, keys_only, first, tokens, keep: of `page_request_layout`.
        index: of its `KvAddress`.
    """
    layout, attention = config.layout, config.attention
    return data.StructLayout(
        {
            "page": PAGE_BITS,
            "slot": range(SLOTS),
            "job": 1,
            "kind": 1,
            "keys_only": 1,
            "first": range(attention.max_context),
            "tokens": range(max(layout.group_tokens, layout.span_tokens) + 1),
            "keep": max(layout.group_tokens, layout.channels_per_page),
            "index": ADDRESS_FIELDS["index"].bits,
        }
    )


def sequence_layout() -> data.StructLayout:
    """What all pages of a job have in common; `engine_job_layout`."""
    return data.StructLayout(
        {
            "sequence": SEQUENCE_BITS,
            "key_fraction": signed(FRACTION_BITS),
            "value_fraction": signed(FRACTION_BITS),
        }
    )


def page_event_layout(config: DriveEngineConfig) -> data.StructLayout:
    """What became of a read: `lost` for good, or tried again, or its elements go on."""
    return data.StructLayout(
        {
            "job": 1,
            "page": PAGE_BITS,
            "lost": 1,
            "again": 1,
            "not_finite": 1,
            "corrected": range(config.code.chunks * config.t + 1),
        }
    )


def kept_group_layout(config: DriveEngineConfig) -> data.StructLayout:
    """A group of which some tokens are kept: its number, which ones, and whether it is the last."""
    layout = config.layout
    groups = -(-config.attention.max_context // layout.group_tokens)
    return data.StructLayout({"group": range(groups), "keep": layout.group_tokens, "last": 1})


def completion_layout(config: DriveEngineConfig) -> data.StructLayout:
    """What became of a job.

    Fields:
        id: of the job.
        status: a `Status`.
        flash_channel, page: of LOST and of a page that is NOT_FINITE, where.
        reads: pages that were read. retries: reads beyond the first one of a page.
        corrected: wrong bits that were corrected.
    """
    return data.StructLayout(
        {
            "id": JOB_ID_BITS,
            "status": 3,
            "flash_channel": channel_bits(config),
            "page": PAGE_BITS,
            **{"reads": COUNT_BITS, "retries": COUNT_BITS, "corrected": COUNT_BITS},
        }
    )
