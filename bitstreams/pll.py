"""Which factors of an ECP5's PLL (EHXPLLL), or of an UltraScale+'s MMCM, give a clock."""

from dataclasses import dataclass

from golden.spec.errors import ConfigError

# Lattice ECP5 family data sheet (FPGA-DS-02012), sysCLOCK PLL timing.
LEAST_COMPARED_MHZ = 3.125
VCO_MHZ = (400.0, 800.0)
MOST_FACTOR = 128


@dataclass(frozen=True)
class Pll:
    """Factors of a PLL whose first output is its feedback.

    Attributes:
        input_divider: of the oscillator, before it is compared. feedback: the output is so many
            times as fast. output_divider: from the inner oscillator to the output.
    """

    input_divider: int
    feedback: int
    output_divider: int


def find_pll(oscillator_mhz: float, clock_mhz: float) -> Pll:
    """Return factors that make exactly `clock_mhz` of `oscillator_mhz`.

    Of several the smallest input divider, and then the inner oscillator nearest to 600 MHz.

    Raises:
        ConfigError: there are none.
    """
    for divider in range(1, int(oscillator_mhz / LEAST_COMPARED_MHZ) + 1):
        feedback = clock_mhz * divider / oscillator_mhz
        if feedback != int(feedback) or not 1 <= feedback <= MOST_FACTOR:
            continue
        outputs = [
            n for n in range(1, MOST_FACTOR + 1) if VCO_MHZ[0] <= clock_mhz * n <= VCO_MHZ[1]
        ]
        if outputs:
            middle = sum(VCO_MHZ) / 2
            output = min(outputs, key=lambda n: (abs(clock_mhz * n - middle), n))
            return Pll(divider, int(feedback), output)
    raise ConfigError(
        f"clock_mhz is {clock_mhz:g}; no PLL factors make it of the board's {oscillator_mhz:g} MHz,"
        " choose a multiple of 5 for 25 MHz or of 4 for 12 MHz"
    )


# AMD DS925, MMCM of speed grade -2; factors that are whole numbers, AMD UG572.
MMCM_VCO_MHZ = (800.0, 1600.0)


def find_mmcm(oscillator_mhz: float, clock_mhz: float) -> tuple[int, int]:
    """Return multiplier and output divider of an MMCM that makes exactly `clock_mhz`.

    Of several those with the inner oscillator nearest to 1200 MHz.

    Raises:
        ConfigError: there are none.
    """
    found = []
    for multiplier in range(2, MOST_FACTOR + 1):
        vco = oscillator_mhz * multiplier
        divider = vco / clock_mhz
        if MMCM_VCO_MHZ[0] <= vco <= MMCM_VCO_MHZ[1] and divider == int(divider) <= MOST_FACTOR:
            found.append((abs(vco - sum(MMCM_VCO_MHZ) / 2), multiplier, int(divider)))
    if not found:
        raise ConfigError(
            f"clock_mhz is {clock_mhz:g}; no MMCM factors make it of the board's "
            f"{oscillator_mhz:g} MHz, choose another divisor of one of its multiples, such as 100"
        )
    _, multiplier, output = min(found)
    return multiplier, output
