"""The kernels of a pass on one GPU of a group, with the time that each takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from golden.model_shapes import ModelShape
from sim.gpu_rates import Bits, Rates, bent
from sim.operators import ATTENTION, FEED_FORWARD, HEAD, PROJECTIONS, Forward, Operator
from sim.software import Software
from sim.workload import Pass

ELEMENTWISE = "norms and elementwise"
REDUCE = "sums over devices"
WIDTH = 2
"""Bytes of an element between operators, in FP16."""


class Kernel(NamedTuple):
    """One kernel: what it moves and computes, and how long.

    Attributes:
        seconds: from the begin of the kernel's work to the begin of the next one's, at the soonest.
        memory, compute, link: seconds for which these are busy, by the rates they reach.
        bytes: of the device's memory; link_bytes: over the link; ops: arithmetic operations.
        launches: kernels that this stands for.
    """

    name: str
    part: str
    seconds: float
    memory: float
    compute: float
    bytes: float
    ops: float
    link: float = 0.0
    link_bytes: float = 0.0
    launches: int = 1


@dataclass(frozen=True)
class KernelMaker:
    """Makes the kernels of passes on one of the `shares` devices that each has a part of a layer.

    Attributes:
        software, rate, bits: the program, what the device reaches under it, and number formats.
    """

    model: ModelShape
    software: Software
    rate: Rates
    bits: Bits
    shares: int

    def layer(self, work: Forward, job: Pass) -> list[Kernel]:
        """Return the kernels of one layer, in the order of use."""
        maker, first = self._unpacked(work, job)
        q, k, v, scores, values, output, *ups, down = work.layer
        sums = [self._sum(job)] if self.shares > 1 else []
        return [
            *first,
            maker.product("qkv", PROJECTIONS, (q, k, v)),
            self._attention(job, scores, values),
            maker.product("output", PROJECTIONS, (output,)),
            *([] if self.model.parallel else sums),
            maker.product("gate and up" if len(ups) > 1 else "up", FEED_FORWARD, ups),
            maker.product("down", FEED_FORWARD, (down,)),
            *sums,
            self._elementwise(job, (q, k, v), (*ups, down)),
        ]

    def _unpacked(self, work: Forward, job: Pass) -> tuple["KernelMaker", list[Kernel]]:
        """Return who makes products, and the kernel that unpacks the layer's weights before them.

        They are unpacked to FP16 in memory, where the program does so for that many tokens.
        """
        software, rate, bits = self.software, self.rate, self.bits
        if bits.weights >= bits.activations or not 0 < software.unpacks_above < job.tokens:
            return self, []
        weights = sum(operator.elements for operator in work.layer if not operator.cached)
        moved = weights / self.shares * (bits.weights / 8 + WIDTH)
        seconds = moved / rate.plain
        rate = rate._replace(matmul=rate.head_matmul, weights=rate.plain, unpack=0.0)
        plain = KernelMaker(
            self.model, software, rate, bits._replace(weights=8 * WIDTH), self.shares
        )
        return plain, [Kernel("unpack", FEED_FORWARD, seconds, seconds, 0.0, moved, 0.0)]

    def product(self, name: str, part: str, operators: Sequence[Operator]) -> Kernel:
        """Return the product of the same vectors with one or several matrices."""
        rate, tokens = self.rate, operators[0].vectors
        rows, inputs = self._part(operators)
        weights = rows * inputs
        moved = tokens * (rows + inputs) * self.bits.activations / 8
        lots = -(-tokens // self.software.vectors) if self.software.vectors else 1
        read = weights * self.bits.weights / 8 * lots
        memory = read / rate.weights + moved / rate.plain
        ops = 2 * weights * tokens
        compute = ops / rate.matmul
        busy = bent((memory, compute, weights * rate.unpack), rate.knee)
        return Kernel(name, part, busy + rate.kernel, memory, compute, read + moved, ops)

    def _part(self, operators: Sequence[Operator]) -> tuple[float, float]:
        """Return the rows, of all together, and the inputs that one device has.

        Heads are dealt to devices; where there are fewer heads of keys than devices, each has one.
        """
        if operators[0].joins:
            return operators[0].rows, operators[0].inputs / self.shares
        one_head = self.model.head_size
        rows = [
            max(one.rows / self.shares, one_head if one.name in ("k_proj", "v_proj") else 0)
            for one in operators
        ]
        return sum(rows), operators[0].inputs

    def head(self, work: Forward) -> Kernel:
        """Return the product that gives the logits of the last token of each sequence."""
        (operator,), rate, bits = work.tail, self.rate, self.bits
        sequences = operator.vectors
        weights = operator.elements / self.shares
        read = weights * bits.head / 8
        moved = sequences * (operator.rows / self.shares + operator.inputs) * WIDTH
        memory = read / rate.head + moved / rate.plain
        ops = 2 * weights * sequences
        compute = ops / rate.head_matmul
        unpack = weights * rate.unpack if bits.head < bits.activations else 0.0
        busy = bent((memory, compute, unpack), rate.knee)
        return Kernel("head", HEAD, busy + rate.kernel, memory, compute, read + moved, ops)

    def _attention(self, job: Pass, scores: Operator, values: Operator) -> Kernel:
        model, rate = self.model, self.rate
        heads = model.heads / self.shares
        held = max(1 / self.shares, 1 / model.kv_heads)
        cached = (scores.elements + values.elements) * held * self.bits.cache / 8
        written = job.batch * heads * job.new * job.context * WIDTH * self.software.score_passes
        in_and_out = 2 * job.batch * job.new * heads * model.head_size * WIDTH
        memory = cached / rate.cache + (written + in_and_out) / rate.plain
        ops = 2 * (scores.products + values.products) / self.shares
        compute = ops / rate.attention
        moved = cached + written + in_and_out
        busy = bent((memory, compute), rate.knee)
        return Kernel("attention", ATTENTION, busy + rate.kernel, memory, compute, moved, ops)

    def _elementwise(
        self, job: Pass, attention: Sequence[Operator], feed_forward: Sequence[Operator]
    ) -> Kernel:
        """Return norms, residuals, rotary embedding and activation functions, all of a layer."""
        *ups, down = feed_forward
        heads, inner = self._part(attention)[0], self._part(ups)[0] + self._part([down])[1]
        elements = job.tokens * (6 * self.model.hidden + 2 * heads + inner)
        moved = elements * WIDTH * self.software.small_passes
        memory = moved / self.rate.plain
        count = self.software.small_kernels
        seconds = memory + count * self.rate.kernel
        return Kernel("small", ELEMENTWISE, seconds, memory, 0.0, moved, 0.0, launches=count)

    def _sum(self, job: Pass) -> Kernel:
        """Return a sum over devices: each sends 2 (n - 1) / n of the bytes (ring)."""
        sent = 2 * (self.shares - 1) / self.shares * job.tokens * self.model.hidden * WIDTH
        link = sent / self.rate.link
        return Kernel("sum", REDUCE, link + self.rate.reduce, 0.0, 0.0, 0.0, 0.0, link, sent)
