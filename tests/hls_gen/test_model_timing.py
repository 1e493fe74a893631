"""Compiled models take the cycles of their contract: one core or several, with any memories."""

from fractions import Fraction

import pytest
from tiny_models import tiny_model

from hls_gen.compiler import compile_model
from hls_gen.model_run import ModelRunner
from hw.accelerator_cases import PAIR
from hw.core_cases import CONFIG
from hw.core_ports import port_names
from hw.memory_model import MemoryTiming

MEMORIES = [MemoryTiming(30, words_per_cycle=Fraction(1, 2)), MemoryTiming(5), MemoryTiming()]


@pytest.mark.parametrize("config", [CONFIG, PAIR], ids=["one core", "two cores"])
def test_a_token_takes_the_cycles_of_the_contract(config):
    model = tiny_model(layers=2)
    compiled = compile_model(model, config, 24)
    for memory in MEMORIES:
        timing = dict.fromkeys(port_names(config), memory)
        runner = ModelRunner(model, compiled, timing=timing)
        runner.read([3, 7])
        assert runner.differences == []
        assert runner.contract_cycles() == runner.runs[-1].cycles
