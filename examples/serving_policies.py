"""The same requests under three scheduling policies: who waits for how long?

Requests come at random, at a mean rate, with lengths around a mean. `static` gathers a batch and
ends it, `continuous` lets requests in and out at every pass, `prepacking` reads prompts together.
"""

from golden import model_shapes
from sim.catalogue import load_system
from sim.requests import draw_requests
from sim.serving_policies import parse_policy
from sim.serving_result import Limits, simulate_serving

SYSTEM, MODEL = "gpu-a100-sxm-80gb", "llama-2-7b"
RATE, COUNT, PROMPT, WRITTEN, SEED = 4.0, 100, 256, 64, 1

system, model = load_system(SYSTEM), model_shapes.load(MODEL)
requests = draw_requests(RATE, COUNT, PROMPT, WRITTEN, "exponential", SEED)

print(f"{MODEL} on {SYSTEM}: {COUNT} requests, {RATE:g} a second")
print(
    f"{'policy':12}{'ttft p50':>10}{'ttft p99':>10}{'tpot p50':>10}{'tokens/s':>10}{'J/token':>9}"
)
for name in ("static", "continuous", "prepacking"):
    found = simulate_serving(system, model, requests, parse_policy(name), Limits())
    first, each = found.percentiles["ttft_ms"], found.percentiles["tpot_ms"]
    joules = found.joules_per_token or float("nan")
    print(
        f"{name:12}{first['p50']:10.0f}{first['p99']:10.0f}{each['p50']:10.1f}"
        f"{found.e2e_tokens_per_s:10.0f}{joules:9.2f}"
    )
