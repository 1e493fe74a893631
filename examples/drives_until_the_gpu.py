"""How many drives that attend does a GPU need until it is the limit itself?

InstInfer keeps the KV cache on drives that compute the attention. More drives help until
something else holds the system back: `bottleneck` is what a step gains most from.
"""

import nandu as nd
from golden import model_shapes

MODEL, PROMPT, DECODE, BATCH = "opt-13b", 1024, 64, 64
DRIVES = (1, 2, 4, 8, 12, 16, 20)

model = model_shapes.load(MODEL)
workload = nd.Workload(prefill=PROMPT, decode=DECODE, batch=BATCH)
gpu = set(nd.load_system("instinfer-1csd").compute.resources)

for attention, end in (("SparF", ""), ("dense", "-dense")):
    print(f"{MODEL}, {BATCH} x {PROMPT} + {DECODE} tokens, {attention} attention")
    enough = None
    for drives in DRIVES:
        found = nd.simulate(nd.load_system(f"instinfer-{drives}csd{end}"), model, workload)
        print(
            f"  {drives:2} drives: {found.decode_tokens_per_s:7.1f} tokens/s, "
            f"limited by {found.bottleneck}"
        )
        if enough is None and found.bottleneck in gpu:
            enough = drives
    print(f"  enough: {enough or f'more than {DRIVES[-1]}'}")
