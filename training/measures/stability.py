"""Population drift since development: the population stability index (PSI) of the score or of a feature.

The PSI compares the distribution of current rows over bins with the distribution of the development sample. For a feature
it is called the characteristic stability index (CSI), which has the same formula. The bins are fixed on the development
sample. Rows must be independent, so each customer has one row.

The customary limits 0.10 and 0.25 ignore sampling noise: if both samples have 200 rows in 10 bins, chance alone causes a
mean PSI of 0.09. Therefore an alarm also requires a minimum number of rows and a PSI above a critical value, which chance
alone exceeds in at most 5 % of cases.

The critical value: Let M be the number of development rows, N the number of current rows and B the number of bins. If the
distribution has not shifted, PSI / (1/N + 1/M) has approximately a chi-square distribution with B - 1 degrees of freedom
(Yurdakul 2018, Statistical properties of the population stability index). With few rows per bin, the upper tail of the PSI
is heavier than that of the chi-square distribution: chance exceeds the chi-square limit in 6 % instead of 5 % of cases with
200 rows in 10 bins, and in 8 % with 100 rows. Therefore the critical value includes an upper bound of the next term in the expansion of the PSI (`_critical_psi`).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from training.errors import DataInvalid
from training.measures.bins import Bins

# An empty bin counts as half a row, because ln 0 is undefined. A fixed tiny share would make a large PSI from one empty
# bin.
_EMPTY_BIN_ROWS = 0.5
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
            f"both samples must have one count per bin, 0 and up, got shapes {np.shape(then)} and {np.shape(now)}"
        )
    rows_then, rows_now = int(np.sum(then)), int(np.sum(now))
    filled = (then > 0) | (now > 0)
    bins = int(np.sum(filled))
    if not rows_then or not rows_now or bins < 2:  # noqa: PLR2004 - one bin cannot shift
        raise DataInvalid(
            "a PSI requires rows in both samples, and at least 2 bins with a row in either sample, got "
            f"{rows_then} development rows and {rows_now} current rows in {bins} bins"
        )
    expected = np.maximum(then[filled], _EMPTY_BIN_ROWS) / rows_then
    actual = np.maximum(now[filled], _EMPTY_BIN_ROWS) / rows_now
    psi = float(np.sum((actual - expected) * np.log(actual / expected)))
    critical = _critical_psi(rows_then, rows_now, (then[filled] + now[filled]) / (rows_then + rows_now))
    verdict = _verdict(psi, critical) if min(rows_then, rows_now) >= rows_min else "TOO_FEW_ROWS"
    by_chance = (bins - 1) * (1.0 / rows_then + 1.0 / rows_now)
    return StabilityIndex(psi, rows_then, rows_now, bins, by_chance, critical, verdict)


def _critical_psi(rows_then: int, rows_now: int, pooled: NDArray[np.float64]) -> float:
    """Return the PSI that chance alone exceeds in at most 5 % of cases.

    For each bin, let u = (actual - expected) / pooled. Let v and w be the shares of the two samples in all rows. Then

        PSI = sum of pooled * u**2 + (1 - 3vw) / 3 * sum of pooled * u**4 + an odd term that only lowers the PSI

    up to terms of higher order. The first sum is Pearson's chi-square statistic times (1/N + 1/M); `first` is its 95 %
    quantile. Given the first sum, the vector of its standardised parts is uniformly distributed on a sphere in B - 1
    dimensions, which determines the mean of the second sum. The factor (1 - 3vw) / 3 is replaced by its upper bound 1/3,
    because bins that are cut at the quantiles of a small development sample make the tail slightly heavier.

    Args:
        rows_then: M, the number of development rows.
        rows_now: N, the number of current rows.
        pooled: Shape (bins,), the share of each bin in the rows of both samples together, all above 0.
    """
    freedom, per_row = len(pooled) - 1, 1.0 / rows_then + 1.0 / rows_now
    first = float(chi2.ppf(1.0 - _FALSE_ALARM_RATE, freedom)) * per_row
    return first + first**2 / (freedom * (freedom + 2)) * float(np.sum((1.0 - pooled) ** 2 / pooled))


def _verdict(psi: float, critical: float) -> StabilityVerdict:
    """Return the verdict on a PSI. WATCH and ACT require a shift that is large and that chance does not explain."""
    if psi <= critical or psi < WATCH_PSI:
        return "STABLE"
    return "WATCH" if psi < ACT_PSI else "ACT"


def _bin_counts(codes: NDArray[np.int64], bins: Bins) -> tuple[int, ...]:
    """Return the number of rows of every bin."""
    if not len(codes):
        raise DataInvalid("at least one row is required, got none")
    return tuple(np.bincount(codes, minlength=len(bins.names)).tolist())
