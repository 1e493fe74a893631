"""What does a token cost in joules: FlightLLM's FPGA at batch 1, or an H100 at any batch?

A GPU reads its weights once for a whole batch, and the FPGA takes one sequence at a time: so
the question is from which batch on the GPU is the better one.
"""

import nandu as nd
from golden import model_shapes

MODEL, DECODE = "llama-2-7b", 128
BATCHES = (1, 2, 4, 8, 16, 32)

model = model_shapes.load(MODEL)
fpga = nd.load_system("flightllm-u280")
gpu = nd.load_system("gpu-h100-sxm-80gb")

print(f"{MODEL}: joules per written token, prompts included")
print(f"{'prompt':>7} {'U280':>7}  " + "".join(f"{f'H100 x{batch}':>10}" for batch in BATCHES))
for prompt in (128, 512, 1024):
    own = nd.simulate(fpga, model, nd.Workload(prefill=prompt, decode=DECODE))
    row, better = "", None
    for batch in BATCHES:
        found = nd.simulate(gpu, model, nd.Workload(prefill=prompt, decode=DECODE, batch=batch))
        row += f"{found.joules_per_token:10.2f}"
        if better is None and found.joules_per_token < own.joules_per_token:
            better = batch
    said = f"the GPU from batch {better}" if better else "the FPGA"
    print(f"{prompt:7} {own.joules_per_token:7.2f}  {row}  {said}")
