"""Jobs of a slice as streams, and what golden says must come of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from amaranth.hdl import Shape
from amaranth.lib import data

from golden.attention_engine_sums import Sums, add_up, logits, powers
from golden.bit_packing import pack_fields
from golden.spec.attention_engine import BINS
from golden.spec.drive_engine import DriveEngineConfig
from golden.special_functions.scalars import Scalar
from hw.payloads import of_struct
from storage_engine.engine_layouts import (
    ElementKind,
    SliceCommand,
    approximate_layout,
    element_layout,
    partial_layout,
    query_layout,
    slice_command_layout,
    span_tokens,
)
from storage_engine.slice_timing import Beat, Command


@dataclass(frozen=True)
class Page:
    """What a front end gives of a page.

    Attributes:
        kind: KEYS for pairs, TAIL_KEYS, or CHANNEL.
        first_token: of the group or span.
        entries: kept tokens' indices in the group, or kept channels' numbers; ascending.
        keys: int64 [entries, head_size]; of channels [entries, tokens].
        values: of pairs, int64 [entries, head_size].
    """

    kind: ElementKind
    first_token: int
    entries: np.ndarray
    keys: np.ndarray
    values: np.ndarray | None = None


@dataclass(frozen=True)
class Job:
    """A job.

    Attributes:
        queries, masked: int64 [queries, head_size]; masked is 0 but in the chosen channels.
        pages: in their order.
        spans: of which approximate scores are given: number and tokens, in their order.
    """

    queries: np.ndarray
    masked: np.ndarray
    pages: Sequence[Page]
    spans: Sequence[tuple[int, int]] = field(default=())


class JobStreams:
    """A job as streams: `beats` and `commands` for the contract, and payloads."""

    def __init__(
        self, config: DriveEngineConfig, job: Job, scale: Scalar, random: np.random.Generator
    ) -> None:
        self.config = config
        self.job = job
        self.scale = scale
        self._random = random
        self.commands = self._commands()
        self.i, self.beats = self._elements()
        self.i_query = self._queries()

    def command_payloads(self) -> np.ndarray:
        """Return the commands' payloads; what a command does not read is noise."""
        layout = slice_command_layout(self.config)
        rows = np.array([[int(each) for each in command] for command in self.commands])
        names = ("kind", "pages", "span", "tokens")
        return of_struct(layout, **{name: rows[:, k] for k, name in enumerate(names)})

    def partial(self) -> np.ndarray:
        """Return what PARTIAL must give."""
        config, sums = self.config, self.sums()
        lanes, beats = config.lanes, []
        for query in range(config.queries):
            top = int(sums.top[query])
            mass = sums.mass[query].flip(0)
            mixed = sums.mixed[query].flip(0).reshape(BINS, config.rows, lanes).transpose(0, 1)
            first = np.zeros((1 + BINS, lanes), np.int64)
            first[:, 0] = [top, *mass.tolist()]
            beats += [first, mixed.reshape(-1, lanes).numpy()]
        return of_array(partial_layout(config), np.concatenate(beats))

    def sums(self) -> Sums:
        """Return golden's sums over the tokens of pairs."""
        config = self.config
        pages = [page for page in self.job.pages if page.kind is ElementKind.KEYS]
        none = [np.zeros((0, config.head_size), np.int64)]
        keys = np.concatenate([*none, *(page.keys for page in pages)])
        values = np.concatenate([*none, *(p.values for p in pages if p.values is not None)])
        scores = torch.from_numpy(self.job.queries @ keys.T)
        likely = powers(config.attention, logits(scores, self.scale))
        seen = torch.ones(scores.shape, dtype=torch.bool)
        return add_up(likely, seen, torch.from_numpy(values))

    def approximate(self) -> np.ndarray:
        """Return what the commands SPAN must give."""
        config, job = self.config, self.job
        size, lanes = span_tokens(config), config.lanes
        beats = [np.zeros((0, config.queries, lanes), np.int64)]
        for span, tokens in job.spans:
            scores = np.zeros((config.queries, size), np.int64)
            for page in job.pages:
                if _span(config, page) != span or page.kind is ElementKind.KEYS:
                    continue
                if page.kind is ElementKind.CHANNEL:
                    scores[:, : page.keys.shape[1]] += job.masked[:, page.entries] @ page.keys
                else:
                    place = page.first_token + page.entries - span * size
                    scores[:, place] = job.masked @ page.keys.T
            by_words = scores.reshape(config.queries, size // lanes, lanes).transpose(1, 0, 2)
            beats.append(by_words[: -(-tokens // lanes)])
        return of_array(approximate_layout(config), np.concatenate(beats))

    def _commands(self) -> list[Command]:
        spans = [
            _span(self.config, page) for page in self.job.pages if page.kind is not ElementKind.KEYS
        ]
        pairs = len(self.job.pages) - len(spans)
        return [
            Command(SliceCommand.BEGIN),
            *(
                Command(SliceCommand.SPAN, spans.count(span), span, tokens)
                for span, tokens in self.job.spans
            ),
            Command(SliceCommand.PARTIAL, pairs),
        ]

    def _queries(self) -> np.ndarray:
        """Return the rows of the queries, in any order."""
        config, job = self.config, self.job
        rows = config.rows
        both = np.stack([job.queries, job.masked]).reshape(2, config.queries, rows, config.lanes)
        order = self._random.permutation(2 * rows)
        return of_struct(
            query_layout(config),
            values=both.transpose(0, 2, 1, 3).reshape(2 * rows, -1)[order],
            row=np.tile(np.arange(rows), 2)[order],
            masked=np.repeat([0, 1], rows)[order],
            last=np.arange(2 * rows) == 2 * rows - 1,
        )

    def _elements(self) -> tuple[np.ndarray, list[Beat]]:
        """Return all pages' beats, as payloads and for the contract."""
        layout = element_layout(self.config)
        payloads = [np.zeros((0, -(-layout.size // 8)), np.uint8)]
        beats: list[Beat] = []
        for page in self.job.pages:
            fields = self._page(page)
            payloads.append(of_struct(layout, **fields))
            beats += self._timing(page, fields)
        return np.concatenate(payloads), beats

    def _page(self, page: Page) -> dict[str, np.ndarray]:
        """Return a page's beats by their fields; those that do not count are noise."""
        config, lanes = self.config, self.config.lanes
        parts = [(page.kind, page.keys)]
        if page.values is not None:
            parts.append((ElementKind.VALUES, page.values))
        rows = page.keys.shape[1] // lanes
        count = len(page.entries) * rows * len(parts)
        entry = np.tile(np.repeat(page.entries, rows), len(parts))
        noise = self._random.integers
        channel = page.kind is ElementKind.CHANNEL
        tail = page.kind is ElementKind.TAIL_KEYS
        some = noise(0, config.attention.max_context, count)
        return {
            "elements": np.concatenate([part.reshape(-1, lanes) for _, part in parts]),
            "kind": np.repeat([int(kind) for kind, _ in parts], count // len(parts)),
            "row": np.tile(np.arange(rows), count // rows),
            "token": noise(0, config.layout.group_tokens, count) if channel else entry,
            "channel": entry if channel else noise(0, config.head_size, count),
            "first_token": np.full(count, page.first_token) if channel or tail else some,
            "last": np.arange(count) == count - 1,
        }

    def _timing(self, page: Page, fields: dict[str, np.ndarray]) -> list[Beat]:
        tokens = page.first_token + (0 if page.kind is ElementKind.CHANNEL else fields["token"])
        spans = np.broadcast_to(tokens // span_tokens(self.config), fields["row"].shape)
        ends = fields["row"] == self.config.rows - 1
        return [
            Beat(ElementKind(int(kind)), bool(end), bool(last), int(span))
            for kind, end, last, span in zip(
                fields["kind"], ends, fields["last"], spans, strict=True
            )
        ]


def of_array(layout: data.ArrayLayout, values: np.ndarray) -> np.ndarray:
    """Return payloads of an array of signed numbers, int64 [payloads, ...]."""
    flat = values.reshape(len(values), int(np.prod(values.shape[1:])))
    return pack_fields((flat, Shape.cast(layout).width // flat.shape[1]))


def _span(config: DriveEngineConfig, page: Page) -> int:
    """Return the number of the span that a page of approximate scores belongs to."""
    first = 0 if page.kind is ElementKind.CHANNEL else int(page.entries[0])
    return (page.first_token + first) // span_tokens(config)
