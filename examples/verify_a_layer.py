"""Prune and quantise a slice of a real layer, and run it on the matrix engine in Verilator."""

from pathlib import Path

import torch

import nandu as nd

LAYER = "model.layers.0.self_attn.q_proj"

model = nd.load(nd.smollm2_file())
weight = model.weight(LAYER)[:128]  # 8 strips of 16 rows; all 576 inputs
text = model.tokens("The capital of France is Paris, and")  # 8 tokens, two for every lane
activations = model.inputs_of(LAYER, text)
exact = activations @ weight.T

engine = nd.MatrixEngineConfig(output_bits=16)  # 2 chains of 16 DSPs
scores = nd.importance(weight, activations)
keep = nd.choose_keep(scores, 0.4, engine.chain)  # N of each 16 x 16 block, 40 % of the weights
mask = nd.keep_mask(scores, keep, engine.chain)
weights = nd.quantise_groups(weight * mask, bits=4, group_size=96)
tokens = nd.quantise_tokens(activations)
matrix = nd.prune(weights.values, mask, keep, weights.group_size, bits=4)

# A real calibration text would not be the one that is computed.
scale = nd.choose_output_scale(exact, tokens, weights, engine)
scales = scale.of_groups(weights)
zeros = torch.zeros_like(scales)  # the quantisation is symmetric

design = nd.emit(nd.MatrixEngine, scale.config)
Path(f"{design.top}.v").write_text(design.verilog, encoding="utf-8")
case = nd.Case(LAYER, scale.config, matrix, tokens.values, scales, zeros)
[result] = nd.run_cases([case], design=design)

integers = nd.matrix_engine(matrix, tokens.values, scales, zeros, scale.config)
output = scale.dequantise(integers, tokens)
print(f"{design.top}: {result.compared} outputs, {result.mismatches} differ from golden")
print(f"{result.cycles} cycles, {result.contract_cycles} by the contract")
print(f"{result.utilisation:.1%} of the products useful")
print(f"error {(output - exact).norm() / exact.norm():.1%} of the float output")
raise SystemExit(0 if result.passed else 1)
