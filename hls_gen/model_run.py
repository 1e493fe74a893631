"""Runs a compiled model on the RTL of cores, program by program, and holds it against golden.

A prompt is read in chunks of tokens, with a program each; then every token has one.

Three that must agree: the integer transformer, the interpreter that executes the same programs, and
the cores in simulation. Interpreter and transformer are compared at every layer's end, cores and
interpreter at every word that is written, on the chip and off it.
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from golden.accelerator_interpreter import Accelerator
from golden.block_sparse import BlockSparse
from golden.core_effects import Effect
from golden.spec.control import Status
from golden.spec.isa import BASES, Unit
from golden.transformer import Cache, IntegerTransformer
from hls_gen.compiler import Compiled
from hls_gen.layer_program import layer_ends
from hls_gen.program import Program
from hls_gen.traffic import channel_words, offchip_bytes
from hw import cosim
from hw.accelerator_timing import accelerator_cycles, begins_of
from hw.core_monitor import InstructionTimes, instruction_times
from hw.core_simulation import CoreResult, ProgramRun, mismatches, run_accelerator
from hw.core_timing import Job, program_addresses
from hw.memory_model import MemoryTiming
from hw.weight_stream_reader import read_weight_stream


@dataclass(frozen=True, eq=False)
class TokenRun:
    """A program that went through the cores: that of one token, or of several of the prompt.

    Attributes:
        tokens: that they were given. position: of the first one.
        blocks: that the tokens saw of those in front of them; None for all.
        programs: of each core. Times, counters and layers are of the first one.
        address: where that lay.
        cycles: of its program. layer_cycles: from the end of one layer to that of the next.
        counters: of the control registers, by name.
        times: when its instructions ran. first_starts: when each core began.
        offchip_bytes: of all cores, by what they are of, with those of writes.
        channel_words: words of memory that each channel gave, core by core.
        simulation_s: its share of the simulation's time, with that of a build if there was one.
    """

    tokens: tuple[int, ...]
    position: int
    blocks: BlockSparse | None
    programs: tuple[Program, ...]
    address: int
    cycles: int
    layer_cycles: list[int]
    counters: dict[str, int]
    times: InstructionTimes
    first_starts: list[int]
    offchip_bytes: dict[str, int]
    channel_words: list[int]
    simulation_s: float

    @property
    def program(self) -> Program:
        """The program of the first core."""
        return self.programs[0]


@dataclass(frozen=True, eq=False)
class ModelRun:
    """What came of a prompt.

    Attributes:
        tokens: that the core's logits gave. golden_tokens: that the integer transformer gives.
        runs: of all programs, in their order.
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

    def generate(
        self, prompt: Sequence[int], count: int, blocks: BlockSparse | None = None
    ) -> ModelRun:
        """Read a prompt, then `count` - 1 tokens that it gives; return what came of all.

        Args:
            blocks: that the prompt's tokens see of those in front of them; all, if nothing is said.
        """
        tokens: list[int] = []
        golden_tokens: list[int] = []
        given, seen = list(prompt), blocks
        for _ in range(count):
            hidden, general = self.read(given, blocks=seen)
            golden = self.transformer.logits(hidden[-1:])[0]
            core = self.compiled.logits(general)
            golden_tokens.append(int(golden.argmax()))
            tokens.append(int(core.argmax()))
            if not torch.equal(golden, core):
                self.differences.append(f"logits behind token {self._cache.tokens - 1}")
            given, seen = [tokens[-1]], None
        return ModelRun(tokens, golden_tokens, self.runs, self.differences)

    def contract_cycles(self) -> int:
        """Return what the timing contract says of the last program, in the first core.

        Raises:
            ConfigError: a memory's latency is random.
        """
        last = self.runs[-1]
        jobs = [
            Job(program.instructions, bases, memories, last.address, self._timing)
            for program, bases, memories in zip(
                last.programs,
                [self.compiled.bases(last.position, last.tokens)] * len(last.programs),
                self.compiled.core_images,
                strict=True,
            )
        ]
        begins = begins_of(self.config, jobs, last.first_starts)
        return accelerator_cycles(self.config, jobs, begins)[0].cycles

    def read(
        self, tokens: list[int], *, head: bool = True, blocks: BlockSparse | None = None
    ) -> tuple[torch.Tensor, np.ndarray]:
        """Give tokens to all three.

        Args:
            head: the cores compute the last one's logits.
            blocks: see `generate`.

        Returns:
            The transformer's hidden vectors [tokens, hidden], and the first core's general memory.
        """
        layers = _LayerOutputs()
        first = self._cache.tokens
        golden = self.transformer.hidden(torch.tensor(tokens), self._cache, layers.see, blocks)
        chunks = list(self._chunks(tokens, first, head, blocks))
        effects: list[list[Effect]] = [[] for _ in self._memories]
        for chunk in chunks:
            for core, effect in self._interpret(chunk, layers, chunk.position - first):
                effects[core].append(effect)
        start = time.perf_counter()
        results = self._simulate(chunks)
        seconds = (time.perf_counter() - start) / len(chunks)
        self._compare(chunks, effects, results)
        self._note(chunks, results, seconds)
        return golden, results[0].memories["general"]

    def _chunks(
        self, tokens: Sequence[int], position: int, head: bool, blocks: BlockSparse | None
    ) -> Iterator["_Chunk"]:
        """Yield programs that read tokens; none crosses from a block into the next one."""
        first = 0
        while first < len(tokens):
            count = min(self.compiled.plan.memory.chunk, len(tokens) - first)
            if blocks:
                count = min(count, blocks.block - position % blocks.block)
            is_last = first + count == len(tokens)
            programs = self.compiled.programs(
                position, tokens=count, blocks=blocks, head=head and is_last
            )
            yield _Chunk(tuple(tokens[first : first + count]), position, blocks, programs)
            first, position = first + count, position + count

    def _interpret(
        self, chunk: "_Chunk", layers: "_LayerOutputs", row: int
    ) -> Iterator[tuple[int, Effect]]:
        """Run programs in the interpreter; compare what they leave at each layer's end."""
        for core in self._interpreter.cores:
            core.bases = list(self.compiled.bases(chunk.position, chunk.tokens))
        ends = [
            {
                pc: (layer, token)
                for layer, counters in enumerate(layer_ends(self.compiled.plan, program))
                for token, pc in enumerate(counters)
            }
            for program in chunk.programs
        ]
        programs = [program.encode() for program in chunk.programs]
        for number, effect in self._interpreter.steps(programs):
            yield number, effect
            if effect.pc in ends[number]:
                layer, token = ends[number].pop(effect.pc)
                assert effect.vector is not None
                wanted = layers.output(layer)[row + token].numpy()
                given = effect.vector.values.reshape(-1)[: len(wanted)]
                if not np.array_equal(given, wanted):
                    where = f"token {chunk.position + token}, layer {layer}"
                    self.differences.append(f"core {number}, {where}")

    def _simulate(self, chunks: Sequence["_Chunk"]) -> list[CoreResult]:
        runs = [
            [
                ProgramRun(
                    chunk.programs[core].encode(),
                    dict(enumerate(self.compiled.bases(chunk.position, chunk.tokens))),
                )
                for chunk in chunks
            ]
            for core in range(self.config.cores)
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
        self,
        chunks: Sequence["_Chunk"],
        effects: Sequence[list[Effect]],
        results: Sequence[CoreResult],
    ) -> None:
        """Compare every word that the cores wrote, and their memories."""
        for number, (core, mine, result) in enumerate(
            zip(self._interpreter.cores, effects, results, strict=True)
        ):
            where = f"from token {chunks[0].position} on, core {number}"
            self.differences += [f"{where}: {each}" for each in mismatches(result.log, mine)]
            for port, memory in core.memories.items():
                if not np.array_equal(memory, result.memories[port]):
                    self.differences.append(f"{where}: the memory {port}")
            for chunk, state in zip(chunks, result.states, strict=True):
                if state["STATUS"] != Status.DONE | Status.INTERRUPT:
                    self.differences.append(
                        f"token {chunk.position}, core {number}: error {state['ERROR_CODE']} at "
                        f"{state['ERROR_PC']}"
                    )

    def _note(
        self, chunks: Sequence["_Chunk"], results: Sequence[CoreResult], seconds: float
    ) -> None:
        """Keep each program's cycles and traffic; the memories must have counted the same reads."""
        times = [
            instruction_times(result.log, [chunk.programs[core].instructions for chunk in chunks])
            for core, result in enumerate(results)
        ]
        first = [chunk.programs[0].instructions for chunk in chunks]
        addresses = program_addresses(self.config, first)
        loaded = 0
        for k, chunk in enumerate(chunks):
            counters, mine = results[0].states[k], times[0][k]
            ends = [counters[-1] for counters in layer_ends(self.compiled.plan, chunk.programs[0])]
            every = [one for program in chunk.programs for one in program.instructions]
            loads = [one for one in every if one.unit is Unit.LD]
            loaded += sum(offchip_bytes(loads, self.config.word_bytes).values())
            self.runs.append(
                TokenRun(
                    chunk.tokens,
                    chunk.position,
                    chunk.blocks,
                    chunk.programs,
                    addresses[k],
                    counters["CYCLES"],
                    np.diff([mine.first_start, *mine.end_of(Unit.MISC, ends)]).tolist(),
                    counters,
                    mine,
                    [each[k].first_start for each in times],
                    offchip_bytes(every, self.config.word_bytes),
                    [word for each in chunk.programs for word in self._channel_words(each)],
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
                f"from token {chunks[0].position} on, the memories gave "
                f"{read * self.config.word_bytes} bytes; the programs load {loaded}"
            )

    def _channel_words(self, program: Program) -> list[int]:
        loads = [one for one in program.instructions if one.unit is Unit.LD]
        return channel_words(loads, self.config.chains)


@dataclass(frozen=True, eq=False)
class _Chunk:
    """Tokens that a program of each core reads; see `TokenRun`."""

    tokens: tuple[int, ...]
    position: int
    blocks: BlockSparse | None
    programs: tuple[Program, ...]


class _LayerOutputs:
    """Keeps the outputs of each layer that the transformer shows, which it does part by part."""

    def __init__(self) -> None:
        self._parts: dict[str, list[torch.Tensor]] = defaultdict(list)

    def see(self, name: str, values: torch.Tensor) -> None:
        """Keep a vector if it is a layer's output."""
        if name.endswith(" output") and name.count(" ") == 2:
            self._parts[name].append(values)

    def output(self, layer: int) -> torch.Tensor:
        """Return a layer's outputs, int64 [tokens, hidden]."""
        return torch.cat(self._parts[f"layer {layer} output"])
