"""Intervals of rows of the same customer, and the detectable difference, keep their rates in simulations."""

import numpy as np
import pytest
from scipy.stats import binom, norm

from training.errors import DataInvalid
from training.measures.proportions import clustered_proportion, detectable_difference, proportion, proportion_difference

SIMULATIONS = 1000


def test_with_one_row_per_customer_the_interval_is_wilsons() -> None:
    hits = np.arange(50) < 9

    assert clustered_proportion(hits, np.arange(50).astype(np.str_)) == proportion(9, 50)


def test_repeated_rows_of_a_customer_add_no_evidence() -> None:
    """Each of 400 customers has the same row five times. Only the factor 400 / 399 of the variance is left of them."""
    hits, customers = np.arange(400) < 60, np.arange(400).astype(np.str_)

    found = clustered_proportion(np.tile(hits, 5), np.tile(customers, 5))

    once = proportion(60, 400)
    assert (found.value, found.low, found.high) == pytest.approx((once.value, once.low, once.high), abs=2e-4)


def test_customers_who_all_left_or_all_stayed_count_once() -> None:
    customers = np.repeat(["a", "b", "c"], 4)

    for hits, count in ((np.zeros(12, dtype=np.bool_), 0), (np.ones(12, dtype=np.bool_), 3)):
        assert clustered_proportion(hits, customers) == proportion(count, 3)


def test_no_rows_are_refused() -> None:
    with pytest.raises(DataInvalid, match="at least 1 row"):
        clustered_proportion(np.zeros(0, dtype=np.bool_), np.zeros(0, dtype=np.str_))


def test_clustered_intervals_cover_the_truth_where_independent_ones_do_not() -> None:
    """Each of 150 customers has up to 6 rows and a rate of its own, from a beta distribution with mean 0.2."""
    generator = np.random.default_rng(0)
    clustered, independent = 0, 0
    for _ in range(SIMULATIONS):
        sizes = generator.integers(1, 7, 150)
        owners = np.repeat(np.arange(150), sizes)
        hits = generator.random(len(owners)) < generator.beta(0.4, 1.6, 150)[owners]
        found, naive = clustered_proportion(hits, owners.astype(np.str_)), proportion(int(hits.sum()), len(hits))
        clustered += found.low <= 0.2 <= found.high
        independent += naive.low <= 0.2 <= naive.high

    assert clustered >= binom.ppf(0.001, SIMULATIONS, 0.95)
    assert independent < 0.85 * SIMULATIONS  # the check can fail: independent rows would claim too much


def test_a_detectable_difference_is_found_in_about_80_of_100_campaigns() -> None:
    generator = np.random.default_rng(0)
    first, second, rate = 300, 2700, 0.2
    effect = detectable_difference(rate, first, second)
    # Each group has the rate in the mean of both, as the formula assumes one rate.
    churned = generator.binomial([first, second], [rate + effect / 2, rate - effect / 2], size=(SIMULATIONS, 2))

    found = [proportion_difference(proportion(int(a), first), proportion(int(b), second)) for a, b in churned]

    assert effect == pytest.approx((norm.ppf(0.975) + norm.ppf(0.8)) * 0.4 * (1 / 300 + 1 / 2700) ** 0.5, rel=1e-3)
    # The variance differs a little between the groups, so the share of 80 % is approximate.
    assert 0.75 <= np.mean([one.low > 0.0 for one in found]) <= 0.85
