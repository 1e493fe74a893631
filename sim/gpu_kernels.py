"""The kernels of a pass on one GPU of a group, with the time that each takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from golden.model_shapes import ModelShape
from sim.gpu_rates import Bits, Rates, bent
from sim.operators import (
    ATTENTION,
    FEED_FORWARD,
    HEAD,
    PROJECTIONS,
    Forward,
    Operator,
    mean_bits,
)
from sim.software import Software
from sim.workload import Pass

ELEMENTWISE = "norms and elementwise"
REDUCE = "sums over devices"
NATIVE = (2, 4)
"""The N:M pattern of sparse tensor cores (NVIDIA Ampere architecture whitepaper)."""
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
        packed: what it reaches with weights of fewer bits than the numbers they meet.
    """

    model: ModelShape
    software: Software
    rate: Rates
    bits: Bits
    shares: int
    packed: Rates

    def layer(self, work: Forward, job: Pass) -> list[Kernel]:
        """Return the kernels of one layer, in the order of use."""
        maker, first = self._unpacked(work, job)
        q, k, v, output = (one for one in work.layer if one.part == PROJECTIONS)
        *ups, down = (one for one in work.layer if one.part == FEED_FORWARD)
        sums = [self._sum(job)] if self.shares > 1 else []
        return [
            *first,
            maker.product("qkv", PROJECTIONS, (q, k, v)),
            self._attention(job, [one for one in work.layer if one.part == ATTENTION]),
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
        operators = [operator for operator in work.layer if not operator.cached]
        stored = mean_bits(operators, bits.weights)
        if stored >= bits.activations or not 0 < software.unpacks_above < job.tokens:
            return self, []
        weights = sum(operator.elements for operator in operators)
        moved = weights / self.shares * (stored / 8 + WIDTH)
        seconds = moved / rate.plain
        rate = rate._replace(matmul=rate.head_matmul, weights=rate.plain, unpack=0.0)
        plain = UnpackedKernelMaker(
            self.model, software, rate, bits._replace(weights=8 * WIDTH), self.shares, rate
        )
        return plain, [Kernel("unpack", FEED_FORWARD, seconds, seconds, 0.0, moved, 0.0)]

    def product(self, name: str, part: str, operators: Sequence[Operator]) -> Kernel:
        """Return the product of the same vectors with one or several matrices."""
        stored, tokens = self.stored(operators), operators[0].vectors
        rate = self.rate if stored == self.bits.weights else self._rate(operators, stored)
        rows, inputs = self._part(operators)
        weights = rows * inputs
        moved = tokens * (rows + inputs) * self.bits.activations / 8
        lots = -(-tokens // self.software.vectors) if self.software.vectors else 1
        read = weights * stored / 8 * lots
        memory = read / rate.weights + moved / rate.plain
        ops = 2 * weights * tokens
        compute = ops / rate.matmul
        busy = bent((memory, compute, weights * rate.unpack), rate.knee)
        return Kernel(name, part, busy + rate.kernel, memory, compute, read + moved, ops)

    def stored(self, operators: Sequence[Operator]) -> float:
        """Return the mean bits of a weight in memory."""
        return mean_bits(operators, self.bits.weights)

    def _rate(self, operators: Sequence[Operator], stored: float) -> Rates:
        """Return the rates for weights that a technique stores in another format.

        Tensor cores take 2:4 weights as they are stored; all others are unpacked.
        """
        native = all(one.pattern == NATIVE and one.bits is None for one in operators)
        return self.rate if native or stored >= self.bits.activations else self.packed

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
        """Return the products after the last layer: the logits, and what a technique adds."""
        bits, stored = self.bits, mean_bits(work.tail, self.bits.head)
        rate = self.rate if stored == bits.head else self._rate(work.tail, stored)
        weights = sum(one.elements for one in work.tail) / self.shares
        read = weights * stored / 8
        ends = (one.vectors * (one.rows / self.shares + one.inputs) for one in work.tail)
        moved = sum(ends) * WIDTH
        memory = read / rate.head + moved / rate.plain
        ops = 2 * sum(one.products for one in work.tail) / self.shares
        compute = ops / rate.head_matmul
        unpack = weights * rate.unpack if stored < bits.activations else 0.0
        count = len(work.tail)
        seconds = bent((memory, compute, unpack), rate.knee) + count * rate.kernel
        return Kernel("head", HEAD, seconds, memory, compute, read + moved, ops, launches=count)

    def _attention(self, job: Pass, operators: Sequence[Operator]) -> Kernel:
        """Return attention; each operator that a technique adds is one more launch."""
        model, rate = self.model, self.rate
        heads = model.heads / self.shares
        held = max(1 / self.shares, 1 / model.kv_heads)
        cached = sum(one.stored_bits(self.bits.cache) for one in operators) * held / 8
        written = job.batch * heads * job.new * job.context * WIDTH * self.software.score_passes
        in_and_out = 2 * job.batch * job.new * heads * model.head_size * WIDTH
        memory = cached / rate.cache + (written + in_and_out) / rate.plain
        ops = 2 * sum(one.needed for one in operators) / self.shares
        compute = ops / rate.attention
        moved = cached + written + in_and_out
        count = len(operators) - 1
        seconds = bent((memory, compute), rate.knee) + count * rate.kernel
        return Kernel("attention", ATTENTION, seconds, memory, compute, moved, ops, launches=count)

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


class UnpackedKernelMaker(KernelMaker):
    """Makes kernels whose weights lie unpacked in memory, all of them, zeros included."""

    def stored(self, operators: Sequence[Operator]) -> float:
        """Return the mean bits of a weight in memory."""
        return self.bits.weights
