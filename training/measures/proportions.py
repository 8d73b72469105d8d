"""Confidence intervals of a proportion, and of the difference and the ratio of two proportions; valid for small groups.

Sources: Wilson 1927 for a proportion; Newcombe 1998, method 10, for the difference; Donner and Zou 2012 for the ratio,
which uses the limits of both proportions. Rows are assumed to be independent, except in `clustered_proportion`.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from training.errors import DataInvalid


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimate with its 95 % interval; `high` is infinite for a ratio without an upper bound."""

    value: float
    low: float
    high: float


_Z = float(norm.ppf(0.5 + 0.95 / 2.0))  # normal quantile of a 95 % interval
# A test at the 95 % level detects a difference of 1.96 + 0.84 = 2.8 standard errors with a probability of 80 %.
_DETECTABLE_STANDARD_ERRORS = 2.8


def proportion(hits: int, rows: int) -> Estimate:
    """Return hits / rows with Wilson's 95 % interval.

    Args:
        hits: Number of hits, 0 to rows.
        rows: Number of rows, at least 1.

    Raises:
        DataInvalid: A number is out of range.
    """
    if rows < 1 or not 0 <= hits <= rows:
        raise DataInvalid(f"hits must be from 0 to the number of rows, got {hits} of {rows}; correct the counts")
    return _wilson_interval(hits / rows, rows)


def _wilson_interval(value: float, rows: float) -> Estimate:
    """Return a proportion with Wilson's 95 % interval; the number of rows need not be an integer."""
    widening = _Z * _Z / rows
    center = (value + widening / 2.0) / (1.0 + widening)
    half = _Z * math.sqrt(value * (1.0 - value) / rows + widening / (4.0 * rows)) / (1.0 + widening)
    # Without hits the lower limit is exactly 0, and if all rows are hits the upper limit is exactly 1. Rounding errors
    # must not move such a limit past the proportion.
    return Estimate(value, 0.0 if value == 0.0 else center - half, 1.0 if value == 1.0 else center + half)


def clustered_proportion(hits: NDArray[np.bool_], customers: NDArray[np.str_]) -> Estimate:
    """Return the share of hits with its 95 % interval, where a customer may have several rows.

    The rows of a customer are not independent. The interval is Wilson's for the effective number of rows: the number of
    independent rows that would have the variance of the clustered ones (Kish 1965; Dean and Pagano 2015). If every
    customer has one row, the interval is that of `proportion`.

    Args:
        hits: Shape (n,), at least one row.
        customers: Shape (n,); the customer of each row.

    Raises:
        DataInvalid: There are no rows.
    """
    if not len(hits):
        raise DataInvalid("a proportion requires at least 1 row, got 0; add rows")
    _, owners = np.unique(customers, return_inverse=True)
    sizes = np.bincount(owners).astype(np.float64)
    rows, count = len(hits), len(sizes)
    total = int(hits.sum())
    if count == rows:
        return proportion(total, rows)
    value = total / rows
    if total in (0, rows):  # no variance to compare: each customer counts once
        return _wilson_interval(value, count)
    residuals = np.bincount(owners, weights=hits.astype(np.float64)) - value * sizes
    variance = count / max(count - 1, 1) * float(residuals @ residuals) / rows**2
    # Negative correlation within customers is not trusted: it would claim more rows than there are.
    return _wilson_interval(value, min(rows, value * (1.0 - value) / variance) if variance else float(rows))


def detectable_difference(rate: float, first: float, second: float) -> float:
    """Return the difference of two proportions that a test at the 95 % level detects with a probability of 80 %.

    Args:
        rate: The proportion to expect in both groups, 0 to 1.
        first: Number of independent rows of the first group, above 0.
        second: Number of independent rows of the second group, above 0.
    """
    return _DETECTABLE_STANDARD_ERRORS * math.sqrt(rate * (1.0 - rate) * (1.0 / first + 1.0 / second))


def proportion_difference(first: Estimate, second: Estimate) -> Estimate:
    """Return the difference first - second of two independent proportions; -1 to 1."""
    value = first.value - second.value
    low = value - math.hypot(first.value - first.low, second.high - second.value)
    return Estimate(value, low, value + math.hypot(first.high - first.value, second.value - second.low))


def proportion_ratio(first: Estimate, second: Estimate) -> Estimate:
    """Return the ratio first / second of two independent proportions; 0 and up.

    Raises:
        DataInvalid: The second proportion is 0.
    """
    if second.value <= 0.0:
        raise DataInvalid("the second proportion of a ratio must be above 0; add rows until it has hits")
    product = first.value * second.value
    down = first.low * second.high * (2.0 * first.value - first.low) * (2.0 * second.value - second.high)
    up = first.high * second.low * (2.0 * first.value - first.high) * (2.0 * second.value - second.low)
    # This form of the lower limit avoids cancellation (the difference of two close numbers). The lower limit is 0 if
    # first.low is 0.
    low = first.low * (2.0 * first.value - first.low) / (product + math.sqrt(product**2 - down)) if product else 0.0
    below = second.low * (2.0 * second.value - second.low)
    high = (product + math.sqrt(product**2 - up)) / below if below > 0.0 else math.inf
    return Estimate(first.value / second.value, low, high)
