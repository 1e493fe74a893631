"""Sums of powers of 2 that do not depend on the order of what is added: the softmax of the drive.

A token with the logit t, in octaves, counts 2**t. A sum of such powers is kept in bins of 8 octaves
each: t belongs to bin floor(t / 8), where its power is an integer, and integers add up exactly. The
highest bin with a token in it is the `top`; it and the three below are kept, and what is lower is
dropped. It is less than 2**-24 of the largest power, whichever comes first. So chunks, channels,
kernels and drives may add up parts of a sequence in any order, and merge them in any order: the
bits are the same. When a higher bin appears, nothing is multiplied; the lowest bins fall out.
"""

from typing import NamedTuple

import torch

from golden.spec.attention_engine import (
    BIN_OCTAVES,
    BINS,
    LOGIT_FRACTION_BITS,
    AttentionConfig,
)
from golden.special_functions import lane, scalars
from golden.special_functions.rounding import shift_round
from golden.special_functions.scalars import Scalar, exact
from golden.special_functions.tables import DEFAULT_TABLES, EXP2_FRACTION_BITS

LOWEST_BIN = -128
"""The bin of the lowest logit, -1024 octaves; the top of an empty sum."""

DIVIDE_SHIFT = 18
"""Of the product of a mixture and the reciprocal of its mass."""

_MOST_EXACT = 1 << 15
"""Tokens of which float64 adds up products without rounding."""

_MAX_SCALE_SHIFT = 60

_BIN_BITS = BIN_OCTAVES.bit_length() - 1

_ROOM_BITS = 11
"""A mixture has 16 bits more than a value; shifted by this less a value's bits it has 27."""


class Powers(NamedTuple):
    """2**t of each token: `power` in units of 2**(8 * `bin` - 15), and its bin; int64 [...]."""

    power: torch.Tensor
    bin: torch.Tensor


class Sums(NamedTuple):
    """Sums over the same tokens: of their powers, and of their powers times their values.

    Attributes:
        top: the highest bin that has a token, int64 [...].
        mass: sums of powers, int64 [..., 4], the top bin first.
        mixed: sums of powers times values, int64 [..., 4, channels]; no channels if there are no
            values.
    """

    top: torch.Tensor
    mass: torch.Tensor
    mixed: torch.Tensor


def logits(scores: torch.Tensor, scale: Scalar) -> torch.Tensor:
    """Return scores * scale, in units of 2**-16 octaves, wide, rounded once: int64 [..., tokens].

    Args:
        scores: int64 [..., tokens]. scale: [...], its value less than 2**17. What is shifted to the
            right is less than 2**56, so a shift of 60 or more gives 0; one below 0 counts as 0.
    """
    shift = (-scale.exponent).clamp(0, _MAX_SCALE_SHIFT).unsqueeze(-1)
    return lane.to_wide(shift_round(scores * scale.value.unsqueeze(-1), shift))


def powers(config: AttentionConfig, t: torch.Tensor) -> Powers:
    """Return 2**t of logits in units of 2**-16 octaves.

    The table gives 16 bits in [2**15, 2**16); they are rounded to `probability_bits`, saturated,
    and shifted to the octave's place in its bin. So the lowest 16 - probability_bits bits are 0.
    """
    octave = t >> LOGIT_FRACTION_BITS
    value = DEFAULT_TABLES.exp2(t & ((1 << LOGIT_FRACTION_BITS) - 1))
    dropped = EXP2_FRACTION_BITS + 1 - config.probability_bits
    if dropped:
        rounded = shift_round(value, dropped).clamp(max=(1 << config.probability_bits) - 1)
        value = rounded << dropped
    return Powers(value << (octave & (BIN_OCTAVES - 1)), octave >> _BIN_BITS)


def add_up(tokens: Powers, seen: torch.Tensor, values: torch.Tensor | None = None) -> Sums:
    """Return the sums over some tokens.

    Args:
        tokens: [..., tokens]. seen: which of them count, bool, broadcastable to that.
        values: int64 [tokens, channels]; none for the mass alone.
    """
    # A token that does not count is in a bin that is never kept.
    bins = torch.where(seen, tokens.bin, LOWEST_BIN - BINS)
    lowest = bins.new_full((*bins.shape[:-1], 1), LOWEST_BIN)
    top = torch.cat([lowest, bins], dim=-1).amax(dim=-1)
    parts = [
        torch.where(bins == (top - below).unsqueeze(-1), tokens.power, 0) for below in range(BINS)
    ]
    mass = torch.stack([part.sum(dim=-1) for part in parts], dim=-1)
    if values is None:
        return Sums(top, mass, mass.new_zeros(*mass.shape, 0))
    return Sums(top, mass, torch.stack([_product(part, values) for part in parts], dim=-2))


def merge(first: Sums, second: Sums) -> Sums:
    """Return the sums over the tokens of both: exact, so neither order nor grouping matters."""
    top = torch.maximum(first.top, second.top)
    a, b = (lower(sums, top) for sums in (first, second))
    return Sums(top, a.mass + b.mass, a.mixed + b.mixed)


def collapse(bins: torch.Tensor) -> torch.Tensor:
    """Return one number for the bins [4, ...], in the top one's units.

    From the lowest bin on, what there is is divided by 2**8, rounded half to even, and the next bin
    added. So it is off by at most 0.502 units.
    """
    total = bins[BINS - 1]
    for each in reversed(bins[: BINS - 1]):
        total = shift_round(total, BIN_OCTAVES) + each
    return total


def mass(sums: Sums) -> torch.Tensor:
    """Return the collapsed sum of powers, int64 [...], in units of 2**(8 * top - 15)."""
    return collapse(sums.mass.movedim(-1, 0))


def mixture(config: AttentionConfig, sums: Sums) -> torch.Tensor:
    """Return the values' mean weighted with the powers, int64 [..., channels]; see `divide`."""
    return divide(config, collapse(sums.mixed.movedim(-2, 0)), mass(sums))


def divide(config: AttentionConfig, mixed: torch.Tensor, mass: torch.Tensor) -> torch.Tensor:
    """Return mixed / mass with `config.output_fraction_bits`; 0 where the mass is 0.

    What is divided is first brought to 27 bits by the mass' exponent, then multiplied with the
    reciprocal of the mass' highest 16 bits. With |mixed| <= 2**(bits - 1) * mass, `bits` being
    those of a value, it is off by at most 2**-15 of the largest such value.

    Args:
        mixed: int64 [..., channels], less than 2**56. mass: int64 [...], 0 or from 2**15 on.
    """
    share = scalars.reciprocal(exact(mass))
    # A mass has at least 16 bits, so its exponent is not negative, unless it is 0.
    down = exponent_of(share).clamp(min=0).unsqueeze(-1)
    room = _ROOM_BITS - config.element_bits
    wide = lane.to_wide(shift_round(mixed << max(room, 0), down + max(-room, 0)))
    return lane.to_wide(shift_round(wide * share.value.unsqueeze(-1), DIVIDE_SHIFT))


def exponent_of(share: Scalar) -> torch.Tensor:
    """Return e of a mass in [2**15, 2**16] * 2**e whose reciprocal is `share`."""
    return -scalars.RECIPROCAL_BITS - share.exponent


def lower(sums: Sums, top: torch.Tensor) -> Sums:
    """Return the same sums in the bins of a top that is as high or higher, [...]."""
    down = (top - sums.top).unsqueeze(-1)
    place = torch.arange(BINS) - down
    inside = place >= 0
    place = place.clamp(min=0)
    mass = torch.where(inside, sums.mass.gather(-1, place), 0)
    channels = sums.mixed.shape[-1]
    at = place.unsqueeze(-1).expand(*place.shape, channels)
    mixed = torch.where(inside.unsqueeze(-1), sums.mixed.gather(-2, at), 0)
    return Sums(top, mass, mixed)


def _product(part: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return the exact matrix product [..., tokens] x [tokens, channels], int64.

    Powers have 23 bits and values 16 with a sign: so 2**15 products add up to 2**53 at most.
    """
    total = part.new_zeros(*part.shape[:-1], values.shape[-1])
    pieces = zip(part.split(_MOST_EXACT, dim=-1), values.split(_MOST_EXACT), strict=True)
    for some, own in pieces:
        total += (some.double() @ own.double()).long()
    return total
