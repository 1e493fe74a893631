"""How many tokens a second does FlightLLM's U280 give, the fewer of each block are kept?

A block's row of 16 weights keeps N of them: all, 8, 4 or 2. The chain skips the others, and the
memory does not hold them.
"""

import nandu as nd
from golden import model_shapes

CONTEXT, DECODE = 128, 128

model = model_shapes.load("llama-2-7b")
workload = nd.Workload(prefill=CONTEXT, decode=DECODE)

print(f"{model.name} on flightllm-u280, {CONTEXT} + {DECODE} tokens")
print(f"{'N:16':>5} {'bits':>5} {'tokens/s':>9} {'J/token':>8} {'weights GB':>11}  limited by")
for bits in (8, 4):
    for keep in (16, 8, 4, 2):
        weights = {"bits": bits, "group_size": 128, "scale_bits": 16, "keep": {keep: 1.0}}
        system = nd.load_system("flightllm-u280", {"weights": weights})
        found = nd.simulate(system, model, workload)
        print(
            f"{keep:5} {bits:5} {found.decode_tokens_per_s:9.1f} {found.joules_per_token:8.3f} "
            f"{found.memory_gb['weights']:11.2f}  {found.bottleneck}"
        )
