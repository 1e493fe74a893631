"""A shift to the right, rounded: the only rounding of the special function unit."""

import torch


def shift_round(values: torch.Tensor, shift: torch.Tensor | int) -> torch.Tensor:
    """Return `values` / 2**shift, rounded half to even.

    Args:
        values: int64, less than 2**62 in magnitude. shift: 0 to 47; both broadcast.
    """
    shift = torch.as_tensor(shift, dtype=torch.int64)
    unit = torch.ones_like(shift) << shift
    raised = values + (unit >> 1)
    quotient = raised >> shift
    tie = (raised & (unit - 1) == 0) & (shift > 0)
    return quotient - (tie & (quotient & 1 == 1)).long()
