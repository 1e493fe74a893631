"""The payloads of the streams between the blocks of a drive's attention engine."""

from enum import IntEnum

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from golden.spec.drive_engine import DriveEngineConfig

SCALE_BITS, SCALE_EXPONENT_BITS = 17, 10
"""Of what makes a logit of a score: a value of at most 2**16, and its exponent."""

TOP_BITS = 8
"""Bits of the signed number of a bin."""

PAGE_COUNT_BITS = 16
"""Bits of a number of pages."""

FRACTION_BITS = 7
"""Bits of a layer's signed fraction bits of keys or values: -64 to 63."""


class RequestKind(IntEnum):
    """Which kind of page is read: keys and values of a group, or channels of a span's keys."""

    PAIRS = 0
    KEY_CHANNELS = 1


class ElementKind(IntEnum):
    """What the elements of a beat are: some of a token's key or value, or of a channel's tokens.

    TAIL_KEYS are those of a token that gets an approximate score only (`keys_only`).
    """

    KEYS = 0
    VALUES = 1
    CHANNEL = 2
    TAIL_KEYS = 3


class SliceCommand(IntEnum):
    """What a slice does; see `storage_engine.attention_slice.AttentionSlice`."""

    BEGIN = 0
    SPAN = 1
    PARTIAL = 2


def partial_layout(config: DriveEngineConfig) -> data.ArrayLayout:
    """A beat of the sums that a slice gives at a job's end.

    For each query one after the other: a beat with `top` as its first element; then four with the
    mass of a bin as their first element; then for each row four with the row's sums of a bin. Of
    four bins the lowest, `top - 3`, comes first and `top` last. An empty slice has the top -128 and
    zeros.
    """
    return data.ArrayLayout(signed(config.attention.mixed_bits), config.lanes)


def page_request_layout(config: DriveEngineConfig) -> data.StructLayout:
    """What is wanted of a page that the flash delivers.

    `kind`: a `RequestKind`. `first`: the first token of its group or span; `tokens`: how many there
    are from there on, 0 or more. `keep`: a bit for each token of the group, or for each channel of
    the page, that is wanted. `keys_only`: of PAIRS, the values are not wanted. `address`: the
    packed `KvAddress` that the page must have. The fraction bits are those of the keys and values
    of its layer's kv head.
    """
    layout = config.layout
    return data.StructLayout(
        {
            "kind": 1,
            "first": range(config.attention.max_context),
            "tokens": range(max(layout.group_tokens, layout.span_tokens) + 1),
            "keep": max(layout.group_tokens, layout.channels_per_page),
            "keys_only": 1,
            "address": 64,
            "key_fraction": signed(FRACTION_BITS),
            "value_fraction": signed(FRACTION_BITS),
        }
    )


def page_verdict_layout(config: DriveEngineConfig) -> data.StructLayout:
    """What became of a page.

    So many bits were `corrected` in those of its chunks that are not `uncorrectable`. `crc_wrong`:
    a chunk was corrected wrongly, or is uncorrectable. `misplaced`: it could be read, and is not
    the page that was asked for, or has fewer tokens. `not_finite`: it is that page, and some of its
    FP16 elements are infinite or no numbers. A page is good if all but the last are 0.
    """
    return data.StructLayout(
        {
            "corrected": range(config.code.chunks * config.t + 1),
            "uncorrectable": 1,
            "crc_wrong": 1,
            "misplaced": 1,
            "not_finite": 1,
        }
    )


def element_layout(config: DriveEngineConfig) -> data.StructLayout:
    """A beat of a page's elements in fixed point.

    `kind`: an `ElementKind`. `row`: the beat within its token's channels, or its channel's tokens.
    `token`: in its group, of KEYS and VALUES; `channel`: of the head, of CHANNEL. `last`: no more
    of this page. `first_token`: the request's `first`.
    """
    layout = config.layout
    return data.StructLayout(
        {
            "elements": data.ArrayLayout(signed(config.kv_bits), config.lanes),
            "kind": 2,
            "row": range(max(config.rows, layout.span_tokens // config.lanes)),
            "token": range(layout.group_tokens),
            "channel": range(config.head_size),
            "last": 1,
            "first_token": range(config.attention.max_context),
        }
    )


def span_tokens(config: DriveEngineConfig) -> int:
    """Return how many tokens' approximate scores a slice holds in one bank, a power of 2."""
    return min(config.layout.span_tokens, config.attention.max_context)


def span_bits(config: DriveEngineConfig) -> int:
    """Return the bits of the number of a span in its sequence."""
    return max(config.context_bits + 1 - span_tokens(config).bit_length(), 1)


def query_layout(config: DriveEngineConfig) -> data.StructLayout:
    """A row of all queries, in fixed point.

    Fields:
        values: [queries][lanes].
        row: which `lanes` of the head's channels.
        masked: of the queries that are 0 in all channels but the chosen ones.
        last: the last beat of a job's queries.
    """
    row = data.ArrayLayout(signed(config.attention.query_bits), config.lanes)
    return data.StructLayout(
        {
            "values": data.ArrayLayout(row, config.queries),
            "row": range(config.rows),
            "masked": unsigned(1),
            "last": unsigned(1),
        }
    )


def scale_layout() -> data.StructLayout:
    """What makes logits of a query's scores: value * 2**exponent."""
    return data.StructLayout(
        {"value": unsigned(SCALE_BITS), "exponent": signed(SCALE_EXPONENT_BITS)}
    )


def slice_command_layout(config: DriveEngineConfig) -> data.StructLayout:
    """A command to a slice.

    Fields:
        kind: a `SliceCommand`.
        pages: how many pages must have come in before it is carried out; not of BEGIN.
        span: of SPAN, its number.
        tokens: of SPAN, how many of its tokens' scores are given, from its first token on.
    """
    return data.StructLayout(
        {
            "kind": unsigned(2),
            "pages": unsigned(PAGE_COUNT_BITS),
            "span": unsigned(span_bits(config)),
            "tokens": range(span_tokens(config) + 1),
        }
    )


def approximate_layout(config: DriveEngineConfig) -> data.ArrayLayout:
    """The approximate scores of `lanes` successive tokens: [queries][lanes]."""
    row = data.ArrayLayout(signed(config.attention.score_bits), config.lanes)
    return data.ArrayLayout(row, config.queries)


def half_layout(config: DriveEngineConfig) -> data.ArrayLayout:
    """A beat of FP16 numbers: queries that come, or outputs that go."""
    return data.ArrayLayout(unsigned(16), config.lanes)


def finisher_job_layout(config: DriveEngineConfig) -> data.StructLayout:
    """What the finisher must know of a job.

    `compensates`: masses and sums of values are given. `tokens`: of the sum of values.
    `value_fraction`: fraction bits of the values.
    """
    return data.StructLayout(
        {
            "compensates": 1,
            "value_fraction": signed(FRACTION_BITS),
            "tokens": range(config.attention.max_context + 1),
        }
    )


def value_sum_layout(config: DriveEngineConfig) -> data.ArrayLayout:
    """A row of the sum of all tokens' values."""
    bits = config.attention.element_bits + config.context_bits
    return data.ArrayLayout(signed(bits), config.lanes)


def query_job_layout(config: DriveEngineConfig) -> data.StructLayout:
    """What the query unit must know of a job: is it SparF, and fraction bits of the keys."""
    return data.StructLayout({"sparf": 1, "key_fraction": signed(FRACTION_BITS)})


def query_scales_layout(config: DriveEngineConfig) -> data.StructLayout:
    """What makes logits of a job's scores.

    `scale`: of whole scores, `approximate_scale`: of SparF's approximate ones, [queries] each.
    `not_finite`: an element of the queries is infinite or no number.
    """
    scales = data.ArrayLayout(scale_layout(), config.queries)
    return data.StructLayout({"scale": scales, "approximate_scale": scales, "not_finite": 1})


def likelihood_job_layout(config: DriveEngineConfig) -> data.StructLayout:
    """What the likelihood unit must know of a job.

    `context`: tokens, 1 or more. `k`: how many are chosen, less than there are but for `ends`.
    `newest`: of those, how many are the newest ones. `ends`: the last token is the sequence's
    current one, which is kept beside the chosen ones.
    """
    tokens = range(config.attention.max_context + 1)
    return data.StructLayout({"context": tokens, "k": tokens, "newest": tokens, "ends": 1})
