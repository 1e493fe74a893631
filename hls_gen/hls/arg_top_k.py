"""The arg-top-k unit as an HLS kernel, with the streams of the RTL block."""

import numpy as np

from golden.spec.arg_top_k import ArgTopKConfig
from hls_gen.hls.kernel import Argument, Kernel, Port, Stream, header, read
from hls_gen.hls.vectors import Vectors
from storage_engine.arg_top_k_cases import Case
from storage_engine.verify_arg_top_k import Play

HEADER = "arg_top_k_config.hpp"

SOURCES = ("integers.hpp", "arg_top_k.hpp", "arg_top_k_top.hpp", "arg_top_k.cpp")

RUNS_INSIDE = 8
"""Room for what is known of runs, or jobs, whose entries are on their way; five are enough: two in
the sorter, one that comes behind it, one that is merged and one that is chosen from."""


def kernel(config: ArgTopKConfig) -> Kernel:
    """Return the kernel of a unit."""
    ports: list[Port] = [
        Argument("jobs"),
        Argument("runs"),
        Stream("i_job", "job_payload_t"),
        Stream("i", "beat_payload_t"),
        Stream("o", "index_payload_t", output=True),
    ]
    constants = {
        "LANES": config.lanes,
        "RUN": config.max_k,
        "MAX_SCORES": config.max_scores,
        "SCORE_BITS": config.score_bits,
        "INDEX_BITS": config.index_bits,
        "COUNT_BITS": config.max_scores.bit_length(),
        "K_BITS": config.max_k.bit_length(),
        "RUNS_INSIDE": RUNS_INSIDE,
    }
    headers = {HEADER: header(HEADER, config, constants)}
    return Kernel("arg_top_k", ports, headers, read(SOURCES), config.lanes)


def vectors(case: Case) -> Vectors:
    """Return a case of the RTL's bench for the kernel; it has no pauses, and nothing resets it."""
    play = Play(case)
    inputs = play.streams(np.random.default_rng(0)).inputs
    runs = sum(case.config.runs(job.count) for job in case.jobs)
    arguments = {"jobs": len(case.jobs), "runs": runs}
    return Vectors(case.name, arguments, {**inputs, "o": play.expected})
