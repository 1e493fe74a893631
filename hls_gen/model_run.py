"""Runs a compiled model on the RTL of a core, token by token, and holds it against golden.

Three that must agree: the integer transformer, the interpreter that executes the same programs, and
the core in simulation. Interpreter and transformer are compared at every layer's end, core and
interpreter at every word that is written, on the chip and off it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch

from golden.core_effects import Effect
from golden.core_interpreter import Core
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
from hw.core_simulation import CoreResult, ProgramRun, mismatches, run_programs
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
    """One token that went through the core.

    Attributes:
        token, position: what the core was given.
        cycles: of its program. layer_cycles: from the end of one layer to that of the next.
        counters: of the control registers, by name.
        times: when its instructions ran.
        offchip_bytes: by what they are of, with those of writes.
        channel_words: words of memory that each channel gave.
        simulation_s: its share of the simulation's time, with that of a build if there was one.
    """

    token: int
    position: int
    program: Program
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
    """A model on a core, with the state that lasts from token to token.

    Args:
        timing: of the memory ports, by name; one word per cycle and no latency for others.
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
        self._memories = dict(compiled.images)
        copies = {port: image.copy() for port, image in compiled.images.items()}
        self._interpreter = Core(self.config, copies, [0] * BASES, read_weight_stream)
        self.runs: list[TokenRun] = []
        self.differences: list[str] = []

    def generate(self, prompt: Sequence[int], count: int) -> ModelRun:
        """Read a prompt, then `count` - 1 tokens that it gives; return what came of all."""
        tokens: list[int] = []
        golden_tokens: list[int] = []
        given = list(prompt)
        for _ in range(count):
            hidden, memories = self.read(given)
            golden = self.transformer.logits(hidden[-1:])[0]
            core = self.compiled.logits(memories["general"])
            golden_tokens.append(int(golden.argmax()))
            tokens.append(int(core.argmax()))
            if not torch.equal(golden, core):
                self.differences.append(f"logits behind token {len(self.runs) - 1}")
            given = [tokens[-1]]
        return ModelRun(tokens, golden_tokens, self.runs, self.differences)

    def read(
        self, tokens: list[int], *, head: bool = True
    ) -> tuple[torch.Tensor, dict[str, np.ndarray]]:
        """Give tokens to all three.

        Args:
            head: the core computes the last one's logits.

        Returns:
            The transformer's hidden vectors [tokens, hidden], and the core's memories.
        """
        first = self._cache.tokens
        layers: dict[str, torch.Tensor] = {}
        golden = self.transformer.hidden(torch.tensor(tokens), self._cache, layers.__setitem__)
        programs = [
            self.compiled.program(first + k, head=head and k == len(tokens) - 1)
            for k in range(len(tokens))
        ]
        effects = [
            self._interpret(first + k, token, program, layers, k)
            for k, (token, program) in enumerate(zip(tokens, programs, strict=True))
        ]
        start = time.perf_counter()
        result = self._simulate(tokens, programs)
        seconds = (time.perf_counter() - start) / len(tokens)
        self._compare(first, effects, result)
        self._note(first, tokens, programs, result, seconds)
        return golden, result.memories

    def _interpret(
        self,
        position: int,
        token: int,
        program: Program,
        layers: dict[str, torch.Tensor],
        row: int,
    ) -> list[Effect]:
        """Run a program in the interpreter; compare what it leaves at each layer's end."""
        core = self._interpreter
        core.bases = list(self.compiled.bases(token))
        ends = {pc: layer for layer, pc in enumerate(layer_ends(self.compiled.plan, program))}
        effects = []
        for effect in core.steps(program.encode()):
            effects.append(effect)
            if effect.pc in ends:
                assert effect.vector is not None
                wanted = layers[f"layer {ends[effect.pc]} output"][row].numpy()
                given = effect.vector.values.reshape(-1)[: len(wanted)]
                if not np.array_equal(given, wanted):
                    self.differences.append(f"token {position}, layer {ends[effect.pc]}")
        return effects

    def _simulate(self, tokens: list[int], programs: list[Program]) -> CoreResult:
        runs = [
            ProgramRun(program.encode(), dict(enumerate(self.compiled.bases(token))))
            for token, program in zip(tokens, programs, strict=True)
        ]
        result = run_programs(
            self.config,
            runs,
            self._memories,
            timing=self._timing,
            waves=self._waves,
            progress=self._progress,
        )
        self._memories = {port: result.memories[port] for port in self._memories}
        return result

    def _compare(self, first: int, effects: list[list[Effect]], result: CoreResult) -> None:
        """Compare every word that the core wrote, and its memories."""
        words = mismatches(result.log, [effect for program in effects for effect in program])
        self.differences += [f"from token {first} on, {each}" for each in words]
        for port, memory in self._interpreter.memories.items():
            if not np.array_equal(memory, result.memories[port]):
                self.differences.append(f"from token {first} on, the memory {port}")
        for k, state in enumerate(result.states):
            if state["STATUS"] != Status.DONE | Status.INTERRUPT:
                self.differences.append(
                    f"token {first + k}: error {state['ERROR_CODE']} at {state['ERROR_PC']}"
                )

    def _note(
        self,
        first: int,
        tokens: list[int],
        programs: list[Program],
        result: CoreResult,
        seconds: float,
    ) -> None:
        """Keep each token's cycles and traffic; the memories must have counted the same reads."""
        times = instruction_times(result.log, [program.instructions for program in programs])
        loaded = 0
        for k, (token, program) in enumerate(zip(tokens, programs, strict=True)):
            counters = result.states[k]
            ends = times[k].end_of(Unit.MISC, layer_ends(self.compiled.plan, program))
            begin = times[k].first_start
            loads = [one for one in program.instructions if one.unit is Unit.LD]
            traffic = offchip_bytes(program.instructions, self.config.word_bytes)
            loaded += sum(offchip_bytes(loads, self.config.word_bytes).values())
            self.runs.append(
                TokenRun(
                    token,
                    first + k,
                    program,
                    counters["CYCLES"],
                    np.diff([begin, *ends]).tolist(),
                    counters,
                    times[k],
                    traffic,
                    channel_words(loads, self.config.chains),
                    seconds,
                )
            )
        read = sum(count.words_read for port, count in result.counts.items() if port != "program")
        if read * self.config.word_bytes != loaded:
            self.differences.append(
                f"from token {first} on, the memories gave {read * self.config.word_bytes} bytes; "
                f"the programs load {loaded}"
            )


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
