"""The golden twin of an accelerator: cores side by side, each with a program and memories its own.

A core's strips (what its products write) go to the vector buffers of all cores; all else
stays in the core. A BARRIER ends when every core is at one. Between two barriers nothing keeps the
cores in step: so there a word to which a core gives a strip must be left alone by all others. Then
it makes no difference which core runs first, and here they run one after the other, from barrier to
barrier.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from golden.core_effects import Effect, UndefinedProgram
from golden.core_interpreter import Core, StreamReader
from golden.spec.core import CoreConfig
from golden.spec.errors import ShapeError
from golden.spec.isa import PRODUCTS


class Accelerator:
    """The cores with what lasts from one program of each to the next.

    Args:
        memories, bases: of each core, as `golden.core_interpreter.Core` takes them.
        read_stream: see there.

    Attributes:
        cores: see there.

    Raises:
        ShapeError: there are not as many memories or bases as cores; or as there.
    """

    def __init__(
        self,
        config: CoreConfig,
        memories: Sequence[Mapping[str, np.ndarray]],
        bases: Sequence[Sequence[int]],
        read_stream: StreamReader,
    ) -> None:
        self.config = config
        self._check_count("memories", memories)
        self._check_count("base registers", bases)
        self.cores = [Core(config, *own, read_stream) for own in zip(memories, bases, strict=True)]

    def run(self, programs: Sequence[Sequence[int]]) -> list[list[Effect]]:
        """Execute a program of each core; return what each one's instructions wrote.

        Raises:
            CoreStopped, UndefinedProgram: as `Core.run`, of one of the cores; the latter also where
                cores meet in the vector buffer without a barrier between, or wait at one for a core
                that has come to its END.
            ShapeError: there are not as many programs as cores; or as `Core.run`.
        """
        effects: list[list[Effect]] = [[] for _ in self.cores]
        for number, effect in self.steps(programs):
            effects[number].append(effect)
        return effects

    def steps(self, programs: Sequence[Sequence[int]]) -> Iterator[tuple[int, Effect]]:
        """Execute as `run` does, and yield each core's number and effect when it has come about."""
        self._check_count("programs", programs)
        running = [core.steps(words) for core, words in zip(self.cores, programs, strict=True)]
        while True:
            given, used = np.zeros((2, len(self.cores), self.config.vector_depth), bool)
            last: list[Effect] = []
            for number, core in enumerate(self.cores):
                core.vectors_read[:] = False
                for effect in running[number]:
                    self._share(number, effect, given[number], used[number])
                    yield number, effect
                    if effect.is_barrier:
                        break
                last.append(effect)
                used[number] |= core.vectors_read
            self._check_meetings(last, given, used)
            waiting = [effect.is_barrier for effect in last]
            if not any(waiting):
                return
            if not all(waiting):
                first, ended = waiting.index(True), waiting.index(False)
                message = f"core {first} waits at a barrier; core {ended} has come to its END"
                raise UndefinedProgram(last[first].pc, message)

    def _share(self, number: int, effect: Effect, given: np.ndarray, used: np.ndarray) -> None:
        """Give a strip to the other cores; note which words were written, and how."""
        if not (vector := effect.vector):
            return
        if effect.unit not in PRODUCTS:
            used[vector.addresses] = True
            return
        given[vector.addresses] = True
        for other, core in enumerate(self.cores):
            if other != number:
                core.vectors[vector.addresses] = vector.values

    def _check_meetings(self, last: Sequence[Effect], given: np.ndarray, used: np.ndarray) -> None:
        """Refuse that a core used a word, or gave it a strip, to which another one gave one.

        Args:
            last: effect of each core. given, used: words, bool [cores, vector_depth].
        """
        for number, effect in enumerate(last):
            others = np.delete(given, number, axis=0).any(axis=0)
            (words,) = np.nonzero(others & (used[number] | given[number]))
            if len(words):
                message = (
                    f"since its last barrier core {number} has used word {words[0]} of the vector "
                    "buffer, to which another core gives a strip"
                )
                raise UndefinedProgram(effect.pc, message)

    def _check_count(self, name: str, given: Sequence[object]) -> None:
        if len(given) != self.config.cores:
            raise ShapeError(
                f"there are {len(given)} {name}; {self.config.cores} cores need one each"
            )
