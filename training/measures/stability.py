"""Whether a population has moved since development: PSI of the score, CSI of a feature (the same sum).

Bins and shares are fixed at development. The limits 0.10 and 0.25 alone are folklore: with 10 bins and 200 rows on
both sides a PSI of 0.09 is what chance gives. So a PSI must also pass a critical value, and below a stated number of
rows there is no alarm at all. Rows must be independent: one row for each customer.

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

# An empty bin counts as half a row: ln 0 has no value, and a fixed small share would be an alarm by itself.
_EMPTY_BIN_ROWS = 0.5
_ROWS_MIN = 100
WATCH_PSI = 0.10
ACT_PSI = 0.25
_FALSE_ALARM_RATE = 0.05

StabilityVerdict = Literal["TOO_FEW_ROWS", "STABLE", "WATCH", "ACT"]


@dataclass(frozen=True, slots=True)
class ReferenceDistribution:
    """The distribution that later ones are compared with: bins, and rows of each bin in the order of its code."""

    bins: Bins
    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StabilityIndex:
    """A PSI with what it takes to read it.

    Attributes:
        psi: Sum of (actual - expected) * ln(actual / expected) over shares; 0 and up.
        rows_then: M, at development.
        rows_now: N.
        bins: B; those that are empty on both sides do not count.
        by_chance: (B - 1) * (1/N + 1/M), about what no shift gives on average.
        critical: Passed by chance in at most 5 % of cases.
        verdict: WATCH and ACT need a psi above `critical` as well as above 0.10 and 0.25; TOO_FEW_ROWS never alarms.
    """

    psi: float
    reference_rows: int
    current_rows: int
    bins: int
    expected_by_chance: float
    critical: float
    verdict: StabilityVerdict


def reference_distribution(codes: NDArray[np.int64], bins: Bins) -> ReferenceDistribution:
    """Count the development rows.

    Args:
        codes: Shape (n,), from bins.codes(values): numbers or categories.
        bins: Fixed from now on.

    Raises:
        DataInvalid: No rows.
    """
    return ReferenceDistribution(bins, _bin_counts(codes, bins))


def stability_index(
    development: ReferenceDistribution, codes: NDArray[np.int64], rows_min: int = _ROWS_MIN
) -> StabilityIndex:
    """Compare rows of today with those of development.

    Args:
        development: Bins and their rows then.
        codes: Shape (n,), from development.bins.codes(values).
        rows_min: With fewer rows on either side the verdict is TOO_FEW_ROWS.

    Raises:
        DataInvalid: No rows, or only one bin holds any.
    """
    return psi_from_counts(np.array(development.rows), np.array(_bin_counts(codes, development.bins)), rows_min)


def psi_from_counts(then: NDArray[np.int64], now: NDArray[np.int64], rows_min: int = _ROWS_MIN) -> StabilityIndex:
    """Compare two counts over the same bins.

    Args:
        then: Shape (bins,), rows at development.
        now: Shape (bins,), rows today.
        rows_min: With fewer rows on either side the verdict is TOO_FEW_ROWS.

    Raises:
        DataInvalid: Shapes that differ, a negative count, no rows, or only one bin that holds any.
    """
    if np.ndim(then) != 1 or np.shape(then) != np.shape(now) or np.any(then < 0) or np.any(now < 0):
        raise DataInvalid(f"counts of shape {np.shape(then)} and {np.shape(now)}; the same bins, none negative")
    rows_then, rows_now = int(np.sum(then)), int(np.sum(now))
    held = (then > 0) | (now > 0)
    bins = int(np.sum(held))
    if not rows_then or not rows_now or bins < 2:  # noqa: PLR2004 - one bin cannot shift
        raise DataInvalid(f"{rows_then} rows then, {rows_now} now, in {bins} bins; rows in at least 2 bins are needed")
    expected = np.maximum(then[held], _EMPTY_BIN_ROWS) / rows_then
    actual = np.maximum(now[held], _EMPTY_BIN_ROWS) / rows_now
    psi = float(np.sum((actual - expected) * np.log(actual / expected)))
    critical = _critical_psi(rows_then, rows_now, (then[held] + now[held]) / (rows_then + rows_now))
    verdict = _verdict(psi, critical) if min(rows_then, rows_now) >= rows_min else "TOO_FEW_ROWS"
    by_chance = (bins - 1) * (1.0 / rows_then + 1.0 / rows_now)
    return StabilityIndex(psi, rows_then, rows_now, bins, by_chance, critical, verdict)


def _critical_psi(rows_then: int, rows_now: int, pooled: NDArray[np.float64]) -> float:
    """Give the PSI that no shift passes in more than 5 % of cases.

    With u = (actual - expected) / pooled and v, w the shares of both samples in all rows,
    PSI = sum pooled * u**2 + (1 - 3vw) / 3 * sum pooled * u**4, and an odd term that only lowers it. The first sum is
    Pearson's statistic times (1/N + 1/M). Given that, its standardised parts lie evenly on a sphere in B - 1
    dimensions, which gives the mean of the second. Its factor is taken at its largest, 1/3: bins cut at the quantiles
    of a small development sample lengthen the tail a little more.

    Args:
        rows_then: M.
        rows_now: N.
        pooled: Shape (bins,), shares of both samples together, all above 0.
    """
    freedom, per_row = len(pooled) - 1, 1.0 / rows_then + 1.0 / rows_now
    first = float(chi2.ppf(1.0 - _FALSE_ALARM_RATE, freedom)) * per_row
    return first + first**2 / (freedom * (freedom + 2)) * float(np.sum((1.0 - pooled) ** 2 / pooled))


def _verdict(psi: float, critical: float) -> StabilityVerdict:
    """Alarm where the shift is both more than chance and large enough to matter."""
    if psi <= critical or psi < WATCH_PSI:
        return "STABLE"
    return "WATCH" if psi < ACT_PSI else "ACT"


def _bin_counts(codes: NDArray[np.int64], bins: Bins) -> tuple[int, ...]:
    """Count the rows of every bin."""
    if not len(codes):
        raise DataInvalid("no rows to count")
    return tuple(np.bincount(codes, minlength=len(bins.names)).tolist())
