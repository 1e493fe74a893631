"""What a job of the matrix unit is for its timing: what each chain does, step by step.

Every step is of one of four kinds, and a chain does those of a kind in their order: a memory word
is taken, the expansion unit begins a beat, the chain takes a beat, a row leaves its banks. What
decides when they can be done is read from the words, as the hardware reads it; the weights
themselves do not matter.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from golden.spec.errors import ShapeError
from golden.spec.expansion import EXPANDED_BITS
from golden.spec.instruction import Instruction
from golden.spec.isa import Weights
from golden.spec.matrix_engine import MatrixEngineConfig
from hw.accumulator_bank import AccumulatorBank
from hw.chain_loader import UNPACKED_PORTS
from hw.expansion import CHUNK_SLOTS
from hw.sparse_chain import SparseChain
from hw.weight_stream import PARTIAL, Kind, slot_bits, unpacked_layouts
from hw.weight_stream_reader import Fields, payload_fields, word_kinds


@dataclass(frozen=True, eq=False)
class ChainWork:
    """What one chain does in a job; each list of steps as arrays by name.

    Attributes:
        words: kind: of each word; payloads: in it, those of headers and weights unused.
        expanded: begins_word, ends_word, ends_segment of each beat of the expansion unit.
        beats: dense, ends_pass, ends_column of each beat of the chain; whole: no weights that came
            with it are left; finishes: its pass finishes a strip's group; finished: and ends.
        rows: of each row or pair of rows, in the order of finished groups: with which of `beats` it
            leaves the chain, and the cycles (delay) from there until its bank offers it;
            ends_strip, ends_group, and whether it gives an output.
        given: payloads of each kind of `UNPACKED_PORTS` that are there without words.
    """

    words: Fields
    expanded: Fields
    beats: Fields
    rows: Fields
    given: Sequence[int]


@dataclass(frozen=True, eq=False)
class Product:
    """A job of the matrix unit.

    Attributes:
        columns, in_group, sweeps: of its activations: columns, those of a scale group, and times
            that all are given.
        chains: what each chain does.
        reads: chains that take words from memory. counts: chains whose strips leave. bool [chains].
        paired: see `hw.output_gatherer`.
        strips: that come out of all chains, those that do not leave too.
    """

    columns: int
    in_group: int
    sweeps: int
    chains: Sequence[ChainWork]
    reads: np.ndarray
    counts: np.ndarray
    paired: bool
    strips: int


class Track:
    """Lists of steps, one per chain, and how far each chain is.

    Behind a chain's last step there is one more, of zeros.

    Args:
        lists: those fields of each chain's steps that `names` says, and others.

    Attributes:
        at: where each chain's next step is in `fields`. fields: of the steps of all chains. start:
            where each chain's steps begin there.
    """

    def __init__(self, lists: Sequence[Fields], names: Sequence[str]) -> None:
        lengths = np.array([len(fields[names[0]]) for fields in lists])
        self.start = np.arange(len(lists)) * (lengths.max() + 1)
        self.at, self._end = self.start.copy(), self.start + lengths
        self.fields = {}
        for name in names:
            values = np.zeros((len(lists), lengths.max() + 1), lists[0][name].dtype)
            for row, fields in zip(values, lists, strict=True):
                row[: len(fields[name])] = fields[name]
            self.fields[name] = values.reshape(-1)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.fields[name][self.at]

    @property
    def left(self) -> bool:
        """Whether any chain has any steps left."""
        return bool((self.at < self._end).any())

    def of_chain(self, name: str, chain: int) -> np.ndarray:
        """Return a field of one chain's steps."""
        return self.fields[name][self.start[chain] : self._end[chain]]


def packed_product(
    config: MatrixEngineConfig, words: np.ndarray, columns: int, in_group: int
) -> Product:
    """Return the job of weight streams.

    Args:
        words: uint8 [chains, words, bytes]. columns: of the matrix. in_group: of a scale group.

    Raises:
        ShapeError: the words are not a weight stream for each chain of this engine.
    """
    if len(words) != config.chains:
        raise ShapeError(f"there are {len(words)} weight streams; {config.chains} are needed")
    chains, strips, sweeps, paired = [], 0, 1, False
    for stream in words:
        kinds = word_kinds(stream)
        kind = kinds % PARTIAL
        found, counts = {}, np.zeros(len(stream), np.int64)
        for each, layout in unpacked_layouts(config).items():
            mine = kind == each
            found[each] = payload_fields(stream[mine], kinds[mine], layout)
            slot = slot_bits(layout.size)
            partial = stream[mine][:, -(slot // 8)]
            counts[mine] = np.where(kinds[mine] >= PARTIAL, partial, config.word_bits // slot)
        headers, segments = found[Kind.PASSES], found[Kind.SEGMENTS]
        bits, beats = segments["width_code"] + 1, segments["more_beats"] + 1
        chains.append(
            ChainWork(
                words={"kind": kind, "payloads": counts},
                expanded=expanded_beats(config, list(zip(bits, beats, strict=True))),
                beats=_beats(config, headers),
                rows=_rows(config, headers, found[Kind.SCALES]["last"] == 1),
                given=[0] * len(UNPACKED_PORTS),
            )
        )
        paired = not headers["two_rows"].any()
        strips += len(found[Kind.DESTINATIONS]["elements"]) * (
            1 if paired else config.products_per_dsp
        )
        sweeps = len(bits)
    every = np.ones(config.chains, bool)
    return Product(columns, in_group, sweeps, chains, every, every, paired, strips)


def raw_product(
    config: MatrixEngineConfig, columns: int, in_group: int, addresses: int, active: np.ndarray
) -> Product:
    """Return the job of plain INT8 words.

    Args:
        in_group: columns of a scale group. addresses: of strips in each chain.
        active: chains that have words, and whose strips count: bool [chains].
    """
    segments = config.chain.segments
    column, address, segment = np.indices((columns, addresses, segments)).reshape(3, -1)
    ends_group = (column == columns - 1) | (column % in_group == in_group - 1)
    last = ends_group & (segment == segments - 1)
    code = (config.chain_length // config.group_length).bit_length() - 1
    headers = {
        "code": np.full(len(column), code),
        "dense": np.ones(len(column), bool),
        "two_rows": np.full(len(column), config.products_per_dsp == 2),
        "last": last,
        "end_column": (address == addresses - 1) & (segment == segments - 1),
        "end_group": last & (address == addresses - 1),
    }
    gives = np.repeat(column[last] == columns - 1, config.chain_length)
    words = columns * addresses * config.m
    work = ChainWork(
        words={"kind": np.full(words, Kind.WEIGHTS), "payloads": np.zeros(words, np.int64)},
        expanded=expanded_beats(config, [(EXPANDED_BITS, words)]),
        beats=_beats(config, headers),
        rows=_rows(config, headers, gives),
        given=[1, 0, len(column), len(gives), addresses],
    )
    strips = addresses * config.products_per_dsp * config.chains
    return Product(columns, in_group, 1, [work] * config.chains, active, active, False, strips)


def instruction_product(
    config: MatrixEngineConfig, instruction: Instruction, words: np.ndarray
) -> Product:
    """Return the job of an MV, or of a token of an MM.

    Args:
        words: uint8 [chains, words, bytes]; those of a raw matrix are not looked at.

    Raises:
        ShapeError: the words are not a weight stream for each chain of this engine.
    """
    columns, group = instruction["columns"], instruction["group"]
    if instruction["weights"] == Weights.PACKED:
        return packed_product(config, words, columns, group)
    channels = instruction["channels"] or (1 << config.chains) - 1
    active = np.array([bool(channels >> chain & 1) for chain in range(config.chains)])
    return raw_product(config, columns, group, instruction["addresses"], active)


def expanded_beats(config: MatrixEngineConfig, segments: Sequence[tuple[int, int]]) -> Fields:
    """Return what happens with each beat of the expansion unit: the fields of `ChainWork.expanded`.

    Args:
        segments: width of the weights and number of beats of each.
    """
    parts: dict[str, list[np.ndarray]] = {"begins_word": [], "ends_word": [], "ends_segment": []}
    chunks_of_word = config.expansion.chunks
    for bits, beats in segments:
        # Slots are read in chunks, the chunks of a word one by one; a segment begins with a word.
        chunks = -(-np.arange(beats + 1) * bits // CHUNK_SLOTS)
        parts["begins_word"].append(np.diff(-(-chunks // chunks_of_word)) > 0)
        ends_word = np.diff(chunks // chunks_of_word) > 0
        ends_word[-1] |= chunks[-1] % chunks_of_word > 0
        parts["ends_word"].append(ends_word)
        parts["ends_segment"].append(np.arange(beats) == beats - 1)
    return {name: np.concatenate(mine) for name, mine in parts.items()}


def _beats(config: MatrixEngineConfig, headers: Fields) -> Fields:
    """Return `ChainWork.beats` of passes with such headers."""
    n = config.group_length << headers["code"]
    number = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)
    is_last = number == np.repeat(n, n) - 1
    fields = {name: np.repeat(headers[name] == 1, n) for name in headers}
    alone = config.products_per_dsp == 1
    return {
        "dense": fields["dense"],
        "ends_pass": is_last,
        "ends_column": is_last & fields["end_column"],
        "finishes": fields["last"],
        "finished": fields["last"] & is_last,
        "whole": fields["two_rows"] | (number % 2 == 1) | alone,
    }


def _rows(config: MatrixEngineConfig, headers: Fields, gives: np.ndarray) -> Fields:
    """Return `ChainWork.rows` of passes with such headers; `gives` of each row."""
    n = config.group_length << headers["code"]
    length, finishing = config.chain_length, headers["last"] == 1
    paired = config.pairs_rows and not headers["two_rows"].any()
    # Of a pair, the second row is the later one.
    row = np.arange(length)[length // 2 :] if paired else np.arange(length)
    first, beats = (np.cumsum(n) - n)[finishing][:, None], n[finishing][:, None]
    # Row q * n + j leaves with beat j, behind multiplier q * n + n - 1.
    behind = length - beats - row // beats * beats
    cycles = SparseChain.latency(config.chain) + AccumulatorBank.cycles()
    ends = np.broadcast_to(row == length - 1, behind.shape)
    return {
        "beat": (first + row % beats).reshape(-1),
        "delay": (cycles - behind).reshape(-1),
        "ends_strip": ends.reshape(-1),
        "ends_group": (ends & (headers["end_group"] == 1)[finishing][:, None]).reshape(-1),
        "gives": gives,
    }
