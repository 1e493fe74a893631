"""Quality of results: what chains of many configurations take of an ECP5, and how fast they are.

`python -m bitstreams.quality` measures all of `CONFIGURATIONS`, writes docs/quality.csv and the
drawing of it, and fails where a configuration has become slower or larger than the file said.
"""

import argparse
import csv
import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from statistics import median

from bitstreams.quality_drawing import draw
from golden.spec.errors import ConfigError
from golden.spec.files import write_text
from golden.spec.sparse_chain import SparseChainConfig
from hw.place import Placement, place
from hw.sparse_chain import SparseChain

CHAIN_LENGTH = 8
SEEDS = (1, 2, 3)
MOST_LOSS = 0.05
"""Of the frequency, and of the look-up tables per multiplier, that is no complaint yet: nextpnr's
seeds differ by as much."""

DOCS = Path("docs")
TABLE, DRAWING = "quality.csv", "pictures/quality.svg"


@dataclass(frozen=True, order=True)
class Row:
    """One configuration, measured.

    Attributes:
        chains: side by side. largest_n: the N of a dense block. weight_bits: as of the chain.
        lut, ff, dsp: cells that nextpnr placed, with those of the shift registers around.
        lut_per_mac: look-up tables per multiplier. fmax_mhz: the median over the seeds.
        seeds: how many.
    """

    chains: int
    largest_n: int
    weight_bits: int
    lut: int
    ff: int
    dsp: int
    lut_per_mac: float
    fmax_mhz: float
    seeds: int

    @property
    def key(self) -> tuple[int, int, int]:
        """What tells it from the others."""
        return self.chains, self.largest_n, self.weight_bits


CONFIGURATIONS = tuple(product((1, 2, 4), (8, 16), (4, 8)))
"""Chains, largest N, bits of a weight."""


def measure(
    configurations: Sequence[tuple[int, int, int]] = CONFIGURATIONS,
    seeds: Sequence[int] = SEEDS,
    placed: Callable[..., Placement] = place,
    say: Callable[[str], None] = lambda _: None,
) -> list[Row]:
    """Return a row for each configuration.

    Args:
        seeds: of the placement; the frequency is the median over them.
        placed: places and routes, as `hw.place.place`. say: told of each row.
    """
    rows = []
    for chains, m, bits in configurations:
        config = SparseChainConfig(
            m=m, chain_length=CHAIN_LENGTH, products_per_dsp=1, weight_bits=bits
        )
        found = [placed(SparseChain, config, copies=chains, seed=seed) for seed in seeds]
        used = found[0].used
        lut, multipliers = used["TRELLIS_COMB"], used["MULT18X18D"]
        fmax = round(median(one.fmax for one in found), 1)
        per_mac = round(lut / multipliers, 2)
        row = Row(
            *(chains, m, bits, lut, used["TRELLIS_FF"], multipliers, per_mac, fmax, len(seeds))
        )
        say(f"{chains} chains, N to {m}, {bits} bits: {fmax} MHz, {per_mac} LUTs per multiplier")
        rows.append(row)
    return rows


def losses(before: Sequence[Row], now: Sequence[Row], most: float = MOST_LOSS) -> list[str]:
    """Return a sentence for each configuration that became slower or larger by more than `most`."""
    old = {row.key: row for row in before}
    found = []
    for row in now:
        if row.key not in old:
            continue
        was = old[row.key]
        name = f"{row.chains} chains, N to {row.largest_n}, {row.weight_bits} bits"
        if row.fmax_mhz < was.fmax_mhz * (1 - most):
            found.append(f"{name}: {row.fmax_mhz} MHz, {was.fmax_mhz} before")
        if row.lut_per_mac > was.lut_per_mac * (1 + most):
            found.append(f"{name}: {row.lut_per_mac} LUTs per multiplier, {was.lut_per_mac} before")
    return found


def to_csv(rows: Sequence[Row]) -> str:
    """Return the rows as text."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [field.name for field in fields(Row)]
    writer.writerow(names)
    writer.writerows([getattr(row, name) for name in names] for row in rows)
    return text.getvalue()


def from_csv(text: str) -> list[Row]:
    """Return the rows in a text of `to_csv`.

    Raises:
        ConfigError: it is none.
    """
    kinds = {field.name: field.type for field in fields(Row)}
    try:
        return [
            Row(**{key: kinds[key](value) for key, value in row.items()})  # type: ignore[operator]
            for row in csv.DictReader(io.StringIO(text))
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{TABLE} is damaged ({error}); write it anew with `make qor`") from None


def main(words: Sequence[str] | None = None) -> int:
    """Measure, compare with what docs/ says, and write it; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bitstreams.quality", description=__doc__)
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of the table")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="placements per row")
    chosen = parser.parse_args(words)
    table = chosen.docs / TABLE
    before = from_csv(table.read_text(encoding="utf-8")) if table.is_file() else []
    rows = measure(seeds=range(1, chosen.seeds + 1), say=lambda line: print(line, flush=True))
    write_text(table, to_csv(rows))
    write_text(chosen.docs / DRAWING, draw(rows))
    found = losses(before, rows)
    for sentence in found:
        print(f"worse: {sentence}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
