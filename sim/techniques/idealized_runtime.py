"""Idealized runtime: how long a request takes on one uniform machine that nobody shares.

T(p, o) = P(p) + (o - 1) * b for a prompt of p tokens and o tokens of output: P is the time to the
first token, b the mean time of each further one, at batch 1. It compares models, whatever serves
them.
Times the number of accelerators it is the idealized cost. Here T is of the system's model on GPUs
of one kind under one program, without other techniques; `--decode D` is o - 1 = D. Source:
"Cheaply evaluating inference efficiency metrics for autoregressive transformer APIs" (arXiv
2305.02440; stanford-crfm/helm-efficiency at c31b8fc), whose machine is A100 GPUs.
"""

from typing import ClassVar

from pydantic import NonNegativeInt

from golden.model_shapes import ModelShape
from golden.spec.errors import ConfigError
from sim.devices import load_device
from sim.gpu import GpuSystem
from sim.result import Quality, Result
from sim.software import load_software
from sim.system import System
from sim.technique import Technique
from sim.workload import Workload

MOST_DEVICES = 64


class IdealizedRuntime(Technique):
    """A metric: the result is as without it, with further figures.

    Attributes:
        device, software: as for a system `gpu-...`.
        devices: how many; 0 for the fewest, 1 or 2 or 4 ..., that hold the model.
    """

    title: ClassVar[str] = "a metric: the request's time on one uniform machine"
    source: ClassVar[str] = "arXiv 2305.02440"
    touches: ClassVar[str] = "the idealized runtime"

    device: str = "a100-sxm-80gb"
    software: str = "vllm"
    devices: NonNegativeInt = 0

    def refusal(self, system: object, model: ModelShape) -> str | None:
        """Return why it makes no sense on a model."""
        try:
            machine = self._machine(model, Workload(prefill=1, decode=1))
        except ConfigError as error:
            return str(error)
        return None if machine else f"{model.name} does not fit {MOST_DEVICES} x {self.device}"

    def _machine(self, model: ModelShape, workload: Workload) -> GpuSystem | None:
        counts = [self.devices] if self.devices else [2**n for n in range(7)]
        for devices in counts:
            system = GpuSystem(
                name=f"gpu-{self.device}",
                title=self.device,
                device=load_device(self.device),
                devices=devices,
                software=load_software(self.software),
            )
            if not system.footprint(model, workload).short:
                return system
        return None

    def metrics(
        self, system: System, model: ModelShape, workload: Workload, result: Result
    ) -> dict[str, float]:
        """Return the idealized runtime and what it is made of."""
        one = Workload(prefill=workload.prefill, decode=workload.decode)
        machine = self._machine(model, one)
        if machine is None:
            return {}
        prompt = machine.prefill_seconds(model, one)
        further = machine.steps_seconds(model, 1, one.prefill, one.decode)
        return {
            "idealized_runtime_s": prompt + further,
            "idealized_prompt_s": prompt,
            "idealized_s_per_token": further / one.decode if one.decode else 0.0,
            "idealized_device_s": machine.devices * (prompt + further),
            "idealized_devices": machine.devices,
        }

    def quality(self) -> Quality:
        """Return that nothing is lost."""
        return Quality(self.name(), "nothing, it only measures", "arXiv 2305.02440")
