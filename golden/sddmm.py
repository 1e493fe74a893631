"""Scores of block-sparse attention: queries times keys, only where a mask of blocks is set.

This is the sampled dense-dense matrix product (SDDMM). The keys are dense weights, the queries
tokens: all keys of a query block's unmasked blocks are the rows of one matrix, which the engine
multiplies with the block's queries. Masked blocks take neither time nor memory traffic.
"""

from dataclasses import dataclass

import torch

from golden.matrix_engine import Mode, matrix_engine
from golden.quantise import matrix_shape
from golden.sparse_matrix import SparseMatrix, dense_matrix
from golden.spec.errors import ShapeError
from golden.spec.matrix_engine import MatrixEngineConfig

BLOCK = 64
"""Queries and keys of a block, as in FlightLLM (arXiv 2401.03868)."""


@dataclass(frozen=True)
class SddmmJob:
    """A matrix product of some queries with some keys.

    Attributes:
        queries: their numbers, one block's. keys: theirs, of all unmasked blocks in their order.
    """

    queries: range
    keys: torch.Tensor


def sddmm_jobs(mask: torch.Tensor, queries: int, keys: int) -> list[SddmmJob]:
    """Return a job for every block of queries that has an unmasked block of keys.

    Args:
        mask: bool [queries / 64, keys / 64], rounded up; true where scores are wanted.

    Raises:
        ShapeError: the mask does not fit.
    """
    grid = [-(-queries // BLOCK), -(-keys // BLOCK)]
    if mask.dtype != torch.bool or list(mask.shape) != grid:
        raise ShapeError(
            f"the block mask is {mask.dtype} of shape {list(mask.shape)}; {queries} queries and "
            f"{keys} keys need torch.bool of shape {grid}"
        )
    jobs = []
    for number, row in enumerate(mask):
        wanted = row.repeat_interleave(BLOCK)[:keys].nonzero().flatten()
        if len(wanted):
            first = number * BLOCK
            jobs.append(SddmmJob(range(first, min(first + BLOCK, queries)), wanted))
    return jobs


def keys_of(job: SddmmJob, keys: torch.Tensor, config: MatrixEngineConfig) -> SparseMatrix:
    """Return a job's keys as the engine's dense weights, all inputs in one scale group.

    Args:
        keys: int8 [keys, head size].
    """
    columns = -(-matrix_shape(keys, "the keys")[1] // config.m)
    return dense_matrix(keys[job.keys], columns * config.m, m=config.m)


def sddmm(
    queries: torch.Tensor,
    keys: torch.Tensor,
    mask: torch.Tensor,
    scales: torch.Tensor,
    config: MatrixEngineConfig,
) -> torch.Tensor:
    """Return the requantised scores, int32 [queries, keys], 0 in masked blocks.

    Args:
        queries: int8 [queries, head size]. keys: int8 [keys, head size].
        mask: bool [queries / 64, keys / 64], rounded up.
        scales: of each key, in units of 2**-scale_shift, integers [keys].

    Raises:
        ShapeError: shapes do not fit each other or the engine.
    """
    if scales.shape != keys.shape[:1]:
        raise ShapeError(f"the scales are {list(scales.shape)}; one for each of {len(keys)} keys")
    scores = torch.zeros(len(queries), len(keys), dtype=torch.int32)
    for job in sddmm_jobs(mask, len(queries), len(keys)):
        matrix = keys_of(job, keys, config)
        job_scales = scales[job.keys][:, None]
        rows = slice(job.queries.start, job.queries.stop)
        scores[rows, job.keys] = matrix_engine(
            matrix,
            queries[rows],
            job_scales,
            torch.zeros_like(job_scales),
            config,
            Mode.MATRIX_MATRIX,
        )
    return scores
