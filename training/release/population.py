"""The customers that training used, as a bundle states them: the range and the distribution of every feature.

A server compares a customer's values with the ranges, and monitoring compares later customers with the distributions.
"""

import math
from collections.abc import Iterator
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.bundle_documents import BinnedValues, FeaturePopulation, FeatureSpec, PopulationDocument
from models.schema import Schema
from training.sources.samples import Samples

_BINS = 10  # deciles, as is usual for the population stability index
_DIGITS = 2
_PARTS = 4  # rounding moves a limit by less than the fourth part of an interval


def population_document(schema: Schema, samples: Samples, log_odds: NDArray[np.float64]) -> PopulationDocument:
    """Return the population of a bundle.

    Args:
        schema: The schema of the model.
        samples: All samples; the ranges and distributions are those of the fit part.
        log_odds: The calibrated log-odds of the calibration part, shape (n,).
    """
    rows = samples.part("FIT")
    return PopulationDocument(
        rows=len(rows),
        features={feature.name: feature_population(feature, rows[feature.name]) for feature in schema.features},
        log_odds=bin_values(log_odds),
    )


def feature_population(feature: FeatureSpec, column: pd.Series) -> FeaturePopulation:
    """Return the values of one feature.

    Args:
        feature: The feature.
        column: The value of each row, NaN if missing; the code of a category, negative for a level without a name.
    """
    present = column.dropna().to_numpy(dtype=np.float64)
    missing = len(column) - len(present)
    if feature.kind == "category":
        counts = np.bincount(present[present >= 0].astype(np.int64), minlength=len(feature.levels)).tolist()
        return FeaturePopulation(missing=missing, levels=dict(zip(feature.levels, counts, strict=True)))
    if not len(present):
        return FeaturePopulation(missing=missing)
    ends = [float(present.min()), float(present.max())]
    limits = np.unique([*ends, *_upper_limits(present)]).tolist()
    low, high = _round_end(ends[0], limits[1:2], ROUND_FLOOR), _round_end(ends[1], limits[-2:-1], ROUND_CEILING)
    return FeaturePopulation(
        missing=missing,
        min=low if feature.min is None else max(low, feature.min),
        max=high if feature.max is None else min(high, feature.max),
        bins=bin_values(present),
    )


def bin_values(values: NDArray[np.float64]) -> BinnedValues:
    """Return the distribution of values over the intervals between their deciles; equal deciles make one interval.

    With at most ten different values, each has an interval of its own. Each limit is rounded up, so that it is not the value
    of a single customer: to as few digits as move less than a quarter of the rows of the interval above it, but to two or more.
    So no interval is empty. Whole numbers of which an interval has few, such as years, stay as they are.

    Args:
        values: The values without NaN, shape (n,); at least one.
    """
    ascending, limits = np.sort(values), _upper_limits(values)
    until = np.searchsorted(ascending, limits, side="right").tolist()  # the rows up to each limit
    edges = [
        next(each for each in _round(limit, ROUND_CEILING) if np.searchsorted(ascending, each, side="right") <= most)
        for limit, most in zip(
            limits, (rows + (above - rows) / _PARTS for rows, above in pairwise(until)), strict=False
        )
    ]
    counts = np.bincount(np.searchsorted(edges, ascending, side="left"), minlength=len(edges) + 1)
    return BinnedValues(edges=tuple(edges), counts=tuple(counts.tolist()))


def _upper_limits(values: NDArray[np.float64]) -> list[float]:
    """Return the upper limits of the intervals, ascending and not rounded. The last one is the largest value."""
    limits = np.unique(values)
    if len(limits) > _BINS:
        # Each limit is one of the values, so that a value that many rows share does not fall between two intervals.
        limits = np.unique([*np.quantile(values, np.arange(1, _BINS) / _BINS, method="lower"), limits[-1]])
    return list(map(float, limits))


def _round_end(value: float, neighbors: list[float], rounding: str) -> float:
    """Return an end of a range rounded outward, to two digits or as many as keep it near.

    Near is less than a quarter of the distance to the nearest limit of the intervals. The range itself would be no measure: one
    distant value, such as 0 for an unknown year, widens it.

    Args:
        value: The end.
        neighbors: The nearest limit; empty if all values are equal.
        rounding: ROUND_FLOOR or ROUND_CEILING.
    """
    distance = min((abs(value - each) for each in neighbors), default=math.inf)
    return next(each for each in _round(value, rounding) if _PARTS * abs(each - value) < distance)


def _round(value: float, rounding: str) -> Iterator[float]:
    """Yield a number rounded to two significant digits, to three, and so on up to the number itself."""
    written = Decimal(
        repr(value)
    )  # the exact value of a double can be a little above, and would be rounded up from there
    for digits in range(_DIGITS, max(_DIGITS, len(written.as_tuple().digits)) + 1):
        rounded = float(written.quantize(Decimal(1).scaleb(written.adjusted() - digits + 1), rounding=rounding))
        if math.isfinite(rounded):
            yield rounded + 0.0  # -0.0 becomes 0.0
