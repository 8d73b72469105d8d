"""The customers that training used, as a bundle states them: the range and the distribution of every feature.

A server compares a customer's values with the ranges, and monitoring compares later customers with the distributions.
"""

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal, localcontext

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.bundle_documents import BinnedValues, FeaturePopulation, FeatureSpec, PopulationDocument
from models.schema import Schema
from training.sources.samples import Samples

_BINS = 10  # deciles, as is usual for the population stability index
_DIGITS = 2
_PRECISION = 700  # digits of any double, between its largest and its smallest place


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
        features={feature.name: _feature_population(feature, rows[feature.name]) for feature in schema.features},
        log_odds=bin_values(log_odds),
    )


def bin_values(values: NDArray[np.float64]) -> BinnedValues:
    """Return the distribution of values over the intervals between their deciles; equal deciles make one interval.

    With at most ten different values, each has an interval of its own. The limits of the intervals are rounded, so that they
    are not the values of single customers.

    Args:
        values: The values without NaN, shape (n,); at least one.
    """
    different, spread = np.unique(values), float(np.ptp(values))
    if len(different) > _BINS:
        # Each edge is one of the values, so that a value that many rows share does not fall between two intervals.
        different = np.unique([*np.quantile(values, np.arange(1, _BINS) / _BINS, method="lower"), different[-1]])
    edges = np.unique([_round(each, spread, ROUND_HALF_EVEN) for each in different[:-1].tolist()])
    edges = edges[edges < values.max()]  # an interval above the largest value would always be empty
    counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
    return BinnedValues(edges=tuple(edges.tolist()), counts=tuple(counts.tolist()))


def _feature_population(feature: FeatureSpec, column: pd.Series) -> FeaturePopulation:
    """Return the values of one feature."""
    present = column.dropna().to_numpy(dtype=np.float64)
    missing = len(column) - len(present)
    if feature.kind == "category":
        counts = np.bincount(present[present >= 0].astype(np.int64), minlength=len(feature.levels)).tolist()
        return FeaturePopulation(missing=missing, levels=dict(zip(feature.levels, counts, strict=True)))
    if not len(present):
        return FeaturePopulation(missing=missing)
    least, largest = float(present.min()), float(present.max())
    low, high = _round(least, largest - least, ROUND_FLOOR), _round(largest, largest - least, ROUND_CEILING)
    return FeaturePopulation(
        missing=missing,
        min=low if feature.min is None else max(low, feature.min),
        max=high if feature.max is None else min(high, feature.max),
        bins=bin_values(present),
    )


def _round(value: float, spread: float, rounding: str) -> float:
    """Return a value rounded to two significant digits of itself or of the spread of its feature, whichever is finer.

    The spread matters for values that lie close together and far from 0, such as years.
    """
    exact, digits = Decimal(value), [Decimal(each).adjusted() for each in (value, spread) if each]
    if not digits:
        return 0.0
    with localcontext(prec=_PRECISION):
        rounded = float(exact.quantize(Decimal(1).scaleb(min(digits) - _DIGITS + 1), rounding=rounding))
    return rounded if math.isfinite(rounded) else value
