"""Calibration and Gini by vintage: the defaults of the credits that were decided in a month, once their outcome is known.

A vintage is judged only when the outcome window of its last day has passed. Until then its figures are estimates from the pds
(CBPE, confidence-based performance estimation), which assume that the pds are right.

Two tests compare a judged vintage with its pds. Both count the uncertainty of the bundle's own calibration, which was fitted
on a sample of limited size, so that a small error of all pds is not an alarm in every large vintage:

- **level**: the number of defaults against the sum of the pds. The number has a beta-binomial distribution, whose spread is
  that of the outcomes and that of the calibration together.
- **order**: the covariance of defaults and log-odds against the expected one (the score test of the slope of the log-odds). It
  finds a model that separates good and bad customers less than its pds claim.

All rates, Ginis and tests are about the first booked credit of each customer, because the outcomes of several credits of one
customer depend on each other.

The rate of false alarms is divided by the number of all tests of the window (Bonferroni's correction).
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, log
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, log_ndtr, logsumexp
from scipy.stats import betabinom

from models.bundle import Bundle
from models.bundle_documents import BinnedValues
from server.model_monitoring.intervals import (
    FigureInterval,
    expected_gini,
    gini_interval,
    normal_interval,
    share_interval,
)
from server.model_monitoring.months import add_months, first_day
from server.model_monitoring.recorded_window import CellKey, WatchedCell, WatchedDecision

BOOKED_MIN = 50  # customers with a booked credit in a vintage, or in a grade, below which nothing but counts is said
_RATIO_MIN = 1.25  # a level that differs by less is no alarm, however certain it is
_SLOPE_MIN = 0.25  # likewise for the slope of the log-odds
METHOD_TEXT = (
    "A vintage is the credits that were decided in a month and then booked. It is judged when the outcome window of its last day "
    f"has passed, and if {BOOKED_MIN} customers have such a credit. Counts are of all credits; rates, Ginis and tests are of the "
    f"first credit of each customer, because several credits of one customer are not independent. It is named if chance and the limited calibration sample do not explain its "
    f"defaults, and if they differ from the pds by a factor of {_RATIO_MIN:.2f} or more; or if the slope of the log-odds differs "
    f"from 1 by {_SLOPE_MIN:.2f} or more. Intervals are 95 % Jeffreys intervals for shares, and those of DeLong for the Gini."
)
_DEFAULTS_MIN = 10  # expected defaults, and expected goods, that the order test needs
VintageVerdict = Literal["IMMATURE", "TOO_FEW_ROWS", "NO_POPULATION", "STABLE", "CHANGED"]


@dataclass(frozen=True, slots=True)
class GradeOutcome:
    """The booked credits of one grade of a vintage. The rates are None if there are too few customers.

    Attributes:
        grade: The grade.
        booked: Number of booked credits.
        defaults: Number of defaults of these credits.
        customers: Number of customers whose first booked credit of the vintage has this grade.
        expected_rate: The mean pd of these customers.
        observed_rate: The share of these customers who defaulted.
    """

    grade: str
    booked: int
    defaults: int
    customers: int
    expected_rate: float | None
    observed_rate: FigureInterval | None


@dataclass(frozen=True, slots=True)
class Vintage:
    """The credits that were decided in one market and month and then booked. A value is None if nothing is said about it.

    Attributes:
        market: The market.
        month: The month of the decisions.
        bundle_id: The bundle that scored the customers.
        approved: Number of decisions that approve without a person.
        booked: Number of booked credits with a pd.
        customers: Number of customers with such a credit. All figures but the counts are of their first credits.
        unbooked_defaults: Number of defaults of decisions without a recorded booking, which are not used.
        judged_from: The day from which the vintage is judged.
        defaults: Number of defaults within the outcome window; None before `judged_from`.
        expected_rate: The mean pd.
        observed_rate: The share of defaults.
        gini: The Gini of the pds.
        expected_gini: The Gini that follows from the pds alone.
        level_p: The probability of a level that differs at least as much if the pds are right.
        order_p: The same for the order.
        significance: -log10 of the smaller of both probabilities.
        slope: Slope of the log-odds: 1 if the pds separate as they claim, below 1 if they separate less.
        grades: The outcomes by grade; empty before `judged_from`.
        verdict: IMMATURE, TOO_FEW_ROWS, NO_POPULATION, STABLE or CHANGED.
    """

    market: str
    month: str
    bundle_id: str
    approved: int
    booked: int
    customers: int
    unbooked_defaults: int
    judged_from: dt.date
    defaults: int | None
    expected_rate: float | None
    observed_rate: FigureInterval | None
    gini: FigureInterval | None
    expected_gini: float | None
    level_p: float | None
    order_p: float | None
    significance: float | None
    slope: float | None
    grades: tuple[GradeOutcome, ...]
    verdict: VintageVerdict


@dataclass(frozen=True, slots=True)
class VintageReview:
    """All vintages of a window.

    Attributes:
        vintages: One entry for each market, month and bundle.
        tests: The number of tests that were made.
        rate: The largest share of false alarms of one test.
    """

    vintages: tuple[Vintage, ...]
    tests: int
    rate: float


@dataclass(frozen=True, slots=True)
class PerformanceEstimate:
    """The performance that follows from the pds of all scored customers of one market and month. It is an ESTIMATE.

    Attributes:
        market: The market.
        month: The month.
        bundle_id: The bundle that scored the customers.
        scored: Number of scored decisions.
        default_rate: The estimated share of defaults if all were booked; None if there are too few customers.
        gini: The estimated Gini; None in the same case.
    """

    market: str
    month: str
    bundle_id: str
    scored: int
    default_rate: FigureInterval | None
    gini: float | None


@dataclass(frozen=True, slots=True)
class _CalibrationSample:
    """What the calibration of a bundle is known to: information about the intercept and the slope of the log-odds."""

    intercept: float
    center: float
    slope: float


def review_vintages(
    cells: Mapping[CellKey, WatchedCell],
    bundles: Mapping[str, Bundle | None],
    as_of: dt.date,
    outcome_months: int,
    false_alarm_rate: float,
) -> VintageReview:
    """Return the calibration and the Gini of every vintage.

    Args:
        cells: The recorded decisions.
        bundles: The bundles by id; None for a bundle that cannot be read.
        as_of: The day on which outcomes are known.
        outcome_months: Months after a decision in which a default counts.
        false_alarm_rate: The largest share of windows without a change that have any alarm.
    """
    measured = [
        _measure_vintage(key, cell, bundles.get(key[2]), as_of, outcome_months) for key, cell in sorted(cells.items())
    ]
    tests = sum((each.level_p is not None) + (each.order_p is not None) for each in measured)
    rate = false_alarm_rate / max(tests, 1)
    return VintageReview(tuple(_judge_vintage(each, rate) for each in measured), tests, rate)


def estimate_performance(cells: Mapping[CellKey, WatchedCell]) -> tuple[PerformanceEstimate, ...]:
    """Return the estimated performance of every market and month, from the pds of all scored decisions."""
    found = []
    for key, cell in sorted(cells.items()):
        scored = [each for each in cell.decisions if each.pd is not None]
        pds = np.array([each.pd for each in scored])
        rate, gini = None, None
        if len({each.customer for each in scored}) >= BOOKED_MIN:
            error = float(np.sqrt(np.sum(pds * (1.0 - pds)))) / len(pds)
            rate, gini = normal_interval(float(np.mean(pds)), error, 0.0, 1.0), expected_gini(pds)
        found.append(PerformanceEstimate(*key, scored=len(pds), default_rate=rate, gini=gini))
    return tuple(found)


def _measure_vintage(
    key: CellKey, cell: WatchedCell, bundle: Bundle | None, as_of: dt.date, outcome_months: int
) -> Vintage:
    """Return a vintage without the verdict of the tests."""
    booked = [each for each in cell.decisions if each.is_booked and each.pd is not None]
    first = _first_credits(booked)
    pds = np.array([each.pd for each in first], dtype=np.float64)
    judged_from = add_months(add_months(first_day(key[1]), 1), outcome_months)
    is_mature, is_said = as_of >= judged_from, len(first) >= BOOKED_MIN
    labels = np.array([_has_defaulted(each, outcome_months) for each in first], dtype=np.int64)
    defaults, level, order, slope = int(np.sum(labels)), None, None, None
    sample = None if bundle is None or bundle.population is None else _calibration(bundle.population.log_odds)
    if is_mature and is_said and sample is not None:
        log_odds = np.array([each.log_odds for each in first], dtype=np.float64)
        level = _level_log_p(defaults, pds, log_odds, sample)
        slope, order = _slope_test(labels, pds, log_odds, sample)
    no_test: VintageVerdict = "NO_POPULATION" if sample is None else "STABLE"
    return Vintage(
        *key,
        approved=sum(each.outcome.name.startswith("APPROVE") for each in cell.decisions),
        booked=len(booked),
        customers=len(first),
        unbooked_defaults=sum(each.default_day is not None and not each.is_booked for each in cell.decisions),
        judged_from=judged_from,
        defaults=sum(_has_defaulted(each, outcome_months) for each in booked) if is_mature else None,
        expected_rate=float(np.mean(pds)) if is_said else None,
        observed_rate=share_interval(defaults, len(first)) if is_mature and is_said else None,
        gini=gini_interval(labels, pds) if is_mature and is_said else None,
        expected_gini=expected_gini(pds) if is_said else None,
        level_p=None if level is None else exp(level),
        order_p=None if order is None else exp(order),
        significance=None if level is None else -min(level, level if order is None else order) / log(10.0),
        slope=slope,
        grades=_grade_outcomes(booked, outcome_months) if is_mature else (),
        verdict="IMMATURE" if not is_mature else "TOO_FEW_ROWS" if not is_said else no_test,
    )


def _has_defaulted(decision: WatchedDecision, outcome_months: int) -> bool:
    """Return whether a default lies within the outcome window."""
    return decision.default_day is not None and decision.default_day < add_months(decision.day, outcome_months)


def _first_credits(booked: Iterable[WatchedDecision]) -> list[WatchedDecision]:
    """Return the first credit of each customer."""
    found: dict[int, WatchedDecision] = {}
    for each in booked:
        found.setdefault(each.customer, each)
    return list(found.values())


def _grade_outcomes(booked: Sequence[WatchedDecision], outcome_months: int) -> tuple[GradeOutcome, ...]:
    """Return the outcomes by grade, in the order of the pds."""
    grades: dict[str, list[WatchedDecision]] = {}
    for each in sorted(booked, key=lambda each: each.pd or 0.0):
        grades.setdefault(each.grade, []).append(each)
    first = _first_credits(booked)
    return tuple(
        _grade_outcome(grade, rows, [each for each in first if each.grade == grade], outcome_months)
        for grade, rows in grades.items()
    )


def _grade_outcome(
    grade: str, booked: Sequence[WatchedDecision], first: Sequence[WatchedDecision], outcome_months: int
) -> GradeOutcome:
    """Return the outcome of a grade from all its credits, and from those that are the first of their customers."""
    is_said = len(first) >= BOOKED_MIN
    hits = sum(_has_defaulted(each, outcome_months) for each in first)
    return GradeOutcome(
        grade=grade,
        booked=len(booked),
        defaults=sum(_has_defaulted(each, outcome_months) for each in booked),
        customers=len(first),
        expected_rate=sum(each.pd or 0.0 for each in first) / len(first) if is_said else None,
        observed_rate=share_interval(hits, len(first)) if is_said else None,
    )


def _calibration(log_odds: BinnedValues) -> _CalibrationSample | None:
    """Return what is known about the calibration sample; None if all its log-odds are in one interval.

    The log-odds of an interval are replaced by the middle of its limits. The outermost intervals have one limit, which
    replaces them; this states the information about the slope too low rather than too high.
    """
    if len(log_odds.edges) < 2:  # noqa: PLR2004 - a slope needs two different values
        return None
    edges, counts = np.array(log_odds.edges), np.array(log_odds.counts, dtype=np.float64)
    middles = np.concatenate([edges[:1], (edges[:-1] + edges[1:]) / 2.0, edges[-1:]])
    weights = counts * expit(middles) * expit(-middles)
    total = float(np.sum(weights))
    center = float(np.sum(weights * middles)) / total
    return _CalibrationSample(total, center, float(np.sum(weights * (middles - center) ** 2)))


def _level_log_p(
    defaults: int, pds: NDArray[np.float64], log_odds: NDArray[np.float64], sample: _CalibrationSample
) -> float:
    """Return the logarithm of the two-sided probability of a number of defaults that differs at least as much if the pds are right.

    The error of the calibration at the mean log-odds of the vintage has the variance 1 / I0 + distance**2 / I1 of a
    straight line that was fitted to the calibration sample. It changes the expected rate by this error times the mean of
    pd * (1 - pd). A beta distribution with the same mean and variance describes the rate.
    """
    weights = pds * (1.0 - pds)
    mean, per_unit = float(np.mean(pds)), float(np.mean(weights))
    center = float(np.sum(weights * log_odds) / np.sum(weights))
    variance = per_unit**2 * (1.0 / sample.intercept + (center - sample.center) ** 2 / sample.slope)
    rows = max(mean * (1.0 - mean) / variance - 1.0, 1.0)  # as if the rate were known from so many rows
    distribution = betabinom(len(pds), mean * rows, (1.0 - mean) * rows)
    # Each tail is a sum of its own: one minus the other tail is only the rounding error if the tail is small.
    logs = distribution.logpmf(np.arange(len(pds) + 1))
    return min(0.0, log(2.0) + min(float(logsumexp(logs[: defaults + 1])), float(logsumexp(logs[defaults:]))))


def _slope_test(
    labels: NDArray[np.int64], pds: NDArray[np.float64], log_odds: NDArray[np.float64], sample: _CalibrationSample
) -> tuple[float | None, float | None]:
    """Return the slope of the log-odds (one step of Newton's method from 1), and the logarithm of the p-value that it is 1.

    The pds are first brought to the observed level, because the level has a test of its own.
    """
    expected, defaults, rows = float(np.sum(pds)), int(np.sum(labels)), len(pds)
    if min(expected, rows - expected) < _DEFAULTS_MIN or defaults in {0, rows}:
        return None, None
    level = brentq(lambda shift: float(np.sum(expit(log_odds + shift))) - defaults, -50.0, 50.0)
    adjusted = expit(log_odds + level)
    weights = adjusted * (1.0 - adjusted)
    centered = log_odds - np.sum(weights * log_odds) / np.sum(weights)
    information = float(np.sum(weights * centered**2))
    if information <= 0.0:
        return None, None
    score = float(np.sum((labels - adjusted) * centered))
    z = score / float(np.sqrt(information + information**2 / sample.slope))
    return 1.0 + score / information, log(2.0) + float(log_ndtr(-abs(z)))


def has_level_change(vintage: Vintage, rate: float) -> bool:
    """Return whether the number of defaults is an alarm at a rate of false alarms."""
    if vintage.level_p is None or vintage.level_p > rate or vintage.expected_rate is None or not vintage.observed_rate:
        return False
    ratio = vintage.observed_rate.value / vintage.expected_rate
    return not 1.0 / _RATIO_MIN < ratio < _RATIO_MIN


def has_order_change(vintage: Vintage, rate: float) -> bool:
    """Return whether the slope of the log-odds is an alarm at a rate of false alarms."""
    if vintage.order_p is None or vintage.order_p > rate or vintage.slope is None:
        return False
    return abs(vintage.slope - 1.0) >= _SLOPE_MIN


def _judge_vintage(vintage: Vintage, rate: float) -> Vintage:
    """Return a vintage with the verdict of its tests."""
    is_changed = has_level_change(vintage, rate) or has_order_change(vintage, rate)
    return replace(vintage, verdict="CHANGED") if is_changed else vintage
