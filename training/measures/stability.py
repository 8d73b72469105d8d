"""Population drift since development: the PSI of the score, and the CSI of a feature (the same sum).

Bins and shares are fixed at development. The customary limits 0.10 and 0.25 ignore sampling noise: with 10 bins and 200
rows on both sides, chance alone gives a PSI of 0.09. So an alarm also requires a PSI above a critical value and a
minimum number of rows. Rows must be independent: one row for each customer.

Source: Yurdakul 2018, Statistical properties of the population stability index: without a shift,
PSI / (1/N + 1/M) is about chi-square with B - 1 degrees of freedom. At few rows a bin its tail is longer than that
(6 % instead of 5 % at 200 rows and 10 bins, 8 % at 100), so a bound of the next term is added here.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from training.errors import DataInvalid
from training.measures.bins import Bins

# An empty bin counts as half a row: ln 0 is undefined, and a fixed small share would raise an alarm by itself.
_EMPTY_BIN_ROWS = 0.5
_ROWS_MIN = 100
WATCH_PSI = 0.10
ACT_PSI = 0.25
_FALSE_ALARM_RATE = 0.05

StabilityVerdict = Literal["TOO_FEW_ROWS", "STABLE", "WATCH", "ACT"]


@dataclass(frozen=True, slots=True)
class ReferenceDistribution:
    """The distribution at development: the bins, and the number of rows of each bin in the order of the codes."""

    bins: Bins
    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StabilityIndex:
    """A PSI with the numbers needed to interpret it.

    Attributes:
        psi: Sum of (actual - expected) * ln(actual / expected) over shares; 0 and up.
        reference_rows: M, at development.
        current_rows: N.
        bins: B, without bins that are empty on both sides.
        expected_by_chance: (B - 1) * (1/N + 1/M), about the mean without a shift.
        critical: Exceeded by chance in at most 5 % of cases.
        verdict: WATCH and ACT require a psi above `critical`, and of 0.10 and 0.25 respectively.
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
        codes: Shape (n,), from bins.codes(values): numbers or categories.
        bins: The bins of the codes.

    Raises:
        DataInvalid: No rows.
    """
    return ReferenceDistribution(bins, _bin_counts(codes, bins))


def stability_index(
    development: ReferenceDistribution, codes: NDArray[np.int64], rows_min: int = _ROWS_MIN
) -> StabilityIndex:
    """Compare current rows with those of development.

    Args:
        development: The distribution at development.
        codes: Shape (n,), from development.bins.codes(values).
        rows_min: With fewer rows on either side the verdict is TOO_FEW_ROWS.

    Raises:
        DataInvalid: There are no rows, or all are in one bin.
    """
    return psi_from_counts(np.array(development.rows), np.array(_bin_counts(codes, development.bins)), rows_min)


def psi_from_counts(then: NDArray[np.int64], now: NDArray[np.int64], rows_min: int = _ROWS_MIN) -> StabilityIndex:
    """Compare two counts over the same bins.

    Args:
        then: Shape (bins,), rows at development.
        now: Shape (bins,), current rows.
        rows_min: With fewer rows on either side the verdict is TOO_FEW_ROWS.

    Raises:
        DataInvalid: Shapes differ, a count is negative, there are no rows, or all are in one bin.
    """
    if np.ndim(then) != 1 or np.shape(then) != np.shape(now) or np.any(then < 0) or np.any(now < 0):
        raise DataInvalid(f"counts of shape {np.shape(then)} and {np.shape(now)}; the same bins, none negative")
    rows_then, rows_now = int(np.sum(then)), int(np.sum(now))
    filled = (then > 0) | (now > 0)
    bins = int(np.sum(filled))
    if not rows_then or not rows_now or bins < 2:  # noqa: PLR2004 - one bin cannot shift
        raise DataInvalid(
            f"a PSI requires rows in at least 2 bins on both sides, got {rows_then} and {rows_now} rows in {bins} bins"
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

    With u = (actual - expected) / pooled and v, w the shares of both samples in all rows,
    PSI = sum pooled * u**2 + (1 - 3vw) / 3 * sum pooled * u**4, and an odd term that only lowers it. The first sum is
    Pearson's statistic times (1/N + 1/M). Given the first, its standardised parts are uniform on a sphere in B - 1
    dimensions, which gives the mean of the second. Its factor is bounded by its largest value, 1/3: bins cut at the
    quantiles of a small development sample lengthen the tail a little more.

    Args:
        rows_then: M.
        rows_now: N.
        pooled: Shape (bins,), shares of both samples together, all above 0.
    """
    freedom, per_row = len(pooled) - 1, 1.0 / rows_then + 1.0 / rows_now
    first = float(chi2.ppf(1.0 - _FALSE_ALARM_RATE, freedom)) * per_row
    return first + first**2 / (freedom * (freedom + 2)) * float(np.sum((1.0 - pooled) ** 2 / pooled))


def _verdict(psi: float, critical: float) -> StabilityVerdict:
    """Return an alarm only if the shift is both more than chance and large enough to matter."""
    if psi <= critical or psi < WATCH_PSI:
        return "STABLE"
    return "WATCH" if psi < ACT_PSI else "ACT"


def _bin_counts(codes: NDArray[np.int64], bins: Bins) -> tuple[int, ...]:
    """Return the number of rows of every bin."""
    if not len(codes):
        raise DataInvalid("no rows to count")
    return tuple(np.bincount(codes, minlength=len(bins.names)).tolist())
