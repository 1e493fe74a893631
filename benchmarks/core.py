"""Measures a core on the first decoder layers of SmolLM2: cycles, and use of the memory channels.

Run by `python -m benchmarks.core CHAINS BANDWIDTH...`, for example `32 1 1/2 1/4`. The bandwidth is
in words per cycle of each memory port; a chain uses up to one. Prints a Markdown table's lines. The
cycles of each must be those of the timing contract.
"""

import sys
from fractions import Fraction

from golden.language_model import load, smollm2_file
from golden.spec.core import CoreConfig
from hls_gen.model_run import ModelRunner, TokenRun
from hw.core_ports import port_names
from hw.memory_model import MemoryTiming
from nandu.made_models import made_model
from nandu.run_rtl import keep_layers

LAYERS = 2
LATENCY = 30
"""Cycles from an address to its first word."""

PROMPT = "The capital of France is Paris and the capital of Italy is Rome"


def main() -> None:
    """Run the prompt without the head; show its last token."""
    chains, *rates = sys.argv[1:]
    config = CoreConfig(chains=int(chains))
    model = load(smollm2_file())
    keep_layers(model, LAYERS)
    tokens = model.tokens(PROMPT)[0].tolist()
    made = made_model(model, smollm2_file())
    compiled = made.compiled(config, max_positions=64, chunk=1)
    for rate in map(Fraction, rates):
        timing = MemoryTiming(latency=LATENCY, words_per_cycle=rate)
        timings = dict.fromkeys(port_names(config), timing)
        runner = ModelRunner(made.transformer, compiled, timing=timings)
        runner.read(tokens, head=False)
        assert not runner.differences
        assert runner.contract_cycles() == runner.runs[-1].cycles
        print(row(config, rate, runner.runs[-1]), flush=True)


def row(config: CoreConfig, rate: Fraction, run: TokenRun) -> str:
    """Return multipliers, bandwidth, a layer's cycles, use of all channels and of the busiest."""
    possible = float(run.cycles * rate)
    mean, most = sum(run.channel_words) / config.chains, max(run.channel_words)
    return (
        f"| {config.engine.lanes} | {rate} | {run.layer_cycles[-1]:,} "
        f"| {mean / possible:.1%} | {most / possible:.1%} |"
    )


if __name__ == "__main__":
    main()
