"""Population drift since development: the population stability index (PSI) of the score or of a feature.

The PSI compares the distribution of current rows over bins with the distribution of the development sample. For a feature
it is called the characteristic stability index (CSI), which has the same formula. The bins are fixed on the development
sample. Rows must be independent, so each customer has one row.

The customary limits 0.10 and 0.25 ignore sampling noise: if both samples have 200 rows in 10 bins, chance alone causes a
mean PSI of 0.09. Therefore an alarm also requires a minimum number of rows and a PSI above a critical value, which chance
alone exceeds in at most 5 % of cases; `models.stability_index` derives it.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.stability_index import critical_psi, psi_of_counts
from training.errors import DataInvalid
from training.measures.bins import Bins

_ROWS_MIN = 100
WATCH_PSI = 0.10
ACT_PSI = 0.25
_FALSE_ALARM_RATE = 0.05

StabilityVerdict = Literal["TOO_FEW_ROWS", "STABLE", "WATCH", "ACT"]


@dataclass(frozen=True, slots=True)
class ReferenceDistribution:
    """The bins, and the number of development rows in each bin, in the order of the bin codes."""

    bins: Bins
    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StabilityIndex:
    """A PSI with the numbers needed to interpret it.

    Attributes:
        psi: Sum over the bins of (actual share - expected share) * ln(actual share / expected share); 0 and up.
        reference_rows: M, the number of development rows.
        current_rows: N, the number of current rows.
        bins: B, the number of bins that have a row in at least one of the two samples.
        expected_by_chance: (B - 1) * (1/N + 1/M), the approximate mean PSI if the distribution has not shifted.
        critical: Critical value, which chance alone exceeds in at most 5 % of cases.
        verdict: TOO_FEW_ROWS if a sample is too small. Otherwise ACT if the PSI is at least 0.25 and above `critical`,
            WATCH if the PSI is at least 0.10 and above `critical`, and STABLE in all other cases.
    """

    psi: float
    reference_rows: int
    current_rows: int
    bins: int
    expected_by_chance: float
    critical: float
    verdict: StabilityVerdict


def reference_distribution(codes: NDArray[np.int64], bins: Bins) -> ReferenceDistribution:
    """Return the distribution of development rows over bins.

    Args:
        codes: Shape (n,), the bin of every row, from `bins.codes(values)`.
        bins: The bins that the codes refer to.

    Raises:
        DataInvalid: There are no rows.
    """
    return ReferenceDistribution(bins, _bin_counts(codes, bins))


def stability_index(
    development: ReferenceDistribution, codes: NDArray[np.int64], rows_min: int = _ROWS_MIN
) -> StabilityIndex:
    """Return the PSI of current rows against development rows.

    Args:
        development: The distribution of the development rows.
        codes: Shape (n,), the bin of every current row, from `development.bins.codes(values)`.
        rows_min: If either sample has fewer rows, the verdict is TOO_FEW_ROWS.

    Raises:
        DataInvalid: There are no current rows, or all rows of both samples are in the same bin.
    """
    return psi_from_counts(np.array(development.rows), np.array(_bin_counts(codes, development.bins)), rows_min)


def psi_from_counts(then: NDArray[np.int64], now: NDArray[np.int64], rows_min: int = _ROWS_MIN) -> StabilityIndex:
    """Return the PSI of two samples that are counted over the same bins.

    Args:
        then: Shape (bins,), number of development rows in each bin.
        now: Shape (bins,), number of current rows in each bin.
        rows_min: If either sample has fewer rows, the verdict is TOO_FEW_ROWS.

    Raises:
        DataInvalid: The shapes differ, a count is negative, a sample has no rows, or all rows of both samples are in the
            same bin.
    """
    if np.ndim(then) != 1 or np.shape(then) != np.shape(now) or np.any(then < 0) or np.any(now < 0):
        raise DataInvalid(
            f"both samples must have one count per bin, 0 and up, got shapes {np.shape(then)} and {np.shape(now)}; correct them"
        )
    rows_then, rows_now = int(np.sum(then)), int(np.sum(now))
    filled = (then > 0) | (now > 0)
    bins = int(np.sum(filled))
    if not rows_then or not rows_now or bins < 2:  # noqa: PLR2004 - one bin cannot shift
        raise DataInvalid(
            "a PSI requires rows in both samples, and at least 2 bins with a row in either sample, got "
            f"{rows_then} development rows and {rows_now} current rows in {bins} bins; add rows"
        )
    psi = psi_of_counts(then[filled], now[filled])
    critical = critical_psi(then[filled], now[filled], _FALSE_ALARM_RATE)
    verdict = _verdict(psi, critical) if min(rows_then, rows_now) >= rows_min else "TOO_FEW_ROWS"
    by_chance = (bins - 1) * (1.0 / rows_then + 1.0 / rows_now)
    return StabilityIndex(psi, rows_then, rows_now, bins, by_chance, critical, verdict)


def _verdict(psi: float, critical: float) -> StabilityVerdict:
    """Return the verdict on a PSI. WATCH and ACT require a shift that is large and that chance does not explain."""
    if psi <= critical or psi < WATCH_PSI:
        return "STABLE"
    return "WATCH" if psi < ACT_PSI else "ACT"


def _bin_counts(codes: NDArray[np.int64], bins: Bins) -> tuple[int, ...]:
    """Return the number of rows of every bin."""
    if not len(codes):
        raise DataInvalid("at least one row is required, got none; add rows")
    return tuple(np.bincount(codes, minlength=len(bins.names)).tolist())
