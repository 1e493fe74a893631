"""Runs a language model on the RTL of a core: the whole way from a prompt to the next token."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from golden.block_sparse import BLOCK, BlockSparse
from golden.language_model import LanguageModel, load
from golden.recipe import Recipe
from golden.spec.core import CoreConfig
from golden.spec.errors import ConfigError
from hls_gen.chunk import check_blocks
from hls_gen.memory_map import MAX_CHUNK
from hls_gen.model_run import ModelRun, ModelRunner, TokenRun
from hw.core_ports import port_names
from hw.cosim import check_tools
from hw.memory_model import MemoryTiming
from nandu.blocks import with_settings
from nandu.compress import checked_plan
from nandu.made_models import DEFAULT_RECIPE, made_model, model_file, through_front_end
from nandu.progress import Stages
from nandu.timeline import write_timeline

CHAINS = 32
"""Of the core, if nothing else is said: 1,024 multipliers."""

DEFAULTS = (f"chains={CHAINS}", "activation_depth=4096", "replay_words=2048")
"""Settings of the core: room for some hundred positions of `MODEL`, in chunks."""

CHUNK = 8
"""Tokens of the prompt that a program reads."""

WEIGHTS = ("w8", "q4_1")
"""INT8 in groups, or the 4-bit codes of the model's own file."""

POSITIONS = 64
"""The least positions of the cache; more in steps of it, so that few simulators are built."""


@dataclass(frozen=True)
class Options:
    """What the user asked for.

    Attributes:
        model: `MODEL`, a GGUF file, or a folder of `transformers`.
        prompt: a text; tokens_in: instead, numbers of tokens.
        tokens: to be given by the core.
        layers: decoder layers that are kept, the first ones; None for all.
        weights: see `WEIGHTS`. plan: instead, the file of a compression plan.
        chunk: tokens of the prompt that a program reads.
        blocks: that the prompt's tokens see; None for all in front of them.
        config: of the core. timing: of its memories.
        timeline, waves: files to write, or None: the last token's time line, and a waveform.

    Raises:
        ConfigError: an option is outside its range, or does not go with another.
    """

    model: str
    prompt: str | None
    tokens_in: Sequence[int] | None
    tokens: int
    layers: int | None
    weights: str
    chunk: int
    blocks: BlockSparse | None
    config: CoreConfig
    timing: MemoryTiming
    timeline: Path | None = None
    waves: Path | None = None
    plan: Path | None = None

    def __post_init__(self) -> None:
        if (self.prompt is None) == (self.tokens_in is None):
            raise ConfigError("give either --prompt or --tokens-in")
        if self.tokens < 1:
            raise ConfigError(f"--tokens is {self.tokens}; 1 is the least")
        if self.weights not in WEIGHTS:
            raise ConfigError(f"--weights is {self.weights!r}; allowed are {', '.join(WEIGHTS)}")
        if self.plan is not None and self.weights != WEIGHTS[0]:
            raise ConfigError("--plan does not go with --weights; the plan says the bits")
        if self.chunk not in range(1, MAX_CHUNK + 1):
            raise ConfigError(f"--chunk is {self.chunk}; allowed are 1 to {MAX_CHUNK}")
        check_blocks(self.blocks, self.config)


@dataclass(frozen=True, eq=False)
class Result:
    """What came of it.

    Attributes:
        prompt: tokens that went in. text: what the tokens that came out say.
        contract_cycles: of the last program.
        seconds: of each stage.
    """

    run: ModelRun
    prompt: list[int]
    text: str
    contract_cycles: int
    seconds: dict[str, float]


def options(
    model: str,
    *,
    tokens_in: str | None,
    prefill_blocks: str | None,
    settings: Sequence[str],
    latency: int,
    bandwidth: float,
    **others: Any,
) -> Options:
    """Return the options that a command line gives.

    Raises:
        ConfigError: one of them is outside its range, or does not go with another.
    """
    config = with_settings(CoreConfig, [*DEFAULTS, *settings])
    rate = Fraction(bandwidth).limit_denominator(1000)
    return Options(
        model,
        tokens_in=None if tokens_in is None else _numbers("--tokens-in", tokens_in, "504,3575,282"),
        blocks=None if prefill_blocks is None else _blocks(prefill_blocks),
        config=config,
        timing=MemoryTiming(latency=latency, words_per_cycle=rate),
        **others,
    )


def _numbers(option: str, text: str, example: str) -> list[int]:
    """Return the numbers of a list with commas."""
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise ConfigError(
            f"{option} is {text!r}; numbers with commas are needed, as {example}"
        ) from None


def _blocks(text: str) -> BlockSparse:
    """Return which blocks a prompt's tokens see."""
    option, example = "--prefill-blocks", "1,2 or 1,2,64: SINK,LOCAL,BLOCK"
    numbers = _numbers(option, text, example)
    if len(numbers) not in (2, 3):
        raise ConfigError(f"{option} has {len(numbers)} numbers; 2 or 3 are needed, as {example}")
    sink, local, block = (*numbers, BLOCK)[:3]
    return BlockSparse(sink, local, block)


def run(options: Options, stages: Stages) -> Result:
    """Quantise and compile a model, and run it.

    Raises:
        ConfigError: a token is not in the vocabulary, or the model does not fit the core.
        ModelFileError: the model cannot be read. ToolError: a tool is missing.
    """
    check_tools()
    with stages.stage("Load the model"):
        file = model_file(options.model)
        model = load(file)
        prompt = _tokens(options, model)
        model = through_front_end(model, file, len(prompt) + options.tokens)
        recipe = _recipe(options, model, file)
        if options.layers is not None:
            keep_layers(model, options.layers)
    with stages.stage("Quantise it") as progress:
        made = made_model(model, file, recipe, progress)
    positions = -(-(len(prompt) + options.tokens) // POSITIONS) * POSITIONS
    with stages.stage("Compile it"):
        compiled = made.compiled(options.config, positions, options.chunk)
    with stages.stage("Run it in RTL") as progress:
        timing = dict.fromkeys(port_names(options.config), options.timing)
        runner = ModelRunner(
            made.transformer, compiled, timing=timing, waves=options.waves, progress=progress
        )
        result = runner.generate(prompt, options.tokens, options.blocks)
    with stages.stage("Hold it against the timing contract"):
        contract = runner.contract_cycles()
    if options.timeline:
        write_timeline(options.timeline, result.runs[-1])
    text = str(model.tokenizer.decode(result.tokens))
    return Result(result, prompt, text, contract, stages.seconds)


def _tokens(options: Options, model: LanguageModel) -> list[int]:
    """Return the tokens that go in."""
    if options.tokens_in is None:
        assert options.prompt is not None
        numbers: list[int] = model.tokens(options.prompt)[0].tolist()
        return numbers
    size = model.network.config.vocab_size
    wrong = [token for token in options.tokens_in if token not in range(size)]
    if wrong or not options.tokens_in:
        what = f"has {wrong[0]}" if wrong else "is empty"
        raise ConfigError(f"--tokens-in {what}; the vocabulary is 0 to {size - 1}")
    return list(options.tokens_in)


def keep_layers(model: LanguageModel, layers: int) -> None:
    """Drop all but the first decoder layers of a model.

    Raises:
        ConfigError: it has not so many.
    """
    network = model.network
    most = network.config.num_hidden_layers
    if layers not in range(1, most + 1):
        raise ConfigError(f"--layers is {layers}; the model has 1 to {most}")
    network.model.layers = network.model.layers[:layers]
    network.config.num_hidden_layers = layers


def _recipe(options: Options, model: LanguageModel, file: Path) -> Recipe:
    """Return how the model is quantised; a plan must fit the whole of it."""
    if options.plan is not None:
        return Recipe(plan=checked_plan(options.plan, model))
    if options.weights == "q4_1":
        if file.is_dir():
            raise ConfigError(
                f"--weights is 'q4_1' and {options.model!r} is a folder; only a GGUF file has such "
                "codes, so take w8 or a --plan"
            )
        return Recipe(carried=file, smoothing=0.7)
    return DEFAULT_RECIPE


def record(options: Options, result: Result) -> dict[str, object]:
    """Return what the command prints with `--json`; where no "all" is said, of the last program.

    That has one token, or the last ones of the prompt. `weights_busy` is the share of cycles in
    which some chain takes a word of weights or of the cache, by the core's counter;
    `bandwidth_used` that of what the channels could have given, and `busiest_channel` the same of
    the one that gives most.
    """
    run = result.run
    last = run.runs[-1]
    traffic, count = last.offchip_bytes, len(last.tokens)
    cycles, config = last.cycles, options.config
    possible = float(cycles * options.timing.words_per_cycle)
    return {
        "passed": not run.differences
        and run.tokens == run.golden_tokens
        and result.contract_cycles == cycles,
        "differences": run.differences[:10],
        "tokens": run.tokens,
        "golden_tokens": run.golden_tokens,
        "text": result.text,
        "prompt_tokens": len(result.prompt),
        "multipliers": config.cores * config.engine.lanes,
        "program_tokens": count,
        "cycles": cycles,
        "contract_cycles": result.contract_cycles,
        "cycles_of_all": sum(one.cycles for one in run.runs),
        "cycles_per_layer": last.layer_cycles,
        "stalls": stalls(last.counters),
        "weights_busy": last.counters["WORDS"] / cycles,
        "bandwidth_used": sum(last.channel_words) / config.all_chains / possible,
        "busiest_channel": max(last.channel_words) / possible,
        "offchip_bytes_per_token": round(sum(traffic.values()) / count),
        "offchip_bytes": traffic | {"activations": 0},
        **_of_prompt(result),
        "programs": [_of_program(one) for one in run.runs],
        "rtl_s_per_token": last.simulation_s / count,
        "wall_s": result.seconds["Run it in RTL"],
        "seconds": result.seconds,
    }


def _of_program(run: TokenRun) -> dict[str, int]:
    """Return what a program did, in short."""
    return {
        "position": run.position,
        "tokens": len(run.tokens),
        "cycles": run.cycles,
        "offchip_bytes": sum(run.offchip_bytes.values()),
    }


def _of_prompt(result: Result) -> dict[str, int]:
    """Return what a token of the prompt took on average."""
    count = len(result.prompt)
    runs = [_of_program(one) for one in result.run.runs if one.position < count]
    return {
        f"prompt_{key}_per_token": round(sum(one[key] for one in runs) / count)
        for key in ("cycles", "offchip_bytes")
    }


def stalls(counters: dict[str, int]) -> dict[str, int]:
    """Return where the cycles of a program went, from the core's own counters."""
    wanted = ("WORDS", "STARVED", "BUSY_", "WAITING_")
    return {
        f"{name.lower()}_cycles": value
        for name, value in counters.items()
        if name.startswith(wanted)
    }
