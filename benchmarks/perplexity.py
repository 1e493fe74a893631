"""Measures what the integer model's parts cost: perplexity on a real text, recipe by recipe.

Run by `python -m benchmarks.perplexity`, with names of recipes for some of them; a recipe takes
about two minutes. Prints the table of docs/integer-model.md.
"""

import copy
import sys
from dataclasses import dataclass, replace

import torch

from golden import perplexity
from golden.calibration import Calibration, calibrate, inputs_of
from golden.language_model import LanguageModel, load, smollm2_file
from golden.recipe import Recipe, make_weights
from golden.special_functions import lane
from golden.special_functions.functions import interleave
from golden.transformer import IntegerTransformer
from golden.transformer_quantise import quantise_transformer

CARRIED = Recipe(carried=smollm2_file(), smoothing=0.7)
RECIPES = {
    "w8": Recipe(),
    "w8, no smoothing": Recipe(smoothing=0),
    "w8, 7-bit probabilities": Recipe(probability_bits=7),
    "w8, groups of 64": Recipe(group_size=64),
    "q4_1": CARRIED,
    "q4_1, no smoothing": replace(CARRIED, smoothing=0),
    "q4_1, 7-bit probabilities": replace(CARRIED, probability_bits=7),
    "q4_1, whole zero points": replace(CARRIED, zero_fraction_bits=0),
    "w4, groups of 128": Recipe(bits=4, group_size=128),
    "w4, groups of 32": Recipe(bits=4, group_size=32),
    "w8, 8:16": Recipe(sparsity="8:16"),
    "w8, half kept": Recipe(kept=0.5),
    "w8, 4:16": Recipe(sparsity="4:16"),
    "w8, a quarter kept": Recipe(kept=0.25),
}
"""Decoder layers' weights: w8 and w4 symmetric in groups of 192, q4_1 the file's own codes."""

KINDS = ("wide", "factor", "byte")
COLUMNS = (
    *("bits per weight", "float, these weights, over float", "perplexity", "over float"),
    "saturated: wide / factors / bytes",
)


@dataclass(frozen=True)
class Row:
    """One recipe's results: perplexities, and how many elements saturated, by kind."""

    name: str
    bits: float | None
    weights_only: float
    all: float
    saturated: dict[str, int]

    def text(self, base: float) -> str:
        """Return a line of a Markdown table."""
        bits = f"{self.bits:.2f}" if self.bits else "-"
        numbers = f"{bits} | {self.weights_only / base:.3f} | {self.all:.3f}"
        saturated = " / ".join(str(self.saturated[kind]) for kind in KINDS)
        return f"| {self.name} | {numbers} | {self.all / base:.4f} | {saturated} |"


def main() -> None:
    """Measure all recipes, or those named on the command line."""
    model = load(smollm2_file())
    tokens = perplexity.first_tokens(model, perplexity.evaluation_text())
    seen = calibrate(model, perplexity.first_tokens(model, perplexity.calibration_text()))
    base = perplexity.float_perplexity(model, tokens)
    print(f"float: {base:.3f}\n", flush=True)
    print(f"| recipe | {' | '.join(COLUMNS)} |")
    print("|---" * (1 + len(COLUMNS)) + "|", flush=True)
    for name in sys.argv[1:] or RECIPES:
        print(measure(name, model, seen, tokens).text(base), flush=True)


def measure(name: str, model: LanguageModel, seen: Calibration, tokens: torch.Tensor) -> Row:
    """Return a recipe's results."""
    recipe = RECIPES[name]
    integer = quantise_transformer(model, seen, recipe)
    with lane.count_saturations() as saturated:
        whole = perplexity.integer_perplexity(integer, tokens)
    weights = perplexity.float_perplexity(with_weights(model, seen, recipe), tokens)
    bits = None if recipe.sparsity or recipe.kept else bits_per_weight(integer)
    return Row(name, bits, weights, whole, saturated)


def bits_per_weight(model: IntegerTransformer) -> float:
    """Return bits in memory of the decoder layers' dense matrices and scales, over the weights."""
    linears = [
        linear
        for layer in model.layers
        for part in (layer.attention, layer.feed_forward)
        for linear in vars(part).values()
        if hasattr(linear, "stored_bits")
    ]
    return sum(x.stored_bits for x in linears) / sum(x.values.numel() for x in linears)


def with_weights(model: LanguageModel, seen: Calibration, recipe: Recipe) -> LanguageModel:
    """Return the float model with a recipe's weights and nothing else quantised."""
    network = copy.deepcopy(model.network)
    size = network.config.head_dim
    for path in model.linear_layers():
        if path == "lm_head":
            continue
        rows, inputs = model.weight(path).shape
        site = inputs_of(path)
        ones = (torch.ones(rows).double(), torch.ones(inputs).double())
        weight = make_weights(model, recipe, path, seen.norms[site], *ones).dequantise()
        if path.endswith(("q_proj", "k_proj")):
            heads = weight.reshape(-1, size, inputs)
            weight = heads[:, interleave(size).argsort()].reshape(rows, inputs)
        network.get_submodule(path).weight.data = weight.float()
    return LanguageModel(model.name, network, model.tokenizer)


if __name__ == "__main__":
    main()
