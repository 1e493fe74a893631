"""The parts of a core or an accelerator, as `hw.synth` maps and counts them."""

_INSTANCES = {
    "registers": "registers",
    "front end": r"units\.(program|fetch|decoder|scoreboard|system)",
    "load": r"units\.load",
    "store": r"units\.store",
    "engine": r"units\.product\.matrix\.engine",
    "feeds": r"units\.product",
    "functions": r"units\.functions",
    "memories": r"units\.(vector_buffer|activations|vector_writes)",
}

PARTS = {part: rf"(core_\d+\.)?{instances}\." for part, instances in _INSTANCES.items()}
"""Patterns of the names of each part's cells; feeds are all of the product unit but the engine."""

APART = (
    *("control_registers", "instruction_fetch", "instruction_decoder", "scoreboard"),
    *("load_unit", "axi_reader", "store_unit", "function_unit", "word_memory"),
    *("product_unit", "chain_unit", "chain_feed", "output_gatherer", "replay_buffer"),
    *("core_units", "core_c"),
)
"""What the names of the modules begin with that are mapped once each."""
