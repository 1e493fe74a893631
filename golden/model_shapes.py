"""Shapes of decoder-only language models, read from `golden/models/*.yaml`."""

from functools import cache
from pathlib import Path

from pydantic import NonNegativeInt, PositiveInt, model_validator

from golden.spec import records
from golden.spec.errors import ConfigError
from golden.spec.names import nearest
from golden.spec.records import Record

FOLDER = Path(__file__).parent / "models"


class Linear(Record):
    """One weight matrix: `rows` outputs by `inputs`."""

    name: str
    rows: PositiveInt
    inputs: PositiveInt


class ModelShape(Record):
    """The shape of a decoder-only transformer; biases, a thousandth of the weights, are left out.

    Attributes:
        source: where the numbers are published.
        aliases: other names of models with exactly these shapes.
        kv_heads: heads of keys and values; as many as `heads` in multi-head attention, fewer where
            queries share them.
        gated: the feed-forward has a gate beside the up projection (LLaMA); else up and down only.
        parallel: attention and feed-forward read the same input and are added once (GPT-J).
        tied: the head is the input embedding's matrix.
        positions: rows of a learned table of positions; 0 where positions need no table.
    """

    name: str
    source: str
    layers: PositiveInt
    hidden: PositiveInt
    heads: PositiveInt
    kv_heads: PositiveInt
    head_size: PositiveInt
    feed_forward: PositiveInt
    vocabulary: PositiveInt
    aliases: tuple[str, ...] = ()
    gated: bool = True
    parallel: bool = False
    tied: bool = False
    positions: NonNegativeInt = 0

    @model_validator(mode="after")
    def _heads_share_evenly(self) -> "ModelShape":
        if self.heads % self.kv_heads:
            raise ConfigError(
                f"kv_heads is {self.kv_heads}; it must divide the {self.heads} query heads"
            )
        return self

    def layer_linears(self) -> tuple[Linear, ...]:
        """Return the weight matrices of one decoder layer in the order they are used."""
        queries, keys = self.heads * self.head_size, self.kv_heads * self.head_size
        attention = (
            Linear(name="q_proj", rows=queries, inputs=self.hidden),
            Linear(name="k_proj", rows=keys, inputs=self.hidden),
            Linear(name="v_proj", rows=keys, inputs=self.hidden),
            Linear(name="o_proj", rows=self.hidden, inputs=queries),
        )
        gate = (Linear(name="gate_proj", rows=self.feed_forward, inputs=self.hidden),)
        return (
            *attention,
            *(gate if self.gated else ()),
            Linear(name="up_proj", rows=self.feed_forward, inputs=self.hidden),
            Linear(name="down_proj", rows=self.hidden, inputs=self.feed_forward),
        )

    def head_linear(self) -> Linear:
        """Return the matrix that gives the logits."""
        return Linear(name="lm_head", rows=self.vocabulary, inputs=self.hidden)

    @property
    def layer_weights(self) -> int:
        """Weights of one layer's matrices."""
        return sum(linear.rows * linear.inputs for linear in self.layer_linears())

    @property
    def embedding_weights(self) -> int:
        """Weights of the tables that are looked up: tokens, where not tied, and positions."""
        return ((0 if self.tied else self.vocabulary) + self.positions) * self.hidden

    @property
    def weights(self) -> int:
        """All weights: layers, head and embeddings."""
        head = self.vocabulary * self.hidden
        return self.layers * self.layer_weights + head + self.embedding_weights

    @property
    def cached_elements(self) -> int:
        """Elements of keys and values that one position leaves in the cache, all layers."""
        return 2 * self.layers * self.kv_heads * self.head_size


def names() -> list[str]:
    """Return the names of the models that have a file."""
    return records.names(FOLDER)


def aliases() -> dict[str, str]:
    """Return the name of the file for each other name that a model goes by."""
    return dict(_aliases(FOLDER))


def load(name: str) -> ModelShape:
    """Return the shape called `name`, its file's name or an alias.

    Raises:
        ConfigError: there is no such model, or its file is wrong.
    """
    if name not in names():
        known = aliases()
        if name not in known:
            raise ConfigError(
                f"there is no model {name!r}{nearest(name, [*names(), *known])}; "
                "`nandu list models` names all"
            )
        name = known[name]
    return _read(name)


def load_file(path: Path) -> ModelShape:
    """Return the shape that a YAML file of a user's own describes, with its file's name.

    Raises:
        ConfigError: there is no such file, or it is wrong.
    """
    return records.make(ModelShape, path.stem, records.read_fields(path, "model"))


def _read(name: str) -> ModelShape:
    return records.make(ModelShape, name, records.load_fields(FOLDER, "model", name))


@cache
def _aliases(folder: Path) -> tuple[tuple[str, str], ...]:
    return tuple((alias, name) for name in records.names(folder) for alias in _read(name).aliases)
