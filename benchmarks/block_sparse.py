"""Measures what a block-sparse prompt costs and saves on SmolLM2, INT8, for several patterns.

Run by `python -m benchmarks.block_sparse`. Prints two Markdown tables: the perplexity on the first
1,024 tokens of the evaluation text, all of them read as a prompt, and what a program of 8 tokens at
the end of so long a prompt takes of a layer: bytes of keys and values, and cycles by the timing
contract, with memories of one word per cycle.
"""

import sys

from golden import perplexity
from golden.block_sparse import BlockSparse
from golden.language_model import load, smollm2_file
from golden.spec.core import CoreConfig
from hls_gen.compiler import Compiled
from hls_gen.traffic import offchip_bytes
from hw.core_timing import program_cycles
from nandu.made_models import made_model
from nandu.run_rtl import CHUNK, keep_layers

PATTERNS = {
    "dense": None,
    "1 sink, 8 local": BlockSparse(1, 8),
    "1 sink, 4 local": BlockSparse(1, 4),
    "1 sink, 2 local": BlockSparse(1, 2),
    "4 local": BlockSparse(0, 4),
}
"""Blocks of 64; the local ones count the queries' own."""

CORE = CoreConfig(chains=32, vector_depth=8192, activation_depth=8192, replay_words=2048)
POSITIONS = 1024


def main() -> None:
    """Measure what the command line names, `perplexity` or `programs`, or both."""
    wanted = sys.argv[1:] or ["perplexity", "programs"]
    if "perplexity" in wanted:
        measure_perplexity()
    if "programs" in wanted:
        measure_programs()


def measure_perplexity() -> None:
    """Print the perplexity with each pattern."""
    model = load(smollm2_file())
    tokens = perplexity.first_tokens(model, perplexity.evaluation_text())
    integer = made_model(model, smollm2_file()).transformer
    print("| pattern | perplexity | over dense |\n|---|---|---|", flush=True)
    dense = None
    for name, blocks in PATTERNS.items():
        found = perplexity.integer_perplexity(integer, tokens, blocks)
        dense = dense or found
        print(f"| {name} | {found:.3f} | {found / dense:.4f} |", flush=True)


def measure_programs() -> None:
    """Print what the last program of a long prompt takes of the second of two layers."""
    model = load(smollm2_file())
    keep_layers(model, 2)
    compiled = made_model(model, smollm2_file()).compiled(CORE, POSITIONS, CHUNK)
    print("| pattern | bytes of keys and values | cycles |\n|---|---|---|", flush=True)
    for name, blocks in PATTERNS.items():
        cached, cycles = of_a_program(compiled, blocks)
        print(f"| {name} | {cached:,} | {cycles:,} |", flush=True)


def of_a_program(compiled: Compiled, blocks: BlockSparse | None) -> tuple[int, int]:
    """Return the bytes of keys and values of a program with one layer, and its cycles."""
    position = POSITIONS - CHUNK
    program = compiled.program(position, tokens=CHUNK, blocks=blocks, layers=[1], head=False)
    instructions = program.instructions
    cached = offchip_bytes(instructions, CORE.word_bytes)["kv_cache"]
    bases = compiled.bases(position, range(CHUNK))
    schedule = program_cycles(CORE, instructions, bases, memories=compiled.images)
    return cached, schedule.cycles


if __name__ == "__main__":
    main()
