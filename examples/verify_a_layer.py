"""Prune, quantise and pack a slice of a real layer, and run it on the sparse chain in Verilator."""

from pathlib import Path

import nandu as nd

LAYER = "model.layers.0.self_attn.q_proj"

model = nd.load(nd.smollm2_file())
weight = model.weight(LAYER)[:32]  # 2 strips of 16 rows; all 576 inputs
activations = model.inputs_of(LAYER, model.tokens("The capital of France is"))

config = nd.SparseChainConfig()
scores = nd.importance(weight, activations)
keep = nd.choose_keep(scores, 0.4, config)  # N of every 16 x 16 block, 40 % of the weights in all
mask = nd.keep_mask(scores, keep, config)
weights = nd.quantise_groups(weight * mask, bits=4, group_size=64)
tokens = nd.quantise_tokens(activations)
matrix = nd.pack(weights.values, mask, keep, weights.group_size, config)

design = nd.emit(nd.SparseChain, config)
Path(f"{design.top}.v").write_text(design.verilog, encoding="utf-8")
[result] = nd.run_cases([nd.Case(LAYER, matrix, tokens.values)], design=design)

sums = nd.sparse_chain(matrix, tokens.values)
output = nd.scale_sums(sums, weights.scales, tokens.scales)
exact = activations @ weight.T
print(f"{design.top}: {result.compared} sums, {result.mismatches} differ from golden")
print(f"{result.cycles} cycles, {result.contract_cycles} by the contract")
print(f"error {(output - exact).norm() / exact.norm():.1%} of the float output")
raise SystemExit(0 if result.passed else 1)
