"""The parts of a decoder in operator graphs that are right, or have one thing wrong."""

import re
from dataclasses import replace

import pytest

from golden.spec.errors import ConfigError
from hls_gen.front_end_decoder import decoder_of
from hls_gen.graph import (
    Activation,
    Add,
    Attention,
    Embedding,
    Function,
    Graph,
    LayerNorm,
    Linear,
    Multiply,
    PositionEmbedding,
    RmsNorm,
    Rotary,
)

HIDDEN, FEED_FORWARD, VOCABULARY = 32, 48, 50


class Maker:
    """Makes the graph of a decoder."""

    def __init__(self, opt=False):
        self.opt, self.operators = opt, []

    def add(self, kind, path, inputs, size, *fields):
        shape = size if isinstance(size, tuple) else (size,)
        self.operators.append(kind(path, tuple(inputs), shape, *fields))
        return len(self.operators) - 1

    def linear(self, path, place, rows):
        return self.add(Linear, path, [place], rows, f"{path}.weight", None)

    def norm(self, path, place):
        fields = ("b", 1e-5) if self.opt else (1e-5,)
        kind = LayerNorm if self.opt else RmsNorm
        return self.add(kind, path, [place], HIDDEN, f"{path}.weight", *fields)

    def layer(self, path, x):
        norm = self.norm(f"{path}.norm1", x)
        # In another order than that of a model of transformers.
        value = self.linear(f"{path}.v", norm, 16)
        key, query = self.linear(f"{path}.k", norm, 16), self.linear(f"{path}.q", norm, HIDDEN)
        if not self.opt:
            rates = (1.0, 0.1, 0.01, 0.001)
            key = self.add(Rotary, path, [key], (2, 8), rates, False)
            query = self.add(Rotary, path, [query], (4, 8), rates, False)
        fields = (4, 2, 8, 8**-0.5)
        mixed = self.add(Attention, path, [query, key, value], HIDDEN, *fields)
        x = self.add(Add, path, [self.linear(f"{path}.o", mixed, HIDDEN), x], HIDDEN)
        norm = self.norm(f"{path}.norm2", x)
        up = self.linear(f"{path}.up", norm, FEED_FORWARD)
        function = Function.RELU if self.opt else Function.SILU
        if self.opt:
            wide = self.add(Activation, f"{path}.act", [up], FEED_FORWARD, function)
        else:
            gate = self.linear(f"{path}.gate", norm, FEED_FORWARD)
            gate = self.add(Activation, f"{path}.act", [gate], FEED_FORWARD, function)
            wide = self.add(Multiply, f"{path}.gated", [up, gate], FEED_FORWARD)
        return self.add(Add, path, [x, self.linear(f"{path}.down", wide, HIDDEN)], HIDDEN)

    def graph(self, layers=2, tied=False):
        name = "head.weight" if tied else "tokens.weight"
        x = self.add(Embedding, "tokens", [], HIDDEN, name, VOCABULARY)
        if self.opt:
            table = self.add(PositionEmbedding, "positions", [], HIDDEN, "p.weight", 64, 2)
            x = self.add(Add, "sum", [table, x], HIDDEN)
        for number in range(layers):
            x = self.layer(f"layer{number}", x)
        self.linear("head", self.norm("norm", x), VOCABULARY)
        return Graph(tuple(self.operators))


def changed(graph, path, kind, **fields):
    """Return a graph with one operator changed."""
    number, operators = place(graph, path, kind), list(graph.operators)
    operators[number] = replace(operators[number], **fields)
    return Graph(tuple(operators))


def place(graph, path, kind=object):
    return next(
        k for k, one in enumerate(graph.operators) if one.path == path and isinstance(one, kind)
    )


@pytest.mark.parametrize("opt", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_the_parts_and_the_shape(opt, tied):
    decoder = decoder_of(Maker(opt).graph(layers=3, tied=tied))
    assert decoder.head.path == "head"
    assert [layer.query.path for layer in decoder.layers] == ["layer0.q", "layer1.q", "layer2.q"]
    paths = [linear.path for linear in decoder.layers[1].linears.values()]
    names = "q k v o up down" if opt else "q k v o gate up down"
    assert paths == [f"layer1.{name}" for name in names.split()]
    assert decoder.layers[2].feed_forward_norm.path == "layer2.norm2"
    assert (decoder.positions is not None) == opt
    shape = decoder.shape("tiny")
    assert (shape.layers, shape.hidden, shape.heads, shape.kv_heads) == (3, HIDDEN, 4, 2)
    assert (shape.head_size, shape.feed_forward, shape.vocabulary) == (8, FEED_FORWARD, VOCABULARY)
    assert (shape.gated, shape.tied, shape.positions) == (not opt, tied, 64 if opt else 0)


def refuses(message):
    return pytest.raises(ConfigError, match=f"^{re.escape(message)}$")


@pytest.fixture
def graph():
    return Maker().graph()


def test_no_layer():
    with refuses("norm: reads no decoder layer; the model has none"):
        decoder_of(Maker().graph(layers=0))


def test_a_norm_of_one_branch_alone(graph):
    norm, other = place(graph, "layer1.norm1"), place(graph, "layer0.norm2")
    with refuses("layer1.k: queries, keys and values do not read the same norm"):
        decoder_of(changed(graph, "layer1.k", Linear, inputs=(other,)))
    with refuses("layer1.gate: does not read what layer1.up reads"):
        decoder_of(changed(graph, "layer1.gate", Linear, inputs=(norm,)))


def test_a_branch_that_is_added_elsewhere(graph):
    first = place(graph, "tokens")
    with refuses(
        "layer1.norm1: reads tokens, and its branch is added to layer0; a decoder layer adds to "
        "what it reads"
    ):
        decoder_of(changed(graph, "layer1.norm1", RmsNorm, inputs=(first,)))


def test_attention_and_feed_forward_side_by_side(graph):
    with pytest.raises(ConfigError, match=r"^layer0\.norm2: reads tokens, and its branch is added"):
        decoder_of(changed(graph, "layer0.norm2", RmsNorm, inputs=(place(graph, "tokens"),)))


def test_a_branch_that_does_not_end_with_a_linear_layer(graph):
    number, norm = place(graph, "layer0", Add), place(graph, "layer0.norm1")
    operators = list(graph.operators)
    operators[number] = replace(operators[number], inputs=(norm, 0))
    with refuses(
        "layer0: adds rms_norm and embedding; the attention ends with a linear layer that is added "
        "to what it reads"
    ):
        decoder_of(Graph(tuple(operators)))


def test_a_norm_of_the_queries(graph):
    rotary = [k for k, one in enumerate(graph.operators) if isinstance(one, Rotary)][1]
    operators = list(graph.operators)
    operators[rotary] = replace(operators[rotary], inputs=(place(graph, "layer0.norm1"),))
    with refuses(
        "layer0.norm1: rms_norm stands where the linear layer of the queries of a decoder like "
        "LLaMA's or OPT's is: linear is expected"
    ):
        decoder_of(Graph(tuple(operators)))


def test_rotations_that_differ(graph):
    rotary = place(graph, "layer1", Rotary)
    operators = list(graph.operators)
    operators[rotary] = replace(operators[rotary], rates=(1.0, 0.5, 0.2, 0.1))
    with refuses("layer1: queries and keys are rotated in different ways"):
        decoder_of(Graph(tuple(operators)))


def test_an_operator_without_a_part(graph):
    extra = Activation("layer0.spare", (3,), (16,), Function.GELU)
    operators = (*graph.operators[:-1], extra, graph.operators[-1])
    with refuses("layer0.spare: activation has no part in a decoder"):
        decoder_of(Graph(operators))


def test_layers_of_different_shapes(graph):
    made = changed(graph, "layer1.up", Linear, shape=(64,))
    with refuses(
        "layer1.up: has 64 rows and layer0.up has 48; the layers of a model must be of one shape"
    ):
        decoder_of(made).shape("tiny")
