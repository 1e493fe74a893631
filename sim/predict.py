"""What the simulator says of a published measurement, in its unit."""

import math
from collections.abc import Callable

from sim.cases import Case, NotModelledError
from sim.cost import Cost
from sim.fpga import FpgaSystem
from sim.workload import Pass, Workload


def predict(case: Case) -> float:
    """Return the simulator's value for a point, in the point's unit.

    Raises:
        NotModelledError: the metric is not modelled.
    """
    if case.point.metric not in PREDICTORS:
        raise NotModelledError(f"{case.point.metric} is not modelled")
    return PREDICTORS[case.point.metric](case)


def _workload(case: Case) -> Workload:
    return Workload(
        batch=max(round(case.batch), 1),
        prefill=max(round(case.prompt), 1),
        decode=max(round(case.output), 0),
    )


def _first(case: Case) -> float:
    """The seconds up to the first token."""
    if isinstance(case.system, FpgaSystem):
        return case.system.prefill(case.model, _workload(case)).seconds
    return case.system.prefill_seconds(case.model, _workload(case))


def _steps(case: Case, count: int) -> float:
    """The seconds of `count` decode steps after the prompt."""
    workload = _workload(case)
    return case.system.steps_seconds(case.model, workload.batch, workload.prefill, count)


def _whole(case: Case) -> float:
    """The seconds of prompts and output; the first token comes with the prompt."""
    return _first(case) + _steps(case, round(case.output) - 1)


def _mixed_pass(case: Case, prompts: float) -> Pass:
    """A decode step that also reads some prompts, at the mean context of running sequences.

    That is the prompt and half of the output where all outputs are equally long. Those of chats
    are not; with geometrically distributed lengths it is the prompt and the mean output.
    """
    context = case.prompt + case.output * (1 if case.chat else 0.5)
    return Pass(round(case.batch) or 1, 1, max(round(context), 1), prompts * case.prompt)


def _mean_pass(case: Case) -> Pass:
    """The mean step of an engine that mixes prompts into decode steps, at a steady batch.

    Of `batch` sequences that write `output` tokens each, batch / output begin in a step.
    """
    return _mixed_pass(case, case.batch / max(case.output, 1))


def _median_pass(case: Case) -> Pass:
    """The median step: as many prompts begin in it as in the median of a Poisson distribution."""
    mean = case.batch / max(case.output, 1)
    prompts, share = 0, math.exp(-mean)
    below = share
    while below < 0.5:
        prompts += 1
        share *= mean / prompts
        below += share
    return _mixed_pass(case, prompts)


def _ttft(case: Case) -> float:
    return _first(case) * 1e3


def _prefill_tps(case: Case) -> float:
    return round(case.batch) * case.prompt / _first(case)


def _tpot(case: Case) -> float:
    if case.served:
        return case.system.seconds(case.model, _median_pass(case)) * 1e3
    count = 1 if case.point.output_len is None else max(round(case.output), 1)
    return _steps(case, count) / count * 1e3


def _decode_tps(case: Case) -> float:
    count = max(round(case.output), 1)
    return round(case.batch) * count / _steps(case, count)


def _decode_time(case: Case) -> float:
    return _steps(case, round(case.output)) * 1e3


def _latency(case: Case) -> float:
    return _whole(case) * 1e3


def _e2e_tps(case: Case) -> float:
    return round(case.batch) * case.output / _whole(case)


def _e2e_tps_per_gpu(case: Case) -> float:
    return _e2e_tps(case) / case.point.devices


def _per_token(case: Case) -> float:
    return _latency(case) / (round(case.batch) * case.output)


def _serving_tps(case: Case) -> float:
    return case.batch / case.system.seconds(case.model, _mean_pass(case))


def _cost(case: Case) -> Cost:
    """What energy is counted of: a mean step under load, else prompts and output."""
    if case.served:
        return case.system.step(case.model, _mean_pass(case))
    workload = _workload(case)
    steps = case.system.steps(case.model, workload.batch, workload.prefill, round(case.output) - 1)
    return case.system.prefill(case.model, workload) + steps


def _joules(case: Case) -> float:
    joules = case.system.joules(_cost(case))
    if joules is None:
        raise NotModelledError(f"the data sheet of {case.hardware} gives no power limit")
    return joules


def _watts(case: Case) -> float:
    return _joules(case) / _cost(case).seconds


def _joules_per_token(case: Case) -> float:
    return _joules(case) / (case.batch * (1 if case.served else case.output))


def _joules_per_response(case: Case) -> float:
    return _joules(case) / round(case.batch)


def _weight_rate(case: Case) -> float:
    """The rate that gpt-fast reports: bytes of the weights on a device, once for each token."""
    model, bits = case.model, case.gpu.bits
    head = model.vocabulary * model.hidden
    held = model.layers * model.layer_weights * bits.weights + head * bits.head
    return held / 8 / case.point.devices * _decode_tps(case) / 1e9


def _bandwidth(case: Case) -> float:
    workload = _workload(case)
    step = case.system.step(case.model, Pass(workload.batch, 1, workload.prefill))
    if isinstance(case.system, FpgaSystem):
        # FlightLLM's authors mean the rate of loads.
        rate = step.streaming["bytes"] / step.streaming["seconds"]
        return 100 * rate / case.system.bytes_per_s
    return 100 * step.moved["memory"] / step.seconds / case.system.bytes_per_s


PREDICTORS: dict[str, Callable[[Case], float]] = {
    "ttft": _ttft,
    "tpot": _tpot,
    "prefill_tps": _prefill_tps,
    "decode_tps": _decode_tps,
    "decode_time": _decode_time,
    "e2e_latency": _latency,
    "e2e_out_tps": _e2e_tps,
    "e2e_out_tps_per_gpu": _e2e_tps_per_gpu,
    "ms_per_generated_token": _per_token,
    "serving_out_tps": _serving_tps,
    "power_avg_all_gpus": _watts,
    "power": _watts,
    "energy_per_token": _joules_per_token,
    "energy_per_response": _joules_per_response,
    "mem_bw_achieved_per_gpu": _weight_rate,
    "bw_utilization": _bandwidth,
}
