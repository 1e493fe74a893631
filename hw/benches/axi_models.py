"""When the AXI4 masters take and give: models of counts, without payloads, cycle by cycle.

A master may rightly wait for what its ports do not show in that cycle, so stalls cannot be told by
looking at them. A model is given what comes from outside in a cycle, and tells what the master must
show in the same cycle.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from golden.spec.axi import AxiConfig
from hw.axi_reader import AxiReader
from hw.axi_writer import AxiWriter

SLAVE_ERROR = 2


@dataclass
class _Burst:
    beats: int
    ends_job: bool
    address: int


class ReaderModel:
    """Handshakes of an `AxiReader`."""

    def __init__(self, config: AxiConfig, jobs: Sequence[tuple[int, int]]) -> None:
        """Begin after a reset.

        Args:
            jobs: byte address and words of each.
        """
        self._config = config
        self._jobs = list(jobs)
        self._taken = 0  # jobs
        self._todo: deque[_Burst] = deque()  # bursts of the job at work
        self._asking = False
        self._flying: deque[_Burst] = deque()
        self._beat = 0
        self._reserved = 0
        self._words = 0  # in the queue
        self.error = (0, 0)

    def step(self, outside: Mapping[str, bool], response: int = 0) -> dict[str, bool]:
        """Return what the reader drives in a cycle, and go on to the next one.

        Args:
            outside: `i_job` is offered, `ar` taken, `r` offered, `o` taken, `stop`.
            response: of the word that is offered at `r`.
        """
        config, failed = self._config, self.error[0] != 0
        begins = (
            bool(self._todo)
            and (not self._asking or outside["ar"])
            and self._reserved + self._todo[0].beats <= config.buffer_words
            and len(self._flying) < config.outstanding
            and not (outside["stop"] or failed)
        )
        takes_job = not failed and (not self._todo or (begins and len(self._todo) == 1))
        driven = {
            "i_job": takes_job,
            "ar": self._asking,
            "r": True,
            "o": self._words > 0,
            "busy": bool(self._flying),
        }
        self._come(outside["r"], response)
        leaves = driven["o"] and outside["o"]
        self._words -= leaves
        self._reserved -= leaves
        self._asking &= not outside["ar"]
        if begins:
            burst = self._todo.popleft()
            self._flying.append(burst)
            self._reserved += burst.beats
            self._asking = True
        if takes_job and outside["i_job"]:
            self._take_job()
        return driven

    def _come(self, valid: bool, response: int) -> None:
        if not valid:
            return
        burst = self._flying[0]
        if self.error[0] < SLAVE_ERROR:
            if response >= SLAVE_ERROR:
                self.error = (response, burst.address)
            else:
                self._words += 1
        self._beat += 1
        if self._beat == burst.beats:
            self._flying.popleft()
            self._beat = 0

    def _take_job(self) -> None:
        address, words = self._jobs[self._taken]
        self._taken += 1
        if address % self._config.word_bytes:
            self.error = (1, address) if self.error[0] == 0 else self.error
        else:
            self._todo.extend(split(self._config, address, words))


class WriterModel:
    """Handshakes of an `AxiWriter`."""

    def __init__(self, config: AxiConfig, jobs: Sequence[tuple[int, int]]) -> None:
        """Begin after a reset.

        Args:
            jobs: byte address and bytes of each.
        """
        self._config = config
        self._jobs = list(jobs)
        self._taken = 0
        self._todo: deque[_Burst] = deque()  # bursts of the job at work
        self._inputs = 0  # words that it has still to take
        self._beat = 0  # in the first of `_todo`
        self._packed: tuple[bool, _Burst] | None = None  # a word, whether its burst's last
        self._words = 0  # in the queue
        self._bursts: deque[_Burst] = deque()  # in the queue
        self._asking = False
        self._unsent: deque[int] = deque()  # words that bursts have still to send
        self._flying: deque[_Burst] = deque()
        self._done = False
        self.error = (0, 0)

    def step(self, outside: Mapping[str, bool], response: int = 0) -> dict[str, bool]:
        """Return what the writer drives in a cycle, and go on to the next one.

        Args:
            outside: `i_job`, `i` are offered, `aw`, `w` taken, `b` offered, `stop`.
            response: the one that is offered at `b`.
        """
        config, failed = self._config, self.error[0] != 0
        queues = self._words < config.buffer_words and (
            self._packed is None or not self._packed[0] or len(self._bursts) < config.outstanding
        )
        needs_input = self._inputs > 0
        steps = (
            bool(self._todo)
            and (self._packed is None or queues)
            and (not needs_input or outside["i"])
        )
        last_of_burst = steps and self._beat + 1 == self._todo[0].beats
        takes_job = not self._todo or (last_of_burst and len(self._todo) == 1)
        begins = (
            bool(self._bursts)
            and (not self._asking or outside["aw"])
            and len(self._flying) < config.outstanding
            and not (outside["stop"] or failed)
        )
        driven = {
            "i_job": takes_job,
            "i": steps and needs_input,
            "aw": self._asking,
            "w": bool(self._unsent),
            "b": True,
            "busy": bool(self._flying),
            "done": self._done,
        }
        self._answer(outside["b"], response, failed)
        self._send(outside, begins, queues)
        self._packed = None if queues else self._packed
        if steps:
            self._inputs -= needs_input
            self._packed = last_of_burst, self._todo[0]
            self._beat = 0 if last_of_burst else self._beat + 1
            if last_of_burst:
                self._todo.popleft()
        if takes_job and outside["i_job"]:
            self._take_job()
        return driven

    def _answer(self, valid: bool, response: int, failed: bool) -> None:
        self._done = False
        if not valid:
            return
        burst = self._flying.popleft()
        bad = response >= SLAVE_ERROR
        self._done = burst.ends_job and not (bad or failed)
        if bad and not failed:
            self.error = (response, burst.address)

    def _send(self, outside: Mapping[str, bool], begins: bool, queues: bool) -> None:
        if self._unsent and outside["w"]:
            self._words -= 1
            self._unsent[0] -= 1
            if self._unsent[0] == 0:
                self._unsent.popleft()
        self._asking &= not outside["aw"]
        if begins:
            burst = self._bursts.popleft()
            self._asking = True
            self._unsent.append(burst.beats)
            self._flying.append(burst)
        if self._packed and queues:
            self._words += 1
            if self._packed[0]:
                self._bursts.append(self._packed[1])

    def _take_job(self) -> None:
        size = self._config.word_bytes
        address, count = self._jobs[self._taken]
        self._taken += 1
        words = (address + count - 1) // size - address // size + 1
        self._inputs = -(-count // size)
        self._todo.extend(split(self._config, address - address % size, words))


def split(config: AxiConfig, address: int, words: int) -> list[_Burst]:
    """Return a job's bursts, from the aligned byte address on."""
    bursts = []
    for beats in config.bursts(address, words):
        bursts.append(_Burst(beats, False, address))
        address += beats * config.word_bytes
    bursts[-1].ends_job = True
    return bursts


def compare(
    master: type[AxiReader] | type[AxiWriter],
    config: AxiConfig,
    jobs: Sequence[tuple[int, int]],
    log: Mapping[str, str],
) -> str:
    """Return the first difference between a log of `hw.benches.axi` and the model, or "".

    Args:
        jobs: byte address, and words of a reader's job or bytes of a writer's.
    """
    reads = master is AxiReader
    model = ReaderModel(config, jobs) if reads else WriterModel(config, jobs)
    prefixed = {n.removeprefix("m_axi_"): log[n] for n in log}
    outside = {"i_job": 1, "ar": 2, "r": 1, "o": 2} if reads else {}
    outside = outside or {"i_job": 1, "i": 1, "aw": 2, "w": 2, "b": 1}
    levels = {
        name: log[name].split() for name in ("busy", "error", "rresp", "bresp") if name in log
    }
    levels |= {"done": list(log["done"])} if "done" in log else {}
    responses = levels["rresp" if reads else "bresp"]
    for cycle in range(len(log["i_job"])):
        given = {name: bool(int(prefixed[name][cycle]) & bit) for name, bit in outside.items()}
        error = model.error
        driven = model.step({**given, "stop": False}, int(responses[cycle], 16))
        for name, value in driven.items():
            if name in outside:
                is_driven = bool(int(prefixed[name][cycle]) & (3 - outside[name]))
            else:
                is_driven = levels[name][cycle] == "1"
            if is_driven != value:
                return f"cycle {cycle}: {name} is {'' if is_driven else 'not '}driven"
        if int(levels["error"][cycle], 16) != error[0] + (error[1] << 2):
            return f"cycle {cycle}: error is {levels['error'][cycle]} instead of {error}"
    return ""
