"""Compiles a model for a board: memories, programs of all lengths, and the cores themselves.

A model with weights, or the configuration of one without, goes through the front end: its operators
are those of a decoder that the compiler takes, or it is refused.
"""

import dataclasses
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from golden import model_shapes
from golden.language_model import CONFIGURATION, configuration, has_weights, load
from golden.model_shapes import ModelShape
from golden.recipe import Recipe
from golden.spec.core import CoreConfig
from golden.spec.errors import ConfigError, OutputError
from golden.spec.expansion import WEIGHT_WIDTHS
from golden.spec.files import cached, make_folder, write_text
from golden.transformer_quantise import shape_of
from hls_gen.compiler import Compiled
from hls_gen.front_end import graph_of, graph_of_configuration
from hls_gen.front_end_decoder import decoder_of
from hls_gen.front_end_llama import as_llama, check_llama, check_window
from hls_gen.memory_map import Base, MemoryMap
from hls_gen.plan import Linear, ModelPlan
from hls_gen.program import disassemble
from hls_gen.program_sizes import ProgramSizes, program_sizes
from hls_gen.shape_plan import WeightShape, shape_plan
from hls_gen.targets import check_board, chip_bytes, core_of
from hw.accelerator import Accelerator
from hw.board import load_board
from hw.emit import emit
from nandu.blocks import settings_of
from nandu.code_digest import code_digest
from nandu.compress import checked_plan
from nandu.made_models import DEFAULT_RECIPE, MODEL, MadeModel, made_model, model_file
from nandu.progress import Stages

BASES = {Base.WEIGHTS: "weights", Base.CACHE: "cache", Base.TABLES: "tables"}
"""Labels of base registers in disassembled programs."""

_LISTING = "files.txt"


@dataclass(frozen=True)
class Options:
    """What the user asked for.

    Attributes:
        model: one that is installed, a GGUF file, a folder of `transformers`, or the name or YAML
            file of a shape. A folder without safetensors is a shape, too.
        target: a board. out: the folder that is written.
        plan: of the compression, a file.
        positions: of the cache. chunk: tokens of a prompt's program.
        bits, keep: of a model without weights.
        programs: positions for which programs are written.
        settings: of the cores, "key=value".
        rtl: the Verilog of the cores is written too.

    Raises:
        ConfigError: an option is outside its range.
    """

    model: str
    target: str
    out: Path
    plan: Path | None
    positions: int
    chunk: int
    bits: int | None
    keep: int | None
    programs: int
    settings: tuple[str, ...]
    rtl: bool

    def __post_init__(self) -> None:
        if self.programs < 0:
            raise ConfigError(f"--programs is {self.programs}; 0 is the least")
        if self.bits is not None and self.bits not in WEIGHT_WIDTHS:
            allowed = ", ".join(map(str, WEIGHT_WIDTHS))
            raise ConfigError(f"--bits is {self.bits}; allowed are {allowed}")
        if self.keep is not None and self.keep not in range(1, CoreConfig().m + 1):
            raise ConfigError(f"--keep is {self.keep}; allowed are 1 to {CoreConfig().m}")

    @property
    def weights(self) -> WeightShape:
        """How the weights of a shape are stored."""
        given = {"bits": self.bits, "keep": self.keep}
        return WeightShape(**{key: value for key, value in given.items() if value is not None})


def run(options: Options, stages: Stages) -> dict[str, Any]:
    """Compile a model, write the folder and return the command's record.

    Raises:
        ConfigError: an option is wrong, or the model does not fit the board.
        ModelFileError: the model cannot be read. OutputError: the folder cannot be written.
    """
    board = load_board(options.target)
    shape, made = shape_named(options.model, options.positions), None
    if shape is None:
        made, shape = _quantised(options, stages)
    elif options.plan is not None:
        raise ConfigError(f"--plan needs weights; of {options.model} only the shape is known")
    with stages.stage("Size the cores"):
        size = options.positions, options.chunk
        settings = settings_of(CoreConfig, options.settings)
        config = core_of(board, shape, *size, options.weights, settings)
    with stages.stage("Place the matrices"):
        if made is None:
            compiled = Compiled(shape_plan(shape, config, *size, options.weights), ())
        else:
            compiled = made.compiled(config, *size)
        check_board(board, compiled.plan)
    with stages.stage("Measure the programs of all lengths") as progress:
        sizes = program_sizes(compiled.plan, progress)
    with stages.stage("Write the folder"):
        about = _about(compiled.plan, sizes, options)
        _write_folder(options.out, _files(compiled, about, options))
    files = sorted(str(path) for path in options.out.rglob("*") if path.is_file())
    images = [path for path in files if "/images/" in path]
    return about | {"images": images, "files": files, "seconds": sum(stages.seconds.values())}


def shape_named(model: str, positions: int) -> ModelShape | None:
    """Return the shape of a model without weights; None for one whose weights are here.

    Args:
        positions: of the cache.

    Raises:
        ConfigError: there is no such model, or the compiler does not take it.
        ModelFileError: a folder's configuration cannot be read.
    """
    if model.endswith((".yaml", ".yml")):
        return model_shapes.load_file(Path(model))
    if (folder := model_folder(model)) is not None:
        return None if has_weights(folder) else _shape_in(folder, positions)
    try:
        model_file(model)
    except ConfigError:
        return model_shapes.load(model)
    return None


def model_folder(model: str) -> Path | None:
    """Return the folder of `transformers` that is meant; None for a name or a file.

    Raises:
        ConfigError: it is a folder of something else.
    """
    path = Path(model)
    if model in {MODEL, *model_shapes.names(), *model_shapes.aliases()} or not path.is_dir():
        return None
    if not (path / CONFIGURATION).is_file():
        raise ConfigError(
            f"the folder {model!r} holds no {CONFIGURATION}; name one that transformers has saved"
        )
    return path


def _shape_in(folder: Path, positions: int) -> ModelShape:
    """Return the shape that the configuration in a folder tells."""
    settings = configuration(folder)
    check_window(settings, positions)
    decoder = decoder_of(graph_of_configuration(settings))
    check_llama(decoder)
    return decoder.shape(folder.resolve().name)


def _quantised(options: Options, stages: Stages) -> tuple[MadeModel, ModelShape]:
    """Return the integer model of one whose weights are here, and its shape."""
    if options.bits is not None or options.keep is not None:
        raise ConfigError("--bits and --keep are of shapes; weights are compressed by a --plan")
    with stages.stage("Load the model"):
        path = model_folder(options.model) or model_file(options.model)
        model, recipe = load(path), DEFAULT_RECIPE
    if options.model != MODEL:  # of the installed one it is known
        with stages.stage("Read its operators"):
            check_window(model.network.config, options.positions)
            model = as_llama(model, decoder_of(graph_of(model.network)))
    if options.plan is not None:
        recipe = Recipe(plan=checked_plan(options.plan, model))
    with stages.stage("Quantise it") as progress:
        return made_model(model, _known_by(path), recipe, progress), shape_of(model)


def _known_by(path: Path) -> Path:
    """Return a file that changes whenever a model does: of a folder, one that lists its files.

    How weights get their parts is a part of that.
    """
    if path.is_file():
        return path
    lines = [f"{code_digest('hls_gen.front_end_llama')} front end\n"]
    for file in sorted(each for each in path.iterdir() if each.is_file()):
        with file.open("rb") as content:
            lines.append(f"{hashlib.file_digest(content, 'sha256').hexdigest()} {file.name}\n")
    text = "".join(lines)
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    folder = cached(f"folders/{name}", lambda aside: write_text(aside / _LISTING, text))
    return folder / _LISTING


def _about(plan: ModelPlan, sizes: ProgramSizes, options: Options) -> dict[str, Any]:
    """Return what is said of a compiled model; it does not hang on time or place."""
    memory, config = plan.memory, plan.memory.config
    lengths = [1, sizes.positions // 4, sizes.positions // 2, sizes.positions]
    return {
        "model": memory.shape.name,
        "target": options.target,
        "config": dataclasses.asdict(config),
        "positions": sizes.positions,
        "chunk": sizes.chunk,
        "program_bytes": sizes.bucketed_bytes,
        "naive_bytes": sizes.naive_bytes,
        "ratio": sizes.naive_bytes / sizes.bucketed_bytes,
        "buckets": sizes.buckets,
        "bytes_of_lengths": {
            str(length): {
                "decode": sizes.decode_bytes(length).merged,
                "prefill": sizes.prefill_bytes(length).merged,
                "naive_decode": sizes.decode_bytes(length).naive,
                "naive_prefill": sizes.prefill_bytes(length).naive,
            }
            for length in lengths
        },
        "tiles": list(_tiles(plan)),
        "weight_bytes": config.all_chains * memory.weight_bytes,
        "cache_bytes": config.all_chains * (memory.channel_bytes - memory.weight_bytes),
        "chip_bytes": config.cores * chip_bytes(config),
    }


def _tiles(plan: ModelPlan) -> Iterator[dict[str, Any]]:
    """Yield how the matrices of the first layer and of the head are cut."""
    layer = plan.layers[0]
    named: dict[str, Sequence[Linear]] = {
        "queries_keys_values": [layer.attention.inputs],
        "attention_output": [layer.attention.output],
        "gate_up": [layer.feed_forward.gate_up],
        "down": [layer.feed_forward.down],
        "head": plan.head,
    }
    for name, linears in named.items():
        products = [product for linear in linears for product in linear.products]
        yield {
            "name": name,
            "rows": sum(product.rows for product in products),
            "inputs": products[0].columns * plan.memory.config.m,
            "parts": len(products),
            "words_of_a_channel": sum(product.words for product in products),
            "sweeps": sum(product.sweeps for product in products),
            "sparse": bool(products[0].paired),
        }


def _files(
    compiled: Compiled, about: dict[str, Any], options: Options
) -> Iterator[tuple[str, bytes]]:
    """Yield the files of the folder: their names, and what they hold."""
    memory = compiled.plan.memory
    yield "report.json", _json(about)
    yield "memory_map.json", _json(_memory_map(memory))
    yield "core.yaml", yaml.safe_dump(dataclasses.asdict(memory.config), sort_keys=False).encode()
    for number, images in enumerate(compiled.core_images):
        for port, image in images.items():
            yield f"images/core_{number}_{port}.bin", image.tobytes()
    yield from _programs(compiled, options.programs)
    if options.rtl:
        design = emit(Accelerator, memory.config, target="ultrascale+")
        yield f"rtl/{design.top}.v", design.verilog.encode()


def _programs(compiled: Compiled, positions: int) -> Iterator[tuple[str, bytes]]:
    """Yield the programs of the first positions, and the first one's text."""
    memory = compiled.plan.memory
    for first in range(0, min(positions, memory.max_positions), memory.config.m):
        for phase, tokens, head in (("decode", 1, True), ("prefill", memory.chunk, False)):
            programs = compiled.programs(first, tokens=tokens, head=head)
            for core, program in enumerate(programs):
                name = f"programs/{phase}_{first:05}_core_{core}"
                yield f"{name}.ndpg", program.to_bytes()
                if first == core == 0:
                    labels = {label: int(base) for base, label in BASES.items()}
                    yield f"{name}.s", disassemble(program, labels).encode()


def _memory_map(memory: MemoryMap) -> dict[str, Any]:
    """Return where a host finds and puts things, in bytes."""
    return {
        "general_bytes": memory.general_bytes,
        "channel_bytes": memory.channel_bytes,
        "norms": memory.gamma(0),
        "rotations": memory.rotation(0),
        "embedding": memory.embedding,
        "embedding_row_bytes": memory.vector_bytes(memory.shape.hidden),
        "outputs": memory.outputs,
        "logits": memory.logits,
        "cache": memory.weight_bytes,
        "cache_layer_bytes": memory.cache.layer_bytes,
        "base_registers": {base.name.lower(): int(base) for base in Base},
        "base_registers_of_token_0": list(memory.bases(0, [0])),
    }


def _json(record: dict[str, Any]) -> bytes:
    return (json.dumps(record, indent=2) + "\n").encode()


def _write_folder(out: Path, files: Iterator[tuple[str, bytes]]) -> None:
    """Write a folder in one step: aside, then renamed; what was there of an earlier run goes."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())) and not is_ours(out):
        raise OutputError(f"{str(out)!r} is there and holds no compiled model; name another folder")
    make_folder(out.parent)
    aside = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        for name, content in files:
            path = aside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        aside.chmod(0o755)
        if out.exists():
            shutil.rmtree(out)
        aside.replace(out)
    except OSError as error:
        raise OutputError(f"cannot write {str(out)!r} ({error.strerror})") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def is_ours(folder: Path) -> bool:
    """Return whether a folder is one that this command has written."""
    return (folder / "report.json").is_file() and (folder / "memory_map.json").is_file()
