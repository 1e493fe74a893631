"""Measures what compression plans cost: perplexity and divergence on a real text, plan by plan.

Run by `python -m benchmarks.compression`, with names of plans for some of them; a plan takes some
minutes on one core. Prints the table of docs/compression.md.
"""

import sys

from golden import perplexity
from golden.compression_budget import choose_plan
from golden.compression_plan import Budget, CompressionPlan, LinearFormat
from golden.compression_quality import quality
from golden.language_model import LanguageModel, load, smollm2_file
from golden.recipe import Recipe
from nandu.compress import GROUP_SIZE, weights_of
from nandu.made_models import MODEL, made_model, made_sensitivities

UNIFORM = {
    "8 bits": {"bits": 8},
    "4 bits": {"bits": 4},
    "3 bits": {"bits": 3},
    "8 bits, 8:16": {"bits": 8, "sparsity": "8:16"},
    "8 bits, 4:16": {"bits": 8, "sparsity": "4:16"},
    "4 bits, 8:16": {"bits": 4, "sparsity": "8:16"},
    "4 bits, 0.75 kept": {"bits": 4, "kept": 0.75},
}
"""Plans in which all layers have the same format."""

BUDGETS = {
    "mixed, 4 bits": (4, 1),
    "mixed, 4 bits, 0.9 kept": (4, 0.9),
    "mixed, 4 bits, 0.75 kept": (4, 0.75),
    "mixed, 8 bits, 0.5 kept": (8, 0.5),
    "mixed, 4 bits, 0.5 kept": (4, 0.5),
}
"""Plans that are chosen by sensitivity: average bits, kept fraction."""


def main() -> None:
    """Measure all plans, or those named on the command line."""
    model = load(smollm2_file())
    print("| plan | bits | kept | perplexity | over float | divergence |")
    print("|---|---|---|---|---|---|", flush=True)
    for name in sys.argv[1:] or [*UNIFORM, *BUDGETS]:
        print(measure(name, model), flush=True)


def measure(name: str, model: LanguageModel) -> str:
    """Return a plan's line of the table."""
    plan, sizes = plan_of(name, model), weights_of(model)
    made = made_model(model, smollm2_file(), Recipe(plan=plan))
    tokens = perplexity.first_tokens(model, perplexity.evaluation_text())
    found = quality(model, made.transformer, tokens)
    ratio = found.perplexity / found.perplexity_float
    return (
        f"| {name} | {plan.average_bits(sizes):.2f} | {plan.kept_fraction(sizes):.3f} | "
        f"{found.perplexity:.2f} | {ratio:.3f} | {found.kl:.3f} |"
    )


def plan_of(name: str, model: LanguageModel) -> CompressionPlan:
    """Return a plan by its name in `UNIFORM` or `BUDGETS`."""
    if name in UNIFORM:
        layer = LinearFormat(**({"group_size": GROUP_SIZE} | UNIFORM[name]))
        return CompressionPlan(model=MODEL, default=layer)
    bits, kept = BUDGETS[name]
    found = made_sensitivities(model, smollm2_file(), GROUP_SIZE)
    budget = Budget(average_bits=bits, kept_fraction=kept)
    return choose_plan(MODEL, found, weights_of(model), budget, GROUP_SIZE)


if __name__ == "__main__":
    main()
