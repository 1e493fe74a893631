"""What a core's instructions write, and how a program ends that does not reach its END."""

from dataclasses import dataclass

import numpy as np

from golden.spec.errors import NanduError
from golden.spec.isa import ErrorCode, Unit


class CoreStopped(NanduError):
    """A core has stopped with an error.

    Attributes:
        code: why. pc: number of the first word of the instruction, as the core shows it.
    """

    def __init__(self, code: ErrorCode, pc: int, message: str) -> None:
        super().__init__(f"word {pc}: {message}")
        self.code = code
        self.pc = pc


class UndefinedProgram(NanduError):
    """An instruction asks for what no core promises: it may hang there, or give anything.

    Attributes:
        pc: number of the first word of the instruction.
    """

    def __init__(self, pc: int, message: str) -> None:
        super().__init__(f"word {pc}: {message}")
        self.pc = pc


@dataclass(frozen=True, eq=False)
class VectorWrite:
    """Words of the vector buffer: addresses int64 [words], values int64 [words, m]."""

    addresses: np.ndarray
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class ActivationWrite:
    """A lane of words of the activation memory: addresses int64 [words], values int8 [words, m]."""

    addresses: np.ndarray
    lane: int
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class MemoryWrite:
    """A run of bytes, uint8 [bytes], from byte `address` on of the memory behind a port."""

    port: str
    address: int
    data: np.ndarray


@dataclass(frozen=True, eq=False)
class Effect:
    """What one instruction writes to memories; weight streams and scalar registers are not in it.

    Attributes:
        pc: number of its first word.
        vector: of MM, MV, MISC, and LD by the general port. Later words go over earlier ones.
        activation: of MISC.
        memory: of ST, in the order in which they are written.
        is_barrier: it is a BARRIER, behind which a core waits for all others.
    """

    unit: Unit
    pc: int
    vector: VectorWrite | None = None
    activation: ActivationWrite | None = None
    memory: tuple[MemoryWrite, ...] = ()
    is_barrier: bool = False
