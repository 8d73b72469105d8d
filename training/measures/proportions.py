"""Confidence intervals of a proportion, and of the difference and the ratio of two proportions; valid for small groups.

Sources: Wilson 1927 for a proportion; Newcombe 1998, method 10, for the difference; Donner and Zou 2012 for the ratio,
which uses the limits of both proportions. Rows are assumed to be independent.
"""

import math
from dataclasses import dataclass

from scipy.stats import norm

from training.errors import DataInvalid


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimate with its 95 % interval; `high` is infinite for a ratio without an upper bound."""

    value: float
    low: float
    high: float


_Z = float(norm.ppf(0.5 + 0.95 / 2.0))  # normal quantile of a 95 % interval


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
    value, widening = hits / rows, _Z * _Z / rows
    center = (value + widening / 2.0) / (1.0 + widening)
    half = _Z * math.sqrt(value * (1.0 - value) / rows + widening / (4.0 * rows)) / (1.0 + widening)
    # Without hits the lower limit is exactly 0, and if all rows are hits the upper limit is exactly 1. Rounding errors
    # must not move such a limit past the proportion.
    return Estimate(value, 0.0 if hits == 0 else center - half, 1.0 if hits == rows else center + half)


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
