"""Confidence intervals of a proportion, of the difference of two, and of their ratio; valid for small groups.

Sources: Wilson 1927; Newcombe 1998 (the difference, his method 10); Donner and Zou 2012 (the ratio from the limits
of both). Rows are assumed to be independent.
"""

import math
from dataclasses import dataclass

from scipy.stats import norm

from training.errors import DataInvalid


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval; `high` is infinite for an unbounded ratio."""

    value: float
    low: float
    high: float


_Z = float(norm.ppf(0.5 + 0.95 / 2.0))  # of an interval at 95 %


def proportion(hits: int, rows: int) -> Estimate:
    """Return hits / rows with Wilson's interval at 95 %.

    Args:
        hits: 0 to rows.
        rows: At least 1.

    Raises:
        DataInvalid: Numbers out of range.
    """
    if rows < 1 or not 0 <= hits <= rows:
        raise DataInvalid(f"hits must be from 0 to the number of rows, got {hits} of {rows}")
    value, widening = hits / rows, _Z * _Z / rows
    center = (value + widening / 2.0) / (1.0 + widening)
    half = _Z * math.sqrt(value * (1.0 - value) / rows + widening / (4.0 * rows)) / (1.0 + widening)
    # At 0 and at all hits one limit is exact; rounding must not move it past the proportion itself.
    return Estimate(value, 0.0 if hits == 0 else center - half, 1.0 if hits == rows else center + half)


def proportion_difference(first: Estimate, second: Estimate) -> Estimate:
    """Return first - second of two independent shares; -1 to 1."""
    value = first.value - second.value
    low = value - math.hypot(first.value - first.low, second.high - second.value)
    return Estimate(value, low, value + math.hypot(first.high - first.value, second.value - second.low))


def proportion_ratio(first: Estimate, second: Estimate) -> Estimate:
    """Return first / second of two independent shares; 0 and up.

    Raises:
        DataInvalid: The second is 0.
    """
    if second.value <= 0.0:
        raise DataInvalid("the second proportion of a ratio must be above 0")
    product = first.value * second.value
    down = first.low * second.high * (2.0 * first.value - first.low) * (2.0 * second.value - second.high)
    up = first.high * second.low * (2.0 * first.value - first.high) * (2.0 * second.value - second.low)
    # The lower limit in a form without cancellation (no difference of two close numbers); it is 0 if first.low is 0.
    low = first.low * (2.0 * first.value - first.low) / (product + math.sqrt(product**2 - down)) if product else 0.0
    below = second.low * (2.0 * second.value - second.low)
    high = (product + math.sqrt(product**2 - up)) / below if below > 0.0 else math.inf
    return Estimate(first.value / second.value, low, high)
