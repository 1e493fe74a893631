"""Runs a compiled model on the RTL of cores, token by token, and holds it against golden.

Three that must agree: the integer transformer, the interpreter that executes the same programs, and
the cores in simulation. Interpreter and transformer are compared at every layer's end, cores and
interpreter at every word that is written, on the chip and off it.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from pathlib import Path

import numpy as np
import torch

from golden.accelerator_interpreter import Accelerator
from golden.core_effects import Effect
from golden.spec.control import Status
from golden.spec.instruction import Instruction
from golden.spec.isa import BASES, Unit
from golden.transformer import Cache, IntegerTransformer
from hls_gen.compiler import Compiled
from hls_gen.layer_program import layer_ends
from hls_gen.memory_map import Base
from hls_gen.program import Program
from hw import cosim
from hw.core_monitor import InstructionTimes, instruction_times
from hw.core_simulation import CoreResult, ProgramRun, mismatches, run_accelerator
from hw.core_timing import program_cycles
from hw.memory_model import MemoryTiming
from hw.weight_stream_reader import read_weight_stream

TRAFFIC = {
    Base.TABLES: "norms_and_rotations",
    Base.ROW: "embedding",
    Base.OUTPUTS: "logits",
    Base.WEIGHTS: "weights",
    Base.CACHE: "kv_cache",
}
"""What the programs move, by base register. Nothing else is in the memories."""


@dataclass(frozen=True, eq=False)
class TokenRun:
    """One token that went through the cores.

    Attributes:
        token, position: what they were given.
        program: of the first core, as are all times and counters. address: where it lay.
        cycles: of its program. layer_cycles: from the end of one layer to that of the next.
        counters: of the control registers, by name.
        times: when its instructions ran.
        offchip_bytes: of all cores, by what they are of, with those of writes.
        channel_words: words of memory that each channel gave, core by core.
        simulation_s: its share of the simulation's time, with that of a build if there was one.
    """

    token: int
    position: int
    program: Program
    address: int
    cycles: int
    layer_cycles: list[int]
    counters: dict[str, int]
    times: InstructionTimes
    offchip_bytes: dict[str, int]
    channel_words: list[int]
    simulation_s: float


@dataclass(frozen=True, eq=False)
class ModelRun:
    """What came of a prompt.

    Attributes:
        tokens: that the core's logits gave. golden_tokens: that the integer transformer gives.
        runs: of all tokens that the core read.
        differences: between core, interpreter and transformer, in words; empty where all is right.
    """

    tokens: list[int]
    golden_tokens: list[int]
    runs: list[TokenRun]
    differences: list[str]


class ModelRunner:
    """A model on one or several cores, with the state that lasts from token to token.

    Args:
        timing: of each core's memory ports, by name; one word per cycle and no latency for others.
    """

    def __init__(
        self,
        transformer: IntegerTransformer,
        compiled: Compiled,
        *,
        timing: dict[str, MemoryTiming] | None = None,
        waves: Path | None = None,
        progress: cosim.Progress = lambda _: None,
    ) -> None:
        self.transformer = transformer
        self.compiled = compiled
        self.config = compiled.plan.memory.config
        self._timing, self._waves, self._progress = timing, waves, progress
        self._cache = Cache()
        self._memories = [dict(images) for images in compiled.core_images]
        copies = [
            {port: image.copy() for port, image in images.items()} for images in self._memories
        ]
        bases = [[0] * BASES for _ in copies]
        self._interpreter = Accelerator(self.config, copies, bases, read_weight_stream)
        self.runs: list[TokenRun] = []
        self.differences: list[str] = []

    def generate(self, prompt: Sequence[int], count: int) -> ModelRun:
        """Read a prompt, then `count` - 1 tokens that it gives; return what came of all."""
        tokens: list[int] = []
        golden_tokens: list[int] = []
        given = list(prompt)
        for _ in range(count):
            hidden, general = self.read(given)
            golden = self.transformer.logits(hidden[-1:])[0]
            core = self.compiled.logits(general)
            golden_tokens.append(int(golden.argmax()))
            tokens.append(int(core.argmax()))
            if not torch.equal(golden, core):
                self.differences.append(f"logits behind token {len(self.runs) - 1}")
            given = [tokens[-1]]
        return ModelRun(tokens, golden_tokens, self.runs, self.differences)

    def contract_cycles(self, latency: int) -> int:
        """Return what the timing contract says of the last token that one core read.

        It holds for memories of one word per cycle and `latency` cycles from address to word.
        """
        last = self.runs[-1]
        return program_cycles(
            self.config,
            last.program.instructions,
            self.compiled.bases(last.token),
            memories=self.compiled.images,
            address=last.address,
            latency=latency,
        ).cycles

    def read(self, tokens: list[int], *, head: bool = True) -> tuple[torch.Tensor, np.ndarray]:
        """Give tokens to all three.

        Args:
            head: the cores compute the last one's logits.

        Returns:
            The transformer's hidden vectors [tokens, hidden], and the first core's general memory.
        """
        first = self._cache.tokens
        layers: dict[str, torch.Tensor] = {}
        golden = self.transformer.hidden(torch.tensor(tokens), self._cache, layers.__setitem__)
        programs = [
            self.compiled.programs(first + k, head=head and k == len(tokens) - 1)
            for k in range(len(tokens))
        ]
        effects: list[list[Effect]] = [[] for _ in self._memories]
        for k, (token, together) in enumerate(zip(tokens, programs, strict=True)):
            for core, effect in self._interpret(first + k, token, together, layers, k):
                effects[core].append(effect)
        start = time.perf_counter()
        results = self._simulate(tokens, programs)
        seconds = (time.perf_counter() - start) / len(tokens)
        self._compare(first, effects, results)
        self._note(first, tokens, programs, results, seconds)
        return golden, results[0].memories["general"]

    def _interpret(
        self,
        position: int,
        token: int,
        programs: Sequence[Program],
        layers: dict[str, torch.Tensor],
        row: int,
    ) -> Iterator[tuple[int, Effect]]:
        """Run programs in the interpreter; compare what they leave at each layer's end."""
        for core in self._interpreter.cores:
            core.bases = list(self.compiled.bases(token))
        ends = [
            {pc: layer for layer, pc in enumerate(layer_ends(self.compiled.plan, program))}
            for program in programs
        ]
        for number, effect in self._interpreter.steps([one.encode() for one in programs]):
            yield number, effect
            if effect.pc in ends[number]:
                layer = ends[number][effect.pc]
                assert effect.vector is not None
                wanted = layers[f"layer {layer} output"][row].numpy()
                given = effect.vector.values.reshape(-1)[: len(wanted)]
                if not np.array_equal(given, wanted):
                    self.differences.append(f"token {position}, layer {layer}")

    def _simulate(
        self, tokens: list[int], programs: Sequence[Sequence[Program]]
    ) -> list[CoreResult]:
        runs = [
            [
                ProgramRun(program.encode(), dict(enumerate(self.compiled.bases(token))))
                for token, program in zip(tokens, mine, strict=True)
            ]
            for mine in zip(*programs, strict=True)
        ]
        results = run_accelerator(
            self.config,
            runs,
            self._memories,
            timing=[self._timing or {} for _ in runs],
            waves=self._waves,
            progress=self._progress,
        )
        self._memories = [
            {port: result.memories[port] for port in images}
            for images, result in zip(self._memories, results, strict=True)
        ]
        return results

    def _compare(
        self, first: int, effects: Sequence[list[Effect]], results: Sequence[CoreResult]
    ) -> None:
        """Compare every word that the cores wrote, and their memories."""
        for number, (core, mine, result) in enumerate(
            zip(self._interpreter.cores, effects, results, strict=True)
        ):
            where = f"from token {first} on, core {number}"
            self.differences += [f"{where}: {each}" for each in mismatches(result.log, mine)]
            for port, memory in core.memories.items():
                if not np.array_equal(memory, result.memories[port]):
                    self.differences.append(f"{where}: the memory {port}")
            for k, state in enumerate(result.states):
                if state["STATUS"] != Status.DONE | Status.INTERRUPT:
                    self.differences.append(
                        f"token {first + k}, core {number}: error {state['ERROR_CODE']} at "
                        f"{state['ERROR_PC']}"
                    )

    def _note(
        self,
        first: int,
        tokens: list[int],
        programs: Sequence[Sequence[Program]],
        results: Sequence[CoreResult],
        seconds: float,
    ) -> None:
        """Keep each token's cycles and traffic; the memories must have counted the same reads."""
        times = instruction_times(
            results[0].log, [together[0].instructions for together in programs]
        )
        loaded = 0
        sizes = [self.config.program_bytes(len(together[0].encode())) for together in programs]
        addresses = [0, *accumulate(sizes)]  # one lies behind the other
        for k, (token, together) in enumerate(zip(tokens, programs, strict=True)):
            counters, program = results[0].states[k], together[0]
            ends = times[k].end_of(Unit.MISC, layer_ends(self.compiled.plan, program))
            begin = times[k].first_start
            every = [one for each in together for one in each.instructions]
            loads = [one for one in every if one.unit is Unit.LD]
            traffic = offchip_bytes(every, self.config.word_bytes)
            loaded += sum(offchip_bytes(loads, self.config.word_bytes).values())
            self.runs.append(
                TokenRun(
                    token,
                    first + k,
                    program,
                    addresses[k],
                    counters["CYCLES"],
                    np.diff([begin, *ends]).tolist(),
                    counters,
                    times[k],
                    traffic,
                    [word for each in together for word in self._channel_words(each)],
                    seconds,
                )
            )
        read = sum(
            count.words_read
            for result in results
            for port, count in result.counts.items()
            if port != "program"
        )
        if read * self.config.word_bytes != loaded:
            self.differences.append(
                f"from token {first} on, the memories gave {read * self.config.word_bytes} bytes; "
                f"the programs load {loaded}"
            )

    def _channel_words(self, program: Program) -> list[int]:
        loads = [one for one in program.instructions if one.unit is Unit.LD]
        return channel_words(loads, self.config.chains)


def offchip_bytes(instructions: Sequence[Instruction], word_bytes: int) -> dict[str, int]:
    """Return the bytes that a program's loads and stores move, by what they are of."""
    moved = dict.fromkeys(TRAFFIC.values(), 0)
    for one in instructions:
        if one.unit not in (Unit.LD, Unit.ST):
            continue
        ports = max(one["channels"].bit_count(), 1)
        size = word_bytes if one.unit is Unit.LD else 1
        moved[TRAFFIC[Base(one["base"])]] += ports * _length(one) * size
    return moved


def channel_words(loads: Sequence[Instruction], channels: int) -> list[int]:
    """Return the words that some loads read from each channel."""
    words = [0] * channels
    for load in loads:
        for channel in range(channels):
            if load["channels"] >> channel & 1:
                words[channel] += _length(load)
    return words


def _length(one: Instruction) -> int:
    """Return the words of a load, or the bytes of a store, of one port."""
    return prod(one[name] for name in ("length", "count_1", "count_2", "count_3"))
