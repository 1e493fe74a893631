"""Models of `transformers` as operator graphs: which operators, and that they compute the same."""

import re

import pytest
import torch
from torch.nn import functional

from golden.spec.errors import ConfigError
from hls_gen.front_end import graph_of, graph_of_configuration
from hls_gen.front_end_decoder import decoder_of
from hls_gen.front_end_llama import check_llama, rope_base
from hls_gen.graph import (
    Activation,
    Add,
    Attention,
    Embedding,
    LayerNorm,
    Linear,
    Multiply,
    PositionEmbedding,
    RmsNorm,
    Rotary,
)

SIZES = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
GATED = {"intermediate_size": 48, "num_key_value_heads": 2, "initializer_range": 0.2}
MODELS = {
    "Llama": GATED,
    "Mistral": GATED | {"head_dim": 16},
    "Qwen2": GATED,
    "Qwen3": GATED | {"head_dim": 8, "num_hidden_layers": 2},
    "OPT": {"ffn_dim": 48, "word_embed_proj_dim": 32, "init_std": 0.2},
}
SUPPORTED = "models like LLaMA and OPT can be read"

LLAMA = """\
%0 = embedding() [32] weight=model.embed_tokens.weight rows=50  # model.embed_tokens
%1 = rms_norm(%0) [32] weight=L.input_layernorm.weight epsilon=1e-06  # L.input_layernorm
%2 = linear(%1) [32] weight=L.self_attn.q_proj.weight bias=None  # L.self_attn.q_proj
%3 = linear(%1) [16] weight=L.self_attn.k_proj.weight bias=None  # L.self_attn.k_proj
%4 = linear(%1) [16] weight=L.self_attn.v_proj.weight bias=None  # L.self_attn.v_proj
%5 = rotary(%2) [4x8] rates=[1 .. 0.001] side_by_side=False  # L.self_attn
%6 = rotary(%3) [2x8] rates=[1 .. 0.001] side_by_side=False  # L.self_attn
%7 = attention(%5, %6, %4) [32] heads=4 kv_heads=2 head_size=8 scale=0.353553  # L.self_attn
%8 = linear(%7) [32] weight=L.self_attn.o_proj.weight bias=None  # L.self_attn.o_proj
%9 = add(%0, %8) [32]  # L
%10 = rms_norm(%9) [32] weight=L.N.weight epsilon=1e-06  # L.N
%11 = linear(%10) [48] weight=L.mlp.gate_proj.weight bias=None  # L.mlp.gate_proj
%12 = activation(%11) [48] function=silu  # L.mlp.act_fn
%13 = linear(%10) [48] weight=L.mlp.up_proj.weight bias=None  # L.mlp.up_proj
%14 = multiply(%12, %13) [48]  # L.mlp
%15 = linear(%14) [32] weight=L.mlp.down_proj.weight bias=None  # L.mlp.down_proj
%16 = add(%9, %15) [32]  # L
%17 = rms_norm(%16) [32] weight=model.norm.weight epsilon=1e-06  # model.norm
%18 = linear(%17) [50] weight=lm_head.weight bias=None  # lm_head
"""


def configuration(kind, **fields):
    import transformers

    return getattr(transformers, f"{kind}Config")(**(SIZES | MODELS[kind] | fields))


def network(kind, **fields):
    import transformers

    torch.manual_seed(3)
    made = getattr(transformers, f"{kind}ForCausalLM")(configuration(kind, **fields)).eval()
    with torch.no_grad():  # norms and biases are 1 and 0 else
        for name, parameter in made.named_parameters():
            if "norm" in name or name.endswith("bias"):
                parameter.add_(torch.rand_like(parameter) - 0.5)
    return made


def refuses(message):
    return pytest.raises(ConfigError, match=f"^{re.escape(message)}$")


class Computed:
    """What a graph's operators say, in float64."""

    def __init__(self, graph, network, tokens):
        self.network, self.tokens, self.outputs = network, tokens, []
        for one in graph.operators:
            inputs = [self.outputs[number] for number in one.inputs]
            output = self.one(one, *inputs)
            self.outputs.append(output.reshape(len(tokens), *one.shape))

    def weight(self, name):
        return None if name is None else self.network.get_parameter(name).double()

    def one(self, one, *inputs):
        tokens = self.tokens
        match one:
            case Embedding():
                return self.weight(one.weight)[tokens]
            case PositionEmbedding():
                return self.weight(one.weight)[one.offset :][: len(tokens)]
            case Linear():
                return functional.linear(*inputs, self.weight(one.weight), self.weight(one.bias))
            case RmsNorm():
                x, shape = inputs[0].reshape(len(tokens), *one.shape), one.shape[-1:]
                return functional.rms_norm(x, shape, self.weight(one.weight), one.epsilon)
            case LayerNorm():
                weights = self.weight(one.weight), self.weight(one.bias)
                return functional.layer_norm(*inputs, one.shape, *weights, one.epsilon)
            case Rotary():
                return self.rotated(inputs[0].reshape(len(tokens), *one.shape), one)
            case Attention():
                return self.attention(one, *inputs)
            case Activation():
                return getattr(functional, one.function.value)(*inputs)
            case Multiply():
                return inputs[0] * inputs[1]
            case Add():
                return inputs[0] + inputs[1]

    def rotated(self, x, one):
        assert not one.side_by_side
        rates = torch.tensor(one.rates, dtype=torch.float64)
        angles = torch.arange(len(x))[:, None, None] * rates
        turned = torch.complex(*x.chunk(2, dim=2)) * torch.polar(torch.ones_like(angles), angles)
        return torch.cat([turned.real, turned.imag], dim=2)

    def attention(self, one, queries, keys, values):
        count, share = len(self.tokens), one.heads // one.kv_heads
        q, k, v = (x.reshape(count, -1, one.head_size) for x in (queries, keys, values))
        k, v = (x.repeat_interleave(share, dim=1) for x in (k, v))
        scores = torch.einsum("thd,shd->hts", q, k) * one.scale
        hidden = torch.ones(count, count, dtype=torch.bool).triu(1)
        return torch.einsum("hts,shd->thd", scores.masked_fill(hidden, -torch.inf).softmax(2), v)


@pytest.fixture(scope="module")
def llama():
    return network("Llama")


def test_a_llama_as_a_graph(llama):
    graph = graph_of(llama)
    text = LLAMA.replace("L.", "model.layers.0.").replace("# L\n", "# model.layers.0\n")
    assert str(graph) == text.replace(".N", ".post_attention_layernorm")
    assert graph.readers(10) == [11, 13]


@pytest.mark.parametrize("kind", MODELS)
def test_a_graph_computes_what_the_model_does(kind):
    model = network(kind)
    tokens = torch.randint(50, (7,), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = model(tokens[None]).logits[0].double()
        logits = Computed(graph_of(model), model, tokens).outputs[-1]
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    assert float(expected.std()) > 0.1  # there is something to tell apart


def test_a_graph_needs_no_weights(llama):
    llama = llama.config
    assert str(graph_of_configuration(llama)) == str(graph_of(network("Llama")))
    huge = configuration("Llama", vocab_size=1 << 20, hidden_size=1 << 18, num_attention_heads=8)
    (head,) = (one for one in graph_of_configuration(huge).operators if one.path == "lm_head")
    assert head.shape == (1 << 20,)  # 1 TiB of weights


def test_the_model_is_left_as_it_was(llama):
    before = {name: value.data_ptr() for name, value in llama.state_dict().items()}
    buffers = {name: value.clone() for name, value in llama.named_buffers()}
    graph_of(llama)
    assert {name: value.data_ptr() for name, value in llama.state_dict().items()} == before
    assert all(torch.equal(value, buffers[name]) for name, value in llama.named_buffers())


def test_an_operator_that_is_not_supported_is_named_with_its_module():
    class Erf(torch.nn.Module):
        def forward(self, x):
            return torch.erf(x)

    model = network("Llama", num_hidden_layers=2)
    model.model.layers[1].mlp.act_fn = Erf()
    with refuses(f"model.layers.1.mlp.act_fn: aten.erf is not supported; {SUPPORTED}"):
        graph_of(model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x * 0.5, "aten.linear reads a vector that is multiplied with constants"),
        (lambda x: x.flip(0), "aten.flip is not supported"),
        (lambda x: x.roll(1, 0), "aten.roll is not supported"),
        (
            lambda x: torch.cat([x[..., 4:], x[..., :4]], 2),
            "aten.linear reads a part of a vector, or one whose elements are moved",
        ),
        (
            lambda x: torch.cat([torch.relu(x[:, :2]), x[:, 2:]], 1),
            "aten.relu reads a part of a vector, or one whose",
        ),
        (lambda x: x + torch.cat([x, x], 2)[..., :32], "aten.linear reads a vector that is mul"),
        (lambda x: x + 1, "aten.add of a vector and a constant is not supported"),
        (lambda x: x.pow(3), "aten.pow with the exponent 3 is not supported"),
        (lambda x: x.mean(1, keepdim=True), "aten.mean is not that of a vector's squares"),
        (lambda x: torch.dropout(x, 0.1, True), "aten.dropout is of a model in training"),
    ],
)
def test_what_no_rule_holds_for(change, message):
    class Changed(torch.nn.Module):
        def forward(self, x):
            return change(x)

    model = network("Llama")
    model.model.layers[0].mlp.act_fn = torch.nn.Sequential(torch.nn.SiLU(), Changed())
    model.model.layers[0].mlp.forward = model.model.layers[0].mlp.act_fn.forward
    model.model.layers[0].mlp.act_fn.append(torch.nn.Linear(32, 32))
    with pytest.raises(ConfigError, match=rf"^model\.layers\.0\.mlp[^ ]*: {re.escape(message)}"):
        graph_of(model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, cos, sin: x * cos, "reads heads whose elements have different factors"),
        (lambda x, cos, sin: x * cos + x.flip(-1), "aten.flip is not supported"),
        (lambda x, cos, sin: x * cos + half(x, 1) * sin, "rotates by angles that do not grow"),
        (
            lambda x, cos, sin: x * cos + half(x, -1) * sin * late(2),
            "rotates by angles that do not",
        ),
        (lambda x, cos, sin: x * cos * late(0) + half(x, -1) * sin, "rotates by angles that do"),
        (lambda x, cos, sin: x * cos + half(x, -1) * cos, "rotates by angles that do not grow"),
        (lambda x, cos, sin: x * cos + x.transpose(1, 2).reshape(x.shape) * sin, "mixed in an"),
        (
            lambda x, cos, sin: torch.cat([x[:, 1:], x[:, :1]], 1),
            "that are not all of one operator's",
        ),
    ],
)
def test_what_is_no_rotation(change, message, monkeypatch):
    from transformers.models.llama import modeling_llama

    def rotate(queries, keys, cos, sin, *_):
        return change(queries, cos[:, None], sin[:, None]), keys

    monkeypatch.setattr(modeling_llama, "apply_rotary_pos_emb", rotate)
    with pytest.raises(ConfigError, match=rf"^model\.layers\.0\.self_attn: .*{re.escape(message)}"):
        graph_of(network("Llama"))


def late(first):
    """Factors of a head's elements: those of the last position are not 1, from `first` on."""
    factors = torch.ones(3, 8)
    factors[2, 2 * first :] = 1.1
    return factors


def half(x, sign):
    first, second = x.chunk(2, dim=-1)
    return torch.cat([sign * second, first], dim=-1)


@pytest.mark.parametrize(
    "fields",
    [
        {"is_causal": False},
        {"attn_mask": torch.ones(3, 3, dtype=torch.bool).tril(1)},
        {"attn_mask": torch.ones(3, 3, dtype=torch.bool).tril().triu(-1)},
        {"attn_mask": torch.full((3, 3), -1.0).triu(1)},
    ],
)
def test_an_attention_that_is_not_causal(fields):
    with pytest.raises(ConfigError, match="scaled_dot_product_attention has a mask that is not"):
        graph_of(with_attention(network("Llama"), **fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"is_causal": True},
        {"attn_mask": torch.ones(3, 3, dtype=torch.bool).tril()},
        {"attn_mask": torch.full((3, 3), -torch.inf).triu(1)},
    ],
)
def test_an_attention_that_is_causal(fields):
    kinds = [one.kind for one in graph_of(with_attention(network("Llama"), **fields)).operators]
    assert kinds.count("attention") == 1


def test_logits_that_are_multiplied():
    class Scaled(torch.nn.Linear):
        def forward(self, x):
            return super().forward(x) * 0.5

    model = network("Llama")
    model.lm_head = Scaled(32, 50, bias=False)
    with refuses("the model does not give its last operator's output; logits are that"):
        graph_of(model)


def with_attention(model, **changes):
    """Return a model whose first layer has another attention."""
    attention = model.model.layers[0].self_attn

    def forward(hidden_states, **_):
        heads = [
            linear(hidden_states).unflatten(2, (-1, 8)).transpose(1, 2)
            for linear in (attention.q_proj, attention.k_proj, attention.v_proj)
        ]
        heads[1:] = [each.repeat_interleave(2, dim=1) for each in heads[1:]]
        mixed = functional.scaled_dot_product_attention(*heads, **changes)
        return attention.o_proj(mixed.transpose(1, 2).flatten(2)), None

    attention.forward = forward
    return model


def test_an_attention_written_by_hand():
    graph = graph_of(with_attention(network("Llama"), is_causal=True, scale=2.0))
    (attention,) = (one for one in graph.operators if isinstance(one, Attention))
    assert (attention.heads, attention.kv_heads, attention.scale) == (4, 2, 2.0)
    with refuses(
        "model.layers.0.self_attn: an attention with the scale 2 is not compiled yet; the compiler "
        "takes models like LLaMA"
    ):
        check_llama(decoder_of(graph))


@pytest.mark.parametrize(
    ("kind", "fields", "path", "what"),
    [
        ("Llama", {"attention_bias": True}, "L.self_attn.q_proj", "linear with a bias"),
        ("Llama", {"mlp_bias": True}, "L.mlp.gate_proj", "linear with a bias"),
        ("Llama", {"hidden_act": "relu"}, "L.mlp.act_fn", "relu"),
        ("Llama", {"hidden_act": "gelu_pytorch_tanh"}, "L.mlp.act_fn", "gelu_tanh"),
        ("Qwen2", {}, "L.self_attn.q_proj", "linear with a bias"),
        ("OPT", {}, "model.decoder.embed_positions", "a learned table of positions"),
        (
            "Llama",
            {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0}
             | {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
             | {"original_max_position_embeddings": 64}},
            "L.self_attn",
            "rotary with rates that are not those of one base",
        ),
    ],
)  # fmt: skip
def test_what_the_compiler_does_not_take_yet(kind, fields, path, what):
    decoder = decoder_of(graph_of_configuration(configuration(kind, **fields)))
    path = path.replace("L.", "model.layers.0.")
    with refuses(f"{path}: {what} is not compiled yet; the compiler takes models like LLaMA"):
        check_llama(decoder)


@pytest.mark.parametrize("theta", [1e4, 5e5, 1e6])
def test_the_base_of_the_rotations(theta):
    rotation = {"rope_type": "default", "rope_theta": theta}
    model = configuration("Llama", rope_parameters=rotation, head_dim=64)
    assert rope_base(decoder_of(graph_of_configuration(model))) == pytest.approx(theta, rel=1e-5)


def test_a_configuration_of_something_else():
    from transformers import ViTConfig

    with pytest.raises(ConfigError, match=r"^transformers makes no causal language model of this"):
        graph_of_configuration(ViTConfig())


def test_a_model_that_cannot_be_exported():
    class Choice(torch.nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    model = network("Llama")
    model.model.layers[0].mlp.act_fn = Choice()
    with pytest.raises(ConfigError, match=r"^torch\.export does not take the model: [^\n]+$"):
        graph_of(model)
