"""What a simulation says: the same record for every system."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Quality:
    """What a technique was measured to lose.

    Attributes:
        technique: with its options; lost: what and how much; source: who measured it, on what.
    """

    technique: str
    lost: str
    source: str


@dataclass(frozen=True)
class Result:
    """One workload on one system; what is not modelled for the system is None.

    Attributes:
        system, model: their names; label: the system and its formats as a chart shows them.
        context: tokens of each prompt; batch: sequences; decode: tokens that each is given.
        ttft_ms: from the request to the first token. ttft_breakdown: the same by operator class.
        tpot_ms: mean time from one token of a sequence to the next: a decode step's, or its share
            where a step gives several. breakdown: the same by operator class, in the order of use;
            operators: by operator; units: milliseconds for which each unit works, which overlap.
        decode_tokens_per_s: of all sequences, while they are written.
        e2e_tokens_per_s: of all sequences, prompts read first.
        joules_per_token, usd_per_mtoken: for a written token, prompts included where their time is
            modelled; prices are the systems' and electricity's, see `sim/economics.py`.
        peak_memory_gb: weights, cache and working memory at the end, in 1e9 bytes, by what in
            `memory_gb`. fits: whether the system's memory holds it.
        bytes_per_token: read from or written to the main memory for a token, on average over the
            sequences of a step; bytes_by_level: the same for each level.
        bandwidth_used: bytes of a step / its time / peak bandwidth, 0 to 1.
        bandwidth_streaming: the same while memory is what limits.
        cycles_per_token: cycles of one step, on an FPGA; 0 where there is no clock.
        bottleneck: the resource that shortens a step (or the prefill, if there is no step) most.
        why: for each resource, the share by which ttft and tpot fall when it is 10 % faster.
        spread: share within which four of five measured times lie around such estimates.
        published_tokens_per_s: a measured decode rate to set beside, with published_source.
        techniques: those that are applied, with their options, in order; quality: what each was
            measured to lose; None where nothing was measured with these options.
        tokens_per_pass: that a decode pass gives a sequence, on average.
        metrics: further figures that a technique adds, with their units in their names.
        assumptions: what the result takes for granted, one sentence each.
        wall_s: how long the simulation took.
    """

    system: str
    model: str
    label: str
    context: int
    tpot_ms: float | None
    decode_tokens_per_s: float | None
    bytes_per_token: float
    bandwidth_used: float
    bottleneck: str
    cycles_per_token: int = 0
    batch: int = 1
    decode: int = 1
    ttft_ms: float | None = None
    e2e_tokens_per_s: float | None = None
    joules_per_token: float | None = None
    usd_per_mtoken: float | None = None
    peak_memory_gb: float = 0.0
    memory_gb: dict[str, float] = field(default_factory=dict)
    fits: bool = True
    bandwidth_streaming: float = 0.0
    breakdown: dict[str, float] = field(default_factory=dict)
    ttft_breakdown: dict[str, float] = field(default_factory=dict)
    operators: dict[str, float] = field(default_factory=dict)
    units: dict[str, float] = field(default_factory=dict)
    bytes_by_level: dict[str, float] = field(default_factory=dict)
    why: dict[str, dict[str, float]] = field(default_factory=dict)
    spread: float | None = None
    published_tokens_per_s: float | None = None
    published_source: str = ""
    techniques: tuple[str, ...] = ()
    quality: tuple[Quality | None, ...] = ()
    tokens_per_pass: float = 1.0
    metrics: dict[str, float] = field(default_factory=dict)
    assumptions: tuple[str, ...] = ()
    wall_s: float = 0.0
