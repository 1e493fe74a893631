"""Small flash arrays for the tests, and what to check of a run's trace."""

from collections import defaultdict
from itertools import pairwise

from hypothesis import strategies as st

from sim.flash_work import BUS_WORK
from sim.nand import Flash


def flash(**changes):
    """Return a flash array of one channel and one die, a page of 1 KB that takes 1 us to send.

    Args:
        changes: of fields at any depth, by their own names.
    """
    geometry = {
        "channels": 1,
        "dies_per_channel": 1,
        "planes_per_die": 1,
        "blocks_per_plane": 64,
        "pages_per_block": 16,
        "page_bytes": 1000,
        "spare_bytes": 0,
    }
    timing = {
        "read_us": 10,
        "program_us": 100,
        "erase_us": 500,
        "channel_mb_per_s": 1000,
        "command_us": 0,
        "data_out_us": 0,
        "cache_busy_us": 0,
    }
    for fields in (geometry, timing):
        fields.update({name: changes.pop(name) for name in list(changes) if name in fields})
    return Flash(geometry=geometry, timing=timing, **changes)


@st.composite
def flashes(draw, retries=True):
    cache_read = draw(st.booleans())
    return flash(
        channels=draw(st.integers(1, 3)),
        dies_per_channel=draw(st.integers(1, 4)),
        planes_per_die=draw(st.sampled_from([1, 2, 4])),
        pages_per_block=draw(st.sampled_from([4, 12, 16])),
        spare_bytes=draw(st.sampled_from([0, 77])),
        read_us=draw(st.sampled_from([3, 10, (8, 12), (5, 7, 9)])),
        command_us=draw(st.sampled_from([0, 0.3])),
        data_out_us=draw(st.sampled_from([0, 0.1])),
        cache_busy_us=draw(st.sampled_from([0, 1.5])),
        plane_reads=draw(st.sampled_from(["single", "together", "independent"])),
        cache_read=cache_read,
        commands_first=cache_read or draw(st.booleans()),
        ecc={
            "latency_us": draw(st.sampled_from([0, 2.5])),
            "mb_per_s": draw(st.sampled_from([None, 700, 3000])),
        },
        retry={
            "shares": draw(st.sampled_from([(), (0.01,), (0.1, 0.05)])) if retries else (),
            "setup_us": 0.7,
            "seed": draw(st.integers(0, 3)),
        },
    )


def check_trace(backend):
    """Assert that no bus and no plane did two things at a time, and what a die may do at a time."""
    buses, planes, dies = defaultdict(list), defaultdict(list), defaultdict(list)
    flash = backend.flash
    for span in backend.spans:
        assert span.start <= span.end
        if span.start == span.end:
            continue
        if span.what in BUS_WORK:
            buses[span.channel].append(span)
        else:
            dies[span.channel, span.unit].append(span)
            for plane in span.planes:
                planes[span.channel, span.unit, plane].append(span)
            assert len(set(span.planes)) == len(span.planes) <= flash.planes_per_sense
    for busy in (buses, planes, dies):
        for spans in busy.values():
            for before, after in pairwise(sorted(spans, key=lambda span: span.start)):
                assert before.end <= after.start, (before, after)
    for span in backend.spans:
        if span.what == "transfer":
            assert (span.end - span.start) % flash.page_ps == 0


def pages_sent(backend):
    """Return how often each page left its die, from the trace."""
    stripe, sent = backend.stripe, defaultdict(int)
    whole = backend.flash.page_ps
    for span in backend.spans:
        if span.what == "transfer":
            for plane in span.planes:
                number = stripe.number(span.channel, span.unit, plane, span.row)
                # A group may leave in pieces, one span each.
                sent[number] += (span.end - span.start) / (whole * len(span.planes))
    return {number: round(times, 6) for number, times in sent.items()}
