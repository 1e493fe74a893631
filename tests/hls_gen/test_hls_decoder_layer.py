"""HLS C++ of decode attention and of a whole decoder layer, against golden's transformer."""

from dataclasses import replace

import pytest

from golden import perplexity
from golden.calibration import calibrate
from golden.language_model import load, smollm2_file
from golden.recipe import Recipe
from golden.spec.errors import ConfigError, ToolError
from golden.transformer_quantise import quantise_transformer
from hls_gen.hls.blocks import find
from hls_gen.hls.decode_attention import DecodeAttentionConfig
from hls_gen.hls.decoder_layer import (
    Case,
    DecoderLayerConfig,
    config_of,
    kernel_of,
    text_of,
    vectors,
)
from hls_gen.hls.simulation import simulate

ATTENTIONS = [
    DecodeAttentionConfig(heads=4, kv_heads=2, head_size=16, max_positions=64),
    DecodeAttentionConfig(
        heads=3, kv_heads=1, head_size=10, max_positions=128, probability_bits=7, table_bits=5
    ),
]
ODD_LAYER = DecoderLayerConfig(
    hidden=40,
    heads=3,
    kv_heads=1,
    head_size=10,
    feed_forward=50,
    probability_bits=7,
    bits=4,
    group_size=16,
    chains=3,
    m=8,
    strips=2,
    activation_depth=64,
)
LAYERS = [DecoderLayerConfig(), ODD_LAYER]


def run(name, config, count, kernel=None, seed=0):
    block = find(name)
    cases = block.random_cases(config, count, seed)
    assert block.coverage(cases) == 1
    return simulate(kernel or block.kernel(config), [block.vectors(case) for case in cases])


@pytest.mark.parametrize(
    ("name", "config", "count"),
    [
        *(("decode-attention", config, 12) for config in ATTENTIONS),
        ("decoder-layer", LAYERS[0], 5),
        pytest.param("decoder-layer", LAYERS[1], 5, marks=pytest.mark.full),
    ],
    ids=str,
)
def test_a_kernel_gives_what_golden_does(name, config, count):
    results = run(name, config, count)
    assert [result for result in results if not result.passed] == []


@pytest.mark.parametrize(
    ("name", "config", "file", "right", "wrong"),
    [
        ("decode-attention", ATTENTIONS[0], "decode_attention.hpp", "key = own", "key = 0"),
        ("decode-attention", ATTENTIONS[0], "decode_attention.hpp", "+ kv_head] = own", "] = own"),
        ("decoder-layer", LAYERS[0], "vector_functions.hpp", "factor_t(-sine)", "sine"),
    ],
)
def test_a_broken_kernel_is_seen(name, config, file, right, wrong):
    kernel = find(name).kernel(config)
    assert right in kernel.sources[file]
    text = kernel.sources[file].replace(right, wrong)
    broken = replace(kernel, sources={**kernel.sources, file: text})
    assert not all(result.passed for result in run(name, config, 6, broken))


@pytest.mark.full
def test_a_layer_of_a_real_model():
    model = load(smollm2_file())
    model.network.model.layers = model.network.model.layers[:1]
    model.network.config.num_hidden_layers = 1
    text = perplexity.first_tokens(model, perplexity.calibration_text(), 128)
    transformer = quantise_transformer(model, calibrate(model, text), Recipe())
    tokens = model.tokens("The capital of France is Paris, and that of Germany is Berlin.")[0]
    inputs = transformer.embedding[tokens].long()
    whole = text_of(config_of(transformer, 64), transformer.layers[0], inputs, transformer.theta)
    cases = [vectors(Case(f"token {n}", whole, n)) for n in range(len(tokens))]
    results = simulate(kernel_of(whole.config, whole.products), cases)
    assert len(results) == len(tokens) > 10
    # Outputs, and all that the cache may hold of keys and values.
    assert {result.compared for result in results} == {576 + 2 * 64 * 3}
    assert [result for result in results if not result.passed] == []


def test_elements_that_nothing_reads_are_seen():
    """In hardware such a kernel would never end."""
    kernel = find("decoder-layer").kernel(LAYERS[0])
    text = kernel.sources["linear.hpp"].replace("product.tiles - 1", "product.tiles")
    broken = replace(kernel, sources={**kernel.sources, "linear.hpp": text})
    with pytest.raises(ToolError, match=r"a stream is left with elements that nothing reads$"):
        run("decoder-layer", LAYERS[0], 3, broken)


def test_all_layers_of_a_shape_have_one_kernel():
    config = LAYERS[0]
    block = find("decoder-layer")
    (case,) = block.random_cases(config, 1, 5)
    assert kernel_of(config, case.text.products).files == block.kernel(config).files


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: DecodeAttentionConfig(heads=4, kv_heads=3),
            "there are 4 heads and 3 kv_heads; heads is a multiple of kv_heads",
        ),
        (
            lambda: DecodeAttentionConfig(head_size=15),
            "head_size is 15; allowed are even, 2 to 256",
        ),
        (
            lambda: DecodeAttentionConfig(probability_bits=8),
            "probability_bits is 8; allowed are [7, 14]",
        ),
        (lambda: DecoderLayerConfig(hidden=0), "hidden is 0; 1 is the least"),
        (
            lambda: DecoderLayerConfig(group_size=24),
            "group_size is 24; a multiple of m = 16 is needed",
        ),
        (
            lambda: find("decoder-layer").kernel(DecoderLayerConfig(activation_depth=64)),
            "a linear layer has 90 inputs; the activation buffers hold 64: set activation_depth",
        ),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ConfigError) as error:
        make()
    assert str(error.value) == message


def test_random_layers_use_the_whole_range():
    """So that a saturation that is missing would be seen."""
    case = find("decoder-layer").random_cases(LAYERS[0], 1, 0)[0]
    keys = case.text.cache.keys[0]
    assert (int(keys.min()), int(keys.max())) == (-128, 127)
