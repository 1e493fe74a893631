"""The drive's attention for one query, in Python's integers: written from docs/sparf.md."""

import math
from fractions import Fraction

WIDE = 2**26


def shifted(value, shift):
    """Python rounds a fraction half to even."""
    return round(Fraction(value, 1 << shift)) if shift >= 0 else value << -shift


def wide(value):
    return max(-WIDE, min(WIDE - 1, value))


def normal(value):
    """A value of 16 bits and an exponent, as rounding gives them: [2**15, 2**16]."""
    if value <= 0:
        return 0, 0
    down = value.bit_length() - 16
    return shifted(value, down), down


def reciprocal(value):
    """2**31 / mantissa, of a mantissa in [2**15, 2**16), and its exponent."""
    mantissa, down = normal(value)
    if mantissa == 2**16:
        mantissa, down = 2**15, down + 1
    return (round(Fraction(2**31, mantissa)), down) if mantissa else (0, 0)


def scale(head_size):
    """The mantissa and the power of 2 of log2(e) / sqrt(head_size), in units of 2**-16."""
    real = math.log2(math.e) / math.sqrt(head_size)
    place = math.floor(math.log2(real)) + 1
    return round(real * 2 ** (16 - place)), place


def logit(score, mantissa, exponent):
    return wide(shifted(score * mantissa, max(0, min(60, -exponent))))


def table(fraction):
    """2**(fraction / 2**16) in units of 2**-15, on the line between two of 256 points."""
    segment, rest = divmod(fraction, 256)
    start, end = (round(2 ** (k / 256) * 2**15) for k in (segment, segment + 1))
    return shifted(start * 256 + (end - start) * rest, 8)


def power(config, t):
    """The bin and the power in it."""
    octave, fraction = divmod(t, 2**16)
    dropped = 16 - config.probability_bits
    value = min(shifted(table(fraction), dropped), 2**config.probability_bits - 1) << dropped
    return octave // 8, value << (octave % 8)


def summed(terms):
    """Terms (bin, integer): the sum in units of the highest bin, of it and the three below."""
    return collapsed(terms, max((b for b, _ in terms), default=0))


def collapsed(terms, top):
    total = 0
    for below in (3, 2, 1, 0):
        total = shifted(total, 8) + sum(x for b, x in terms if b == top - below)
    return total


def divided(config, mixed, mass):
    share, down = reciprocal(mass)
    room = 11 - config.element_bits
    brought = wide(shifted(mixed << max(room, 0), max(down, 0) + max(-room, 0)))
    return wide(shifted(brought * share, 18))


def attention(config, q, fraction, keys, values, key_fraction, tokens):
    """The outputs for the tokens of these numbers; everything else is lists of integers."""
    mantissa, place = scale(config.head_size)
    exponent = place - fraction - key_fraction
    powers = []
    for j in tokens:
        score = sum(a * b for a, b in zip(q, keys[j], strict=True))
        powers.append((j, *power(config, logit(score, mantissa, exponent))))
    mass = summed([(b, p) for _, b, p in powers])
    return [divided(config, summed_as(powers, values, channel), mass) for channel in range(len(q))]


def summed_as(powers, values, channel):
    top = max((b for _, b, _ in powers), default=0)
    return collapsed([(b, p * values[j][channel]) for j, b, p in powers], top)


def share_of_kept(config, logits, kept):
    """Alpha, of all logits and the numbers of the kept ones."""
    terms = [power(config, t) for t in logits]
    top = max(b for b, _ in terms)
    whole, some = collapsed(terms, top), collapsed([terms[j] for j in kept], top)
    share, down = reciprocal(whole)
    return min(shifted(shifted(some, down) * share, 15), 2**16)


def shares(config, logits):
    """Each token's probability in units of 2**-26."""
    terms = [power(config, t) for t in logits]
    top = max(b for b, _ in terms)
    share, down = reciprocal(collapsed(terms, top))
    return [
        shifted(p * share, 31 - 26 + down + 8 * (top - b)) if top - b < 4 else 0 for b, p in terms
    ]


def best(keys, count):
    """The numbers of the `count` largest; of equal ones the lower."""
    return sorted(range(len(keys)), key=lambda j: (-keys[j], j))[:count]
