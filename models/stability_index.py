"""The population stability index (PSI) of two samples over the same bins, and the PSI that chance alone rarely exceeds.

The PSI is the sum over the bins of (current share - reference share) * ln(current share / reference share). For a feature
it is called the characteristic stability index (CSI). Rows must be independent, so each customer has one row.

The critical value: Let M be the number of reference rows, N the number of current rows and B the number of bins. If the
distribution has not shifted, PSI / (1/N + 1/M) has approximately a chi-square distribution with B - 1 degrees of freedom
(Yurdakul 2018, Statistical properties of the population stability index). With few rows per bin, the upper tail of the PSI
is heavier than that of the chi-square distribution: chance exceeds the 95 % limit in 6 % instead of 5 % of cases with 200
rows in 10 bins, and in 8 % with 100 rows. Therefore the critical value includes an upper bound of the next term in the
expansion of the PSI.
"""

from math import isfinite, lgamma, log, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri
from scipy.stats import chi2

# An empty bin counts as half a row, because ln 0 is undefined. A fixed tiny share would make a large PSI from one empty
# bin.
_EMPTY_BIN_ROWS = 0.5
_FURTHER_TERMS = 8  # of the series of the smallest shares; the last ones are below the precision of a double
_EXPECTED_ROWS_MIN = 5  # in each bin of the smaller sample, as is usual for tests of the chi-square family


def psi_of_counts(then: NDArray[np.int64], now: NDArray[np.int64]) -> float:
    """Return the PSI of two samples.

    Args:
        then: Shape (bins,), number of reference rows in each bin. Each bin has a row in at least one sample.
        now: Shape (bins,), number of current rows in each bin.
    """
    expected = np.maximum(then, _EMPTY_BIN_ROWS) / np.sum(then)
    actual = np.maximum(now, _EMPTY_BIN_ROWS) / np.sum(now)
    return float(np.sum((actual - expected) * np.log(actual / expected)))


def critical_psi(then: NDArray[np.int64], now: NDArray[np.int64], false_alarm_rate: float) -> float:
    """Return the PSI that chance alone exceeds in at most a share of cases.

    For each bin, let u = (actual - expected) / pooled. Let v and w be the shares of the two samples in all rows. Then

        PSI = sum of pooled * u**2 + (1 - 3vw) / 3 * sum of pooled * u**4 + an odd term that only lowers the PSI

    up to terms of higher order. The first sum is Pearson's chi-square statistic times (1/N + 1/M); `first` is its
    quantile. Given the first sum, the vector of its standardised parts is uniformly distributed on a sphere in B - 1
    dimensions, which determines the mean of the second sum. The factor (1 - 3vw) / 3 is replaced by its upper bound 1/3,
    because bins that are cut at the quantiles of a small reference sample make the tail slightly heavier.

    Args:
        then: Shape (bins,), number of reference rows in each bin. Each bin has a row in at least one sample.
        now: Shape (bins,), number of current rows in each bin.
        false_alarm_rate: The share of cases, between 0 and 1.
    """
    freedom, per_row, tail = _chance_terms(then, now)
    first = float(chdtri(freedom, false_alarm_rate)) * per_row  # as chi2.isf, which takes twenty times as long
    return first + tail * first**2


def psi_significance(psi: float, then: NDArray[np.int64], now: NDArray[np.int64]) -> float:
    """Return -log10 of the share of cases in which chance alone reaches a PSI: the inverse of `critical_psi`.

    Args:
        psi: The PSI.
        then: Shape (bins,), number of reference rows in each bin. Each bin has a row in at least one sample.
        now: Shape (bins,), number of current rows in each bin.
    """
    freedom, per_row, tail = _chance_terms(then, now)
    # The solution of first + tail * first**2 = psi, in the form without cancellation.
    first = 2.0 * psi / (1.0 + sqrt(1.0 + 4.0 * tail * psi))
    return -_log_chance(first / per_row, freedom) / log(10.0)


def _log_chance(statistic: float, freedom: int) -> float:
    """Return the logarithm of the share of cases in which a chi-square variable exceeds a value."""
    found = float(chi2.logsf(statistic, freedom))
    if isfinite(found):
        return found
    # The share is below the smallest double. Then x is far above a, and the terms of the asymptotic series fall fast. The
    # share is x**(a - 1) * exp(-x) / gamma(a) times the sum of 1, (a - 1) / x, (a - 1) * (a - 2) / x**2 and so on.
    a, x = freedom / 2.0, statistic / 2.0
    total = term = 1.0
    for step in range(1, freedom + _FURTHER_TERMS):
        term *= (a - step) / x
        total += term
    return (a - 1.0) * log(x) - x - lgamma(a) + log(total)


def _chance_terms(then: NDArray[np.int64], now: NDArray[np.int64]) -> tuple[int, float, float]:
    """Return the degrees of freedom, 1/N + 1/M, and the factor of the term for the heavy tail; see `critical_psi`."""
    rows_then, rows_now = int(np.sum(then)), int(np.sum(now))
    pooled = (then + now) / (rows_then + rows_now)
    freedom = len(pooled) - 1
    tail = float(np.sum((1.0 - pooled) ** 2 / pooled)) / (freedom * (freedom + 2))
    return freedom, 1.0 / rows_then + 1.0 / rows_now, tail


def merge_rare_bins(then: NDArray[np.int64], now: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the counts of both samples with all rare bins merged into one, so that the critical value is valid.

    A bin is rare if fewer than 5 rows of the smaller sample are expected in it. The expectation uses the shares in both
    samples together, which contain no information about a shift. If the merged bin is rare too, it absorbs the smallest
    other bins.
    """
    together = then + now
    order = np.argsort(together, kind="stable")
    then, now, together = then[order], now[order], together[order]
    needed = _EXPECTED_ROWS_MIN * np.sum(together) / min(np.sum(then), np.sum(now))
    rare = int(np.sum(together < needed))
    if not rare:
        return then, now
    # The bins are sorted, so the first ones are merged until they have enough rows together.
    merged = max(rare, int(np.searchsorted(np.cumsum(together), needed)) + 1)
    return _merge_first(then, merged), _merge_first(now, merged)


def _merge_first(counts: NDArray[np.int64], merged: int) -> NDArray[np.int64]:
    """Return counts with the first ones added up."""
    return np.concatenate([[np.sum(counts[:merged])], counts[merged:]])
