"""Shapes of decoder-only language models, read from `golden/models/*.yaml`."""

from pathlib import Path

from pydantic import PositiveInt

from golden.spec import records
from golden.spec.records import Record

FOLDER = Path(__file__).parent / "models"


class Linear(Record):
    """One weight matrix: `rows` outputs by `inputs`."""

    name: str
    rows: PositiveInt
    inputs: PositiveInt


class ModelShape(Record):
    """The shape of a LLaMA-style model: gated feed-forward, grouped-query attention, no biases."""

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
    return records.names(FOLDER)


def load(name: str) -> ModelShape:
    """Return the shape called `name`.

    Raises:
        ConfigError: there is no such model, or its file is wrong.
    """
    return records.make(ModelShape, name, records.load_fields(FOLDER, "model", name))
