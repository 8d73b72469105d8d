"""Drift of inputs and of the log-odds: what was served, compared with the population that training used.

The PSI of each feature and of the log-odds is computed for each market and month over the intervals of the bundle's own
population, with one more bin for missing values and, for a category, one for levels that training did not see. Each customer
counts once in a month.

A drift is an alarm only if the PSI is at least 0.10, and chance alone would exceed it in so few cases that, over all tests of
the window together, at most the stated share of windows without drift has any alarm (Bonferroni's correction: the stated rate
is divided by the number of tests).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from models.bundle_documents import BinnedValues, FeaturePopulation, FeatureSpec, PopulationDocument
from models.stability_index import critical_psi, merge_rare_bins, psi_of_counts, psi_significance
from server.model_monitoring.recorded_window import CellKey, WatchedCell

LOG_ODDS = "log-odds"  # the name of the series; no feature can have this name
ROWS_MIN = 100  # customers in a month below which nothing is said about distributions
_PSI_MIN = 0.10  # smallest PSI of an alarm: a smaller shift is of no practical importance, however certain it is
_BINS_MIN = 2
BOUNDS_TEXT = (
    f"A drift is named if its PSI is at least {_PSI_MIN:.2f} and above the limit of chance, which depends on the number of "
    f"customers and bins. Each customer counts once in a month. Below {ROWS_MIN} customers in a month, only counts are shown "
    "(few); a bundle without a population cannot be compared with (none)."
)
DriftVerdict = Literal["TOO_FEW_ROWS", "NO_POPULATION", "NOT_COMPARABLE", "STABLE", "DRIFT"]


@dataclass(frozen=True, slots=True)
class _BinCounts:
    """The rows of one series over the same bins.

    Attributes:
        then: Shape (bins,), rows of the population.
        now: Shape (bins,), rows of the month.
        missing: Rows of the month without a value.
        missing_then: Rows of the population without a value.
        unseen: Rows of the month with a level that training did not see.
        outside: Rows of the month with a number outside the range of the population.
    """

    then: NDArray[np.int64]
    now: NDArray[np.int64]
    missing: int = 0
    missing_then: int = 0
    unseen: int = 0
    outside: int = 0


@dataclass(frozen=True, slots=True)
class SeriesDrift:
    """The drift of one feature, or of the log-odds, in one market and month. A value is None if nothing is said about it.

    Attributes:
        market: The market.
        month: The month, such as "2026-03".
        bundle_id: The bundle that scored the customers.
        series: The name of the feature, or LOG_ODDS.
        customers: The number of different customers.
        population: The number of rows of the population.
        psi: The PSI.
        critical: The PSI that chance alone exceeds at most at the corrected rate.
        significance: -log10 of the share of cases in which chance alone reaches the PSI.
        missing_share: The share of customers without a value.
        population_missing_share: The share of the population without a value.
        unseen_share: The share of customers with a level that training did not see.
        outside_share: The share of customers with a number outside the range of the population.
        age_days: The median age of the values in days.
        verdict: TOO_FEW_ROWS, NO_POPULATION, NOT_COMPARABLE if all rows are in one bin, STABLE or DRIFT.
    """

    market: str
    month: str
    bundle_id: str
    series: str
    customers: int
    population: int
    psi: float | None
    critical: float | None
    significance: float | None
    missing_share: float | None
    population_missing_share: float | None
    unseen_share: float | None
    outside_share: float | None
    age_days: float | None
    verdict: DriftVerdict


@dataclass(frozen=True, slots=True)
class DriftReview:
    """The drift of all series of a window.

    Attributes:
        series: One entry for each market, month, bundle and series.
        tests: The number of tests that were made.
        rate: The largest share of false alarms of one test.
    """

    series: tuple[SeriesDrift, ...]
    tests: int
    rate: float


@dataclass(frozen=True, slots=True)
class _CountedSeries:
    """One series before its verdict, which depends on the number of all tests."""

    key: CellKey
    name: str
    customers: int
    counts: _BinCounts | None
    then: NDArray[np.int64]
    now: NDArray[np.int64]
    age_days: float | None

    @property
    def is_tested(self) -> bool:
        """Return whether there are enough customers and bins for a test."""
        return self.counts is not None and self.customers >= ROWS_MIN and len(self.then) >= _BINS_MIN


def review_drift(
    cells: Mapping[CellKey, WatchedCell], bundles: Mapping[str, Bundle | None], false_alarm_rate: float
) -> DriftReview:
    """Return the drift of every series in every market and month.

    Args:
        cells: The recorded decisions.
        bundles: The bundles by id; None for a bundle that cannot be read.
        false_alarm_rate: The largest share of windows without drift that have any alarm.
    """
    counted = [series for key, cell in sorted(cells.items()) for series in _count_cell(key, cell, bundles.get(key[2]))]
    tests = sum(series.is_tested for series in counted)
    rate = false_alarm_rate / max(tests, 1)
    return DriftReview(tuple(_judge_series(series, rate) for series in counted), tests, rate)


def _count_cell(key: CellKey, cell: WatchedCell, bundle: Bundle | None) -> list[_CountedSeries]:
    """Return all series of a cell."""
    population = None if bundle is None else bundle.population
    specs = {} if bundle is None else {feature.name: feature for feature in bundle.schema.features}
    values, ages, found = cell.values(), cell.ages(), []
    for position, name in enumerate(cell.features):
        counts, spec = None, specs.get(name)
        if population is not None and spec is not None:
            counts = _count_feature(spec, population.features[name], values[:, position])
        known = ages[:, position][~np.isnan(ages[:, position])]
        age = float(np.median(known)) if len(known) >= ROWS_MIN else None
        found.append(_counted_series(key, name, cell.customers, counts, age))
    log_odds = np.array(cell.log_odds)
    counts = None if population is None else _count_log_odds(population, log_odds)
    found.append(_counted_series(key, LOG_ODDS, len(log_odds), counts, None))
    return found


def _counted_series(
    key: CellKey, name: str, customers: int, counts: _BinCounts | None, age_days: float | None
) -> _CountedSeries:
    """Return a series with its rare bins merged."""
    then = now = np.zeros(0, dtype=np.int64)
    if counts is not None and customers and np.sum(counts.then):
        then, now = merge_rare_bins(counts.then, counts.now)
    return _CountedSeries(key, name, customers, counts, then, now, age_days)


def _count_feature(spec: FeatureSpec, population: FeaturePopulation, values: NDArray[np.float64]) -> _BinCounts:
    """Return the rows of a feature over the bins of the population, and bins for missing and unseen values."""
    present = values[~np.isnan(values)]
    missing, missing_then = len(values) - len(present), population.missing
    if spec.kind == "category":
        codes = present[present >= 0].astype(np.int64)
        unseen = len(present) - len(codes)
        levels = np.bincount(codes, minlength=len(spec.levels))
        then = [population.levels.get(level, 0) for level in spec.levels]
        return _BinCounts(
            np.array([*then, 0, missing_then]), np.array([*levels, unseen, missing]), missing, missing_then, unseen
        )
    bins = population.bins or BinnedValues(edges=(), counts=(0,))
    outside = 0
    if population.min is not None and population.max is not None:
        outside = int(np.sum((present < population.min) | (present > population.max)))
    return _BinCounts(
        np.array([*bins.counts, missing_then]),
        np.array([*_count_bins(bins, present), missing]),
        missing,
        missing_then,
        outside=outside,
    )


def _count_log_odds(population: PopulationDocument, log_odds: NDArray[np.float64]) -> _BinCounts:
    """Return the log-odds over the bins of the population."""
    return _BinCounts(np.array(population.log_odds.counts), _count_bins(population.log_odds, log_odds))


def _count_bins(bins: BinnedValues, values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the number of values in each interval. An interval contains its upper limit."""
    return np.bincount(np.searchsorted(bins.edges, values, side="left"), minlength=len(bins.counts))


def _judge_series(series: _CountedSeries, rate: float) -> SeriesDrift:
    """Return a series with its verdict."""
    counts, customers, rows = series.counts, series.customers, 0
    psi = critical = significance = None
    if counts is not None:
        rows = int(np.sum(counts.then))
    if series.is_tested:
        psi, critical = psi_of_counts(series.then, series.now), critical_psi(series.then, series.now, rate)
        significance = psi_significance(psi, series.then, series.now)
    is_said = counts is not None and customers >= ROWS_MIN
    shares = _shares(counts, customers, rows) if counts is not None and is_said else (None,) * 4
    return SeriesDrift(
        *series.key,
        series=series.name,
        customers=customers,
        population=rows,
        psi=psi,
        critical=critical,
        significance=significance,
        missing_share=shares[0],
        population_missing_share=shares[1],
        unseen_share=shares[2],
        outside_share=shares[3],
        age_days=series.age_days,
        verdict=_verdict(series, psi, critical),
    )


def _shares(counts: _BinCounts, customers: int, rows: int) -> Sequence[float | None]:
    """Return the shares of missing values now and in the population, of unseen levels, and of numbers out of range."""
    now = [each / customers for each in (counts.missing, counts.unseen, counts.outside)]
    return now[0], counts.missing_then / rows if rows else None, now[1], now[2]


def _verdict(series: _CountedSeries, psi: float | None, critical: float | None) -> DriftVerdict:
    """Return the verdict on a series."""
    if series.counts is None:
        return "NO_POPULATION"
    if series.customers < ROWS_MIN:
        return "TOO_FEW_ROWS"
    if psi is None or critical is None:
        return "NOT_COMPARABLE"
    return "DRIFT" if psi > critical and psi >= _PSI_MIN else "STABLE"
