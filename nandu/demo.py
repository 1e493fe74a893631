"""The main job: one linear layer of a real model, from float weights to verified hardware."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

import hw.verify
from golden import model_shapes
from golden.language_model import LanguageModel, load, smollm2_file
from golden.quantise import Quantised, matrix_shape, quantise_groups, quantise_tokens
from golden.sparse_chain import scale_sums, sparse_chain
from golden.sparse_matrix import SparseMatrix, pack
from golden.sparsity import (
    check_kept,
    choose_keep,
    importance,
    keep_mask,
    parse_sparsity,
    uniform_keep,
)
from golden.spec.errors import ConfigError
from golden.spec.files import make_folder
from golden.spec.sparse_chain import SparseChainConfig
from hw.cosim import check_tools
from hw.emit import emit
from hw.sparse_chain import SparseChain
from nandu.demo_options import DemoOptions
from nandu.demo_result import DemoResult
from nandu.progress import Stages
from nandu.report import write_report
from sim.catalogue import load_system
from sim.decode import DecodeEstimate, estimate_decode
from sim.memory_formats import WeightFormat

CALIBRATION_TOKENS = 512
"""Tokens of the text that decides which inputs matter; the prompt is not among them."""

QUICK_ROWS = 64
"""Output rows of the slice that `--quick` takes; all inputs stay, so that K is the real one."""

ESTIMATED_MODEL = "llama-2-7b"
ESTIMATED_CONTEXT = 128
"""Tokens in the KV cache: where the only measured FlightLLM decode step stands."""


@dataclass(frozen=True)
class Layer:
    """A linear layer as captured: float32 weight [rows, inputs] and inputs [tokens, inputs]."""

    weight: torch.Tensor
    activations: torch.Tensor
    calibration: torch.Tensor


@dataclass(frozen=True)
class Compressed:
    """The layer as the chain takes it."""

    matrix: SparseMatrix
    mask: torch.Tensor
    weights: Quantised
    tokens: Quantised


def run(options: DemoOptions, stages: Stages) -> tuple[DemoResult, Path]:
    """Run the demo; return what it found and where the report is.

    Raises:
        NanduError: any of the options cannot be used, or a tool is missing.
    """
    config = SparseChainConfig()
    if options.sparsity:
        parse_sparsity(options.sparsity, config)
    if options.bits not in (4, 8):
        raise ConfigError(f"bits is {options.bits}; allowed are 4 and 8")
    check_kept(options.kept, config)
    check_tools()
    make_folder(options.out)

    with stages.stage("Load the model"):
        model = load(options.model or smollm2_file())
    with stages.stage("Run the prompt and capture the layer's activations"):
        layer = _capture(model, options)
        continuation = model.continuation(options.prompt, 8)
    with stages.stage("Prune and quantise"):
        compressed = _compress(layer, options, config)
    with stages.stage("Compute the golden integer result"):
        sums = sparse_chain(compressed.matrix, compressed.tokens.values)
        golden = scale_sums(sums, compressed.weights.scales, compressed.tokens.scales)
        exact = layer.activations @ layer.weight.T
        pruned = layer.activations @ (layer.weight * compressed.mask).T
        unpruned = quantise_groups(layer.weight, options.bits, options.group_size)
        quantised = compressed.tokens.dequantise() @ unpruned.dequantise().T
    with stages.stage("Emit Verilog"):
        design = emit(SparseChain, config)
    with stages.stage("Run the chain in Verilator") as progress:
        cases = list(_cases(layer, compressed, options))
        runs = hw.verify.run_cases(cases, design=design, waves=options.waves, progress=progress)
    with stages.stage("Estimate end to end"):
        systems = _estimate(compressed, options)

    result = DemoResult(
        model=model.name,
        prompt=options.prompt,
        continuation=continuation,
        layer=options.layer,
        rows=compressed.matrix.rows,
        inputs=compressed.matrix.inputs,
        tokens=len(layer.activations),
        sparsity=_sparsity_label(compressed.matrix),
        bits=options.bits,
        group_size=options.group_size,
        keep=compressed.matrix.keep.numpy(),
        float_output=exact.numpy(),
        golden_output=golden.numpy(),
        relative_error=_distance(golden, exact),
        pruning_error=_distance(pruned, exact),
        quantisation_error=_distance(quantised, exact),
        runs=runs,
        systems=systems,
        modules=len(design.modules),
        verilog_bytes=len(design.verilog),
        elaboration_s=stages.seconds["Emit Verilog"],
    )
    with stages.stage("Write the report"):
        report = options.out / "report.html"
        result = replace(result, seconds=dict(stages.seconds))
        write_report(result, report, options.command())
    return result, report


def _capture(model: LanguageModel, options: DemoOptions) -> Layer:
    from pydoc_data.topics import topics

    weight = model.weight(options.layer)
    calibration = model.tokens(" ".join(topics[name] for name in sorted(topics)[:8]))
    return Layer(
        weight[:QUICK_ROWS] if options.quick else weight,
        model.inputs_of(options.layer, model.tokens(options.prompt)),
        model.inputs_of(options.layer, calibration[:, :CALIBRATION_TOKENS]),
    )


def _compress(layer: Layer, options: DemoOptions, config: SparseChainConfig) -> Compressed:
    scores = importance(layer.weight, layer.calibration)
    if options.sparsity:
        n = parse_sparsity(options.sparsity, config)
        keep = uniform_keep(*matrix_shape(layer.weight, options.layer), n, config)
    else:
        keep = choose_keep(scores, options.kept, config)
    mask = keep_mask(scores, keep, config)
    weights = quantise_groups(layer.weight * mask, options.bits, options.group_size)
    tokens = quantise_tokens(layer.activations, config.activation_bits)
    matrix = pack(weights.values, mask, keep, options.group_size, config)
    return Compressed(matrix, mask, weights, tokens)


def _cases(layer: Layer, compressed: Compressed, options: DemoOptions) -> Iterator[hw.verify.Case]:
    """Yield the demo's own job, then one token of the same layer at every uniform N."""
    matrix, tokens = compressed.matrix, compressed.tokens
    yield hw.verify.Case(_sparsity_label(matrix), matrix, tokens.values)
    config = matrix.config
    for n in config.keeps:
        uniform = replace(options, sparsity=f"{n}:{config.m}")
        other = _compress(layer, uniform, config).matrix
        name = f"all {n}:{config.m}, one token"
        yield hw.verify.Case(name, other, tokens.values[:1])


def _estimate(compressed: Compressed, options: DemoOptions) -> list[DecodeEstimate]:
    """Estimate Llama-2-7B with the layer's mix of blocks, and uncompressed, beside the A100."""
    model = model_shapes.load(ESTIMATED_MODEL)
    counts = compressed.matrix.keep.unique(return_counts=True)
    shares = {
        int(n): int(count) / compressed.matrix.keep.numel()
        for n, count in zip(*counts, strict=True)
    }
    mixed = WeightFormat(bits=options.bits, group_size=options.group_size, keep=shares)
    fpga, gpu = load_system("flightllm-u280"), load_system("gpu-a100-sxm-80gb")
    dense = estimate_decode(fpga, model, ESTIMATED_CONTEXT)
    return [
        estimate_decode(fpga, model, ESTIMATED_CONTEXT, mixed),
        # The board was measured with sparse weights of 3.5 bits: nothing to set beside dense INT8.
        replace(dense, published_tokens_per_s=None, published_source=""),
        estimate_decode(gpu, model, ESTIMATED_CONTEXT),
    ]


def _sparsity_label(matrix: SparseMatrix) -> str:
    found = matrix.keep.unique().tolist()
    if len(found) == 1:
        return f"{found[0]}:{matrix.config.m}"
    return f"{'/'.join(map(str, found))}:{matrix.config.m} mixed, {matrix.kept_fraction:.0%} kept"


def _distance(output: torch.Tensor, exact: torch.Tensor) -> float:
    """Return |output - exact| / |exact|, Frobenius."""
    return float((output - exact).norm() / exact.norm())
