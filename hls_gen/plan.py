"""What of a model its programs need to know: where its matrices lie, and its constants."""

from dataclasses import dataclass

from golden.transformer import Residual
from hls_gen.buffers import Sizes
from hls_gen.matrices import Product
from hls_gen.memory_map import MemoryMap


@dataclass(frozen=True)
class Part:
    """A linear layer's rows among those of its matrix.

    Attributes:
        strip: its first strip. rows: of it. shift: of the dequantisation.
    """

    strip: int
    rows: int
    shift: int


@dataclass(frozen=True)
class Linear:
    """A matrix and the layers in it.

    Attributes:
        products: the matrix, in parts of rows.
    """

    products: tuple[Product, ...]
    parts: tuple[Part, ...]

    @property
    def strips(self) -> int:
        """Strips that come out."""
        return self.products[-1].first_strip + self.products[-1].strips


@dataclass(frozen=True)
class AttentionPlan:
    """As `golden.transformer.Attention`; `inputs` are queries, keys and values."""

    inputs: Linear
    output: Linear
    score_shift: int
    score_fraction: int
    sum_shift: int
    output_shift: int
    probability_bits: int


@dataclass(frozen=True)
class FeedForwardPlan:
    """As `golden.transformer.FeedForward`."""

    gate_up: Linear
    down: Linear
    gate_shift: int
    product_first: int


@dataclass(frozen=True)
class LayerPlan:
    """As `golden.transformer.Layer`; of the norms the epsilons."""

    attention_epsilon: int
    attention: AttentionPlan
    attention_residual: Residual
    feed_forward_epsilon: int
    feed_forward: FeedForwardPlan
    feed_forward_residual: Residual


@dataclass(frozen=True)
class ModelPlan:
    """A model in a core's memories.

    Attributes:
        head: the matrix of the logits, in parts of some rows.
    """

    memory: MemoryMap
    layers: tuple[LayerPlan, ...]
    head_epsilon: int
    head: tuple[Linear, ...]

    @property
    def sizes(self) -> Sizes:
        """Words of the vectors on the chip."""
        memory, shape, cache = self.memory, self.memory.shape, self.memory.cache
        halves = {layer.attention.probability_bits // 7 for layer in self.layers}
        return Sizes(
            chunk=memory.chunk,
            hidden=memory.vector_words(shape.hidden),
            head=cache.columns,
            heads=shape.heads,
            kv_heads=shape.kv_heads,
            feed_forward=memory.vector_words(shape.feed_forward),
            halves=max(halves),
            scores=cache.score_words([range(memory.max_positions)]),
            mixed=cache.output_words,
            queries_keys_values=max(one.attention.inputs.strips for one in self.layers),
            attention_output=max(one.attention.output.strips for one in self.layers),
            gate_up=max(one.feed_forward.gate_up.strips for one in self.layers),
            down=max(one.feed_forward.down.strips for one in self.layers),
            logits=max(part.strips for part in self.head),
        )
