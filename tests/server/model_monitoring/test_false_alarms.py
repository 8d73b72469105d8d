"""Without any change, `watch` alarms at most at the stated rate.

Tests of distributions are simulated with 100, 200, 2,000 and 20,000 customers a month, and tests of vintages with 50, 200, 2,000
and 20,000 booked credits. Few windows can be simulated, so the p-values of single tests are pooled too.
"""

import datetime as dt
import itertools
import math
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import binom, rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from models.bundle import Bundle
from models.bundle_documents import BinnedValues
from models.stability_index import critical_psi, merge_rare_bins, psi_of_counts, psi_significance
from server.decisions.policy import PolicyOutcome
from server.model_monitoring.intervals import expected_gini, gini_interval
from server.model_monitoring.recorded_window import WatchedCell, WatchedDecision
from server.model_monitoring.vintages import review_vintages
from tests.server.model_monitoring.portfolio import MONTHS
from tests.small import SmallFamily
from training.release.population import bin_values

DAY = dt.date(2024, 1, 1)
MARKET_SIZES = (200, 2_000, 20_000)
RATES = (0.05, 0.01, 0.001)


def alarms_of_windows(
    customers: int, windows: int, tests: int, rate: float, generator: np.random.Generator
) -> NDArray[np.bool_]:
    """Return for each simulated window without drift whether any of its tests exceeds the limit of chance.

    As in production, all tests of a window compare with populations that are samples themselves, and whose bins are cut
    at their own deciles. Values are uniform, because only their order matters.
    """
    found = []
    for _ in range(windows):
        any_alarm = False
        for _ in range(tests // 24):  # the months of one market and series share one population
            population = bin_values(generator.random(1_200))
            then = np.array(population.counts)
            for now in generator.multinomial(customers, np.diff([0.0, *population.edges, 1.0]), size=24):
                merged = merge_rare_bins(then, now)
                any_alarm |= psi_of_counts(*merged) > critical_psi(*merged, rate / tests)
        found.append(any_alarm)
    return np.array(found)


def binomial_limit(windows: int, rate: float) -> float:
    """Return the share that a true rate exceeds by chance in one of a thousand simulations, at most."""
    return float(binom.ppf(0.999, windows, rate)) / windows


@pytest.mark.parametrize("customers", MARKET_SIZES)
def test_a_window_without_drift_alarms_at_most_at_the_stated_rate(customers: int) -> None:
    """The smallest PSI of 0.10 is not used here. It makes alarms rarer still."""
    generator, windows, rate = np.random.default_rng(customers), 60, 0.05

    share = alarms_of_windows(customers, windows, 240, rate, generator).mean()

    assert share <= binomial_limit(windows, rate)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("customers", MARKET_SIZES)
def test_a_thousand_windows_without_drift_alarm_at_most_at_the_stated_rate(customers: int) -> None:
    generator, windows, rate = np.random.default_rng(customers + 1), 1_000, 0.05

    share = alarms_of_windows(customers, windows, 240, rate, generator).mean()

    assert share <= binomial_limit(windows, rate)


def test_a_single_test_against_deciles_of_a_sample_alarms_at_most_at_its_rate() -> None:
    """Every test of a number of customers has a population of its own, so that these tests are independent."""
    generator, draws = np.random.default_rng(2), 5_000
    found: dict[tuple[int, float], int] = dict.fromkeys(itertools.product((100, *MARKET_SIZES), RATES), 0)
    for _ in range(draws):
        population = bin_values(generator.random(1_200))
        then, shares = np.array(population.counts), np.diff([0.0, *population.edges, 1.0])
        for customers in (100, *MARKET_SIZES):
            merged = merge_rare_bins(then, generator.multinomial(customers, shares))
            psi = psi_of_counts(*merged)
            for rate in RATES:
                found[customers, rate] += psi > critical_psi(*merged, rate)

    for (customers, rate), alarms in found.items():
        assert alarms / draws <= binomial_limit(draws, rate), (customers, rate)


@pytest.mark.parametrize("customers", MARKET_SIZES)
def test_a_single_test_alarms_at_most_at_its_rate(customers: int) -> None:
    generator, draws = np.random.default_rng(7), 20_000
    shares = np.array([0.3, 0.2, 0.2, 0.1, 0.1, 0.05, 0.04, 0.01])
    then, now = (generator.multinomial(size, shares, size=draws) for size in (1_200, customers))

    tested = [(psi_of_counts(*merged), merged) for merged in map(merge_rare_bins, then, now)]

    for rate in RATES:
        alarms = [psi > critical_psi(*merged, rate) for psi, merged in tested]
        assert np.mean(alarms) <= binomial_limit(draws, rate), rate


@pytest.mark.parametrize("rate", [0.05, 1e-4, 1e-12, 1e-100])
def test_the_significance_of_the_limit_of_chance_is_its_rate(rate: float) -> None:
    then, now = np.array([300, 200, 500, 40]), np.array([40, 20, 30, 9])

    assert psi_significance(critical_psi(then, now, rate), then, now) == pytest.approx(-np.log10(rate))


def test_a_stronger_drift_is_more_significant_even_if_its_probability_is_below_the_smallest_double() -> None:
    """With 8 degrees of freedom, the share of cases above 2x is exp(-x) * (1 + x + x**2 / 2 + x**3 / 6)."""
    then, found = np.full(9, 20_000), []
    for shifted in range(200, 1_000, 100):
        now = np.array([1_000 + shifted, 1_000 - shifted, *[1_000] * 7])
        significance = psi_significance(psi_of_counts(then, now), then, now)
        x = chi_square_of_psi(psi_of_counts(then, now), then, now) / 2
        exact = Decimal(-x).exp() * sum((Decimal(x) ** power / math.factorial(power) for power in range(4)), Decimal(0))
        assert significance == pytest.approx(-float(exact.log10()))
        found.append(significance)

    assert found == sorted(set(found))
    assert found[0] < 307, "a double can hold the share"
    assert 400 < found[-1] < math.inf


def chi_square_of_psi(psi: float, then: NDArray[np.int64], now: NDArray[np.int64]) -> float:
    """Return the chi-square value whose quantile leads to a PSI, by bisection of the limit that the module documents."""
    per_row, pooled = 1 / then.sum() + 1 / now.sum(), (then + now) / (then.sum() + now.sum())
    tail = np.sum((1 - pooled) ** 2 / pooled) / ((len(then) - 1) * (len(then) + 1))
    return brentq(lambda value: value * per_row + tail * (value * per_row) ** 2 - psi, 0.0, psi / per_row, xtol=1e-9)


def test_the_folklore_limit_alone_alarms_in_small_markets_and_the_corrected_limit_does_not() -> None:
    generator = np.random.default_rng(3)
    shares = np.full(10, 0.1)
    pairs = [(generator.multinomial(200, shares), generator.multinomial(200, shares)) for _ in range(2_000)]

    folklore = np.mean([psi_of_counts(*pair) > 0.1 for pair in pairs])
    corrected = np.mean([psi_of_counts(*pair) > critical_psi(*pair, 0.05) for pair in pairs])

    assert folklore > 0.3
    assert corrected <= 0.05


def test_rare_bins_are_merged_until_five_rows_are_expected_and_no_row_is_lost() -> None:
    then, now = np.array([500, 3, 0, 480, 17]), np.array([90, 0, 1, 99, 10])

    merged_then, merged_now = merge_rare_bins(then, now)

    assert list(zip(merged_then.tolist(), merged_now.tolist(), strict=True)) == [(20, 11), (480, 99), (500, 90)]


def test_a_rare_bin_without_another_rare_one_is_merged_with_the_smallest_bin() -> None:
    then, now = merge_rare_bins(np.array([700, 290, 10]), np.array([140, 59, 1]))

    assert (then.tolist(), now.tolist()) == ([300, 700], [60, 140])


def draw_vintages(booked: int, vintages: int, generator: np.random.Generator) -> tuple[BinnedValues, list[WatchedCell]]:
    """Return a calibrated model without any change: the log-odds of its calibration sample, and vintages that it decided.

    The calibration is fitted to a sample of 1,200 customers, as in training. Therefore all its pds are a little wrong.
    """
    sample = generator.normal(-1.0, 0.9, size=1_200)
    bad = generator.random(len(sample)) < expit(sample)
    fitted = LogisticRegression(C=np.inf, solver="newton-cholesky").fit(sample[:, None], bad)
    slope, intercept = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    cells = []
    for _ in range(vintages):
        true = generator.normal(-1.2, 0.6, size=booked)  # persons and policy book the better half
        defaults = generator.random(booked) < expit(true)
        stated = slope * true + intercept
        cell = WatchedCell(("x",))
        cell.decisions = [
            WatchedDecision(
                *(DAY, PolicyOutcome.APPROVE, "A", pd, log_odds, customer),
                is_booked=True,
                default_day=DAY if is_bad else None,
            )
            for customer, (pd, log_odds, is_bad) in enumerate(
                zip(expit(stated).tolist(), stated.tolist(), defaults.tolist(), strict=True)
            )
        ]
        cells.append(cell)
    return bin_values(slope * sample + intercept), cells


def vintage_alarms(booked: int, windows: int, small: Bundle, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Return for each simulated window without a change whether any of its tests is below the rate of one test."""
    found = []
    for _ in range(windows):
        log_odds, cells = draw_vintages(booked, 24, generator)
        assert small.population is not None
        bundle = replace(small, population=small.population.model_copy(update={"log_odds": log_odds}))
        by_key = {("DE", month, "b"): cell for month, cell in zip(MONTHS, cells, strict=True)}
        review = review_vintages(by_key, {"b": bundle}, dt.date(2030, 1, 1), 12, 0.05)
        ps = [p for each in review.vintages for p in (each.level_p, each.order_p) if p is not None]
        assert len(ps) == review.tests == 48
        found.append(min(ps) <= review.rate)
    return np.array(found)


@pytest.mark.parametrize(
    ("booked", "windows"),
    [(200, 40), pytest.param(200, 120, marks=pytest.mark.long), pytest.param(2_000, 40, marks=pytest.mark.long)],
)
def test_a_window_without_a_concept_change_alarms_at_most_at_the_stated_rate(
    small: SmallFamily, booked: int, windows: int
) -> None:
    """The smallest ratio and slope of an alarm are not used here. They make alarms rarer still."""
    found = vintage_alarms(booked, windows, small.bundle(), np.random.default_rng(booked))

    assert np.mean(found) <= binomial_limit(windows, 0.05)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("booked", "vintages"),
    [
        *((50, 400), (2_000, 200)),
        pytest.param(50, 2_000, marks=pytest.mark.long),
        pytest.param(200, 2_000, marks=pytest.mark.long),
        pytest.param(2_000, 1_000, marks=pytest.mark.long),
        pytest.param(20_000, 300, marks=pytest.mark.long),
    ],
)
def test_a_single_test_of_a_vintage_alarms_at_most_at_its_rate(small: SmallFamily, booked: int, vintages: int) -> None:
    """Every vintage has a calibration sample of its own, so that the tests are independent."""
    generator, bundle = np.random.default_rng(booked), small.bundle()
    assert bundle.population is not None
    levels, orders = [], []
    for _ in range(vintages):
        log_odds, (cell,) = draw_vintages(booked, 1, generator)
        own = replace(bundle, population=bundle.population.model_copy(update={"log_odds": log_odds}))
        review = review_vintages({("DE", MONTHS[0], "b"): cell}, {"b": own}, dt.date(2030, 1, 1), 12, 0.05)
        levels.append(review.vintages[0].level_p)
        orders.append(review.vintages[0].order_p)

    for ps in (levels, orders):
        tested = np.array([p for p in ps if p is not None])
        assert len(tested) > 0.98 * vintages, "the order test needs ten expected defaults"
        for rate in RATES:
            assert np.mean(tested <= rate) <= binomial_limit(len(tested), rate), rate


def ginis(bads: NDArray[np.bool_], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Gini of each row of samples from the sum of the ranks of the bads (Mann-Whitney), shape (samples,)."""
    count, ranks = bads.sum(axis=1), rankdata(scores, axis=1)
    above = np.sum(ranks * bads, axis=1) - count * (count + 1) / 2
    return 2.0 * above / (count * (bads.shape[1] - count)) - 1.0


def test_the_expected_gini_is_that_of_many_draws_and_ties_count_one_half() -> None:
    generator = np.random.default_rng(5)
    pds = np.round(generator.beta(2, 6, size=300), 2).clip(0.01, 0.99)
    draws = generator.random((2_000, len(pds))) < pds

    measured = np.mean(ginis(draws, np.broadcast_to(pds, draws.shape)))

    assert expected_gini(pds) == pytest.approx(measured, abs=0.004)


def test_the_gini_and_its_interval_are_those_of_a_second_library_and_of_the_bootstrap() -> None:
    generator = np.random.default_rng(6)
    scores = np.round(generator.normal(size=400), 1)
    labels = (generator.random(400) < expit(scores - 1)).astype(np.int64)
    rows = generator.integers(0, 400, size=(2_000, 400))
    resampled = ginis(labels[rows] == 1, scores[rows])

    found = gini_interval(labels, scores)

    assert found is not None
    assert found.value == pytest.approx(2 * roc_auc_score(labels, scores) - 1)
    assert (found.low, found.high) == pytest.approx(np.quantile(resampled, [0.025, 0.975]), abs=0.02)
