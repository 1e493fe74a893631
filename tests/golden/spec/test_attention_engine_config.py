import re

import pytest

from golden.spec.attention_engine import AttentionConfig, KvFormat, Selection, Temperature
from golden.spec.errors import ConfigError


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"head_size": 8}, "head_size is 8; allowed here are 16 to 256"),
        ({"head_size": 100}, "head_size is 100; a multiple of 8 is needed"),
        ({"queries": 0}, "queries is 0; allowed here are 1 to 16"),
        ({"queries": True}, "queries is True; allowed here are 1 to 16"),
        ({"ratio": 65}, "ratio is 65; allowed here are 1 to 64"),
        ({"ratio": 0.5}, "ratio is 0.5; allowed here are 1 to 64"),
        ({"r": 129}, "r is 129; allowed here are 0 to 128"),
        ({"k": -1}, "k is -1; allowed here are 0 to 32768"),
        ({"local": 40000}, "local is 40000; allowed here are 0 to 32768"),
        ({"query_bits": 17}, "query_bits is 17; allowed here are 8 to 16"),
        ({"probability_bits": 7}, "probability_bits is 7; allowed here are 8 to 16"),
        ({"context_bits": 18}, "context_bits is 18; allowed here are 10 to 17"),
        (
            {"kv_format": "int8"},
            "kv_format is 'int8'; allowed here are KvFormat.INT8, KvFormat.FP16",
        ),
        (
            {"temperature": 1},
            "temperature is 1; allowed here are Temperature.SPARQ, Temperature.RATIO, "
            "Temperature.NONE",
        ),
        (
            {"selection": None},
            "selection is None; allowed here are Selection.LOGITS, Selection.PROBABILITIES, "
            "Selection.PER_HEAD",
        ),
        ({"compensation": 1}, "compensation is 1; it is True or False"),
    ],
)
def test_a_wrong_field_is_refused(fields, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        AttentionConfig(**fields)


def test_the_rules_of_sparq():
    """r = round(head_size / ratio), k = round(context / (2 * ratio)), half to even."""
    config = AttentionConfig()
    assert (config.channels, config.tokens(1024)) == (16, 64)
    assert [AttentionConfig(ratio=n).tokens(1000) for n in (2, 4, 8, 16)] == [250, 125, 62, 31]
    assert [AttentionConfig(head_size=64, ratio=n).channels for n in (2, 8, 16, 64)] == [
        32,
        8,
        4,
        1,
    ]
    assert [config.tokens(n) for n in (0, 1, 2, 3, 24, 40)] == [0, 0, 1, 1, 2, 2]


def test_the_newest_are_half_of_k_at_most():
    config = AttentionConfig()
    assert [config.newest(n) for n in (1, 16, 24, 1024, 4096)] == [0, 0, 1, 16, 16]


def test_numbers_go_before_rules():
    config = AttentionConfig(r=5, k=100)
    assert (config.channels, config.tokens(1024), config.tokens(50)) == (5, 100, 49)


def test_widths():
    config = AttentionConfig()
    assert (config.score_bits, config.power_bits, config.mass_bits, config.mixed_bits) == (
        *(38, 23, 38, 54),
    )
    int8 = AttentionConfig(head_size=64, kv_format=KvFormat.INT8, query_bits=8)
    assert (int8.score_bits, int8.mixed_bits, int8.output_fraction_bits) == (21, 46, 16)
    assert (config.temperature, config.selection) == (Temperature.SPARQ, Selection.LOGITS)
