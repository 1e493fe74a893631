"""Compresses a language model by a plan: one that is given, or one that is made for a budget."""

from dataclasses import asdict, dataclass
from pathlib import Path

from golden import perplexity
from golden.compression_budget import check_budget, choose_plan
from golden.compression_plan import (
    Budget,
    CompressionPlan,
    LinearFormat,
    Sizes,
    decoder_linears,
    read_plan,
)
from golden.compression_quality import quality
from golden.language_model import LanguageModel, load
from golden.recipe import Recipe
from golden.spec.errors import ConfigError
from golden.spec.files import make_folder
from nandu.made_models import (
    CALIBRATION_TOKENS,
    made_model,
    made_sensitivities,
    model_file,
    through_front_end,
)
from nandu.progress import Stages

GROUP_SIZE = 64
"""Inputs that share a scale, in plans that are made here."""

TOKENS = perplexity.TOKENS
"""Of the text that the model is judged on."""


@dataclass(frozen=True)
class Options:
    """What the user asked for.

    Attributes:
        model: `nandu.made_models.MODEL`, a GGUF file, or a folder of `transformers`.
        plan: a file; or else bits and kept, the budget for a new one.
        group_size: of a new plan. out: the new plan's file; None for a name of its own, here.
        tokens: of the text that the model is judged on.

    Raises:
        ConfigError: an option is outside its range, or does not go with another.
    """

    model: str
    plan: Path | None
    bits: float | None
    kept: float | None
    group_size: int = GROUP_SIZE
    out: Path | None = None
    tokens: int = TOKENS

    def __post_init__(self) -> None:
        if self.plan is None and (self.bits is None or self.kept is None):
            raise ConfigError("give either --plan, or --bits and --kept")
        if self.plan is not None and (self.bits, self.kept, self.out) != (None, None, None):
            raise ConfigError("--plan does not go with --bits, --kept or --out; the plan says them")
        LinearFormat(group_size=self.group_size)
        if self.tokens not in range(2, TOKENS + 1):
            raise ConfigError(f"--tokens is {self.tokens}; allowed are 2 to {TOKENS}")


def run(options: Options, stages: Stages) -> dict[str, object]:
    """Compress a model, keep it in the cache, and return what the command prints.

    Raises:
        ConfigError: the plan does not fit the model, or the budget cannot be met.
        ModelFileError: the model cannot be read. OutputError: the plan cannot be written.
    """
    file = model_file(options.model)
    given = None if options.plan is None else read_plan(options.plan)
    budget = _budget(options)
    with stages.stage("Load the model"):
        most = max(options.tokens, CALIBRATION_TOKENS)
        model = through_front_end(load(file), file, most)
    sizes = weights_of(model)
    if given is not None:
        given.check(sizes)
        plan, path = given, options.plan
    else:
        assert budget is not None
        plan, path = _new_plan(options, budget, model, stages), _plan_file(options)
        make_folder(path.parent)
        plan.write(path)
    with stages.stage("Compress it layer by layer") as progress:
        made = made_model(model, file, Recipe(plan=plan), progress)
    with stages.stage("Judge it on another text") as progress:
        text = perplexity.first_tokens(model, perplexity.evaluation_text(), options.tokens)
        found = quality(model, made.transformer, text, progress)
    return {
        "plan": str(path),
        "model": options.model,
        "average_bits": plan.average_bits(sizes),
        "kept_fraction": plan.kept_fraction(sizes),
        **asdict(found),
        "perplexity_ratio": found.perplexity / found.perplexity_float,
        "tokens": options.tokens,
        "exceptions": len(plan.layers),
        "seconds": stages.seconds,
    }


def weights_of(model: LanguageModel) -> Sizes:
    """Return how many weights each decoder linear layer of a model has."""
    paths = decoder_linears(model.linear_layers())
    return {path: model.network.get_submodule(path).weight.numel() for path in paths}


def checked_plan(path: Path, model: LanguageModel) -> CompressionPlan:
    """Return the plan in a file, which fits the whole model.

    Raises:
        ConfigError: it cannot be read, or does not fit.
    """
    plan = read_plan(path)
    plan.check(weights_of(model))
    return plan


def _budget(options: Options) -> Budget | None:
    if options.bits is None or options.kept is None:
        return None
    return Budget(average_bits=options.bits, kept_fraction=options.kept)


def _new_plan(
    options: Options, budget: Budget, model: LanguageModel, stages: Stages
) -> CompressionPlan:
    file, sizes = model_file(options.model), weights_of(model)
    check_budget(budget, sizes)
    with stages.stage("Measure how sensitive each layer is") as progress:
        found = made_sensitivities(model, file, options.group_size, progress)
    return choose_plan(options.model, found, sizes, budget, options.group_size)


def _plan_file(options: Options) -> Path:
    path = Path(options.model)
    model = path.stem if path.suffix == ".gguf" else path.resolve().name
    return options.out or Path(f"{model}-b{options.bits:g}-k{options.kept:g}.yaml")
