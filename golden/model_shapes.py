"""Shapes of decoder-only language models, read from `golden/models/*.yaml`."""

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from golden.spec.errors import ConfigError

FOLDER = Path(__file__).parent / "models"


class Linear(BaseModel):
    """One weight matrix: `rows` outputs by `inputs`."""

    model_config = ConfigDict(frozen=True)

    name: str
    rows: PositiveInt
    inputs: PositiveInt


class ModelShape(BaseModel):
    """The shape of a LLaMA-style model: gated feed-forward, grouped-query attention, no biases."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    source: str
    layers: PositiveInt
    hidden: PositiveInt
    heads: PositiveInt
    kv_heads: PositiveInt
    head_size: PositiveInt
    feed_forward: PositiveInt
    vocabulary: PositiveInt

    def layer_linears(self) -> tuple[Linear, ...]:
        """Return the weight matrices of one decoder layer in the order they are used."""
        queries, keys = self.heads * self.head_size, self.kv_heads * self.head_size
        return (
            Linear(name="q_proj", rows=queries, inputs=self.hidden),
            Linear(name="k_proj", rows=keys, inputs=self.hidden),
            Linear(name="v_proj", rows=keys, inputs=self.hidden),
            Linear(name="o_proj", rows=self.hidden, inputs=queries),
            Linear(name="gate_proj", rows=self.feed_forward, inputs=self.hidden),
            Linear(name="up_proj", rows=self.feed_forward, inputs=self.hidden),
            Linear(name="down_proj", rows=self.hidden, inputs=self.feed_forward),
        )

    def head_linear(self) -> Linear:
        """Return the matrix that gives the logits."""
        return Linear(name="lm_head", rows=self.vocabulary, inputs=self.hidden)


def names() -> list[str]:
    """Return the names of the models that have a file."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load(name: str) -> ModelShape:
    """Return the shape called `name`.

    Raises:
        ConfigError: there is no such model, or its file is wrong.
    """
    path = FOLDER / f"{name}.yaml"
    if name not in names():
        raise ConfigError(f"there is no model {name!r}; known are {', '.join(names())}")
    try:
        return ModelShape(name=name, **yaml.safe_load(path.read_text(encoding="utf-8")))
    except (ValidationError, yaml.YAMLError) as error:
        raise ConfigError(f"{path.name} is not a model shape: {error}") from None
