"""The file of test vectors of a kernel's bench; `cpp/vector_file.hpp` says what is in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hls_gen.hls.kernel import Argument, Kernel, Memory, Port, Stream


@dataclass(frozen=True, eq=False)
class Vectors:
    """One case of a kernel.

    Attributes:
        name: what a person calls it.
        arguments: by the port's name, a number, or one for each of an array.
        data: by the port's name, what a stream or memory holds, uint8 [payloads, bytes]; of an
            array `name__0` and so on. Of outputs it is what golden gives.
        left: of memories that the kernel writes, the same for what must stand there at the end.
    """

    name: str
    arguments: Mapping[str, int | Sequence[int]]
    data: Mapping[str, np.ndarray]
    left: Mapping[str, np.ndarray] = field(default_factory=dict)


def encode(kernel: Kernel, cases: Sequence[Vectors]) -> bytes:
    """Return the file of some cases."""
    parts = [_number(len(cases))]
    for case in cases:
        name = case.name.encode()
        parts += [_number(len(name)), name]
        # The bench reads what goes in before the call, and what must come out behind it.
        for port in kernel.ports:
            if not (isinstance(port, Stream) and port.output):
                parts += _given(port, case)
        for port in kernel.ports:
            if isinstance(port, Stream) and port.output:
                parts += [_payloads(case.data[name]) for name in names(port)]
            elif isinstance(port, Memory) and port.written:
                parts += [_payloads(case.left[name]) for name in names(port)]
    return b"".join(parts)


def _given(port: Port, case: Vectors) -> list[bytes]:
    if isinstance(port, Argument):
        values = case.arguments[port.name]
        each = [values] if isinstance(values, int) else values
        return [_number(value) for value in each]
    return [_payloads(case.data[name]) for name in names(port)]


def names(port: Port) -> list[str]:
    """Return the names of a port's streams or memories."""
    if not port.count:
        return [port.name]
    return [f"{port.name}__{number}" for number in range(port.count)]


def _payloads(payloads: np.ndarray) -> bytes:
    count, size = payloads.shape
    return _number(count) + _number(size) + payloads.tobytes()


def _number(value: int) -> bytes:
    return int(value).to_bytes(8, "little", signed=True)
