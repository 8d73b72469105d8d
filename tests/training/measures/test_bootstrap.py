"""Bootstrap intervals equal those of scikit-learn and of the slow path, and 95 % of them contain the true value."""

import time

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from training.errors import DataInvalid
from training.measures.bootstrap import (
    Resampling,
    auc_difference_interval,
    auc_interval,
    bootstrap_difference_interval,
    bootstrap_interval,
)
from training.measures.calibration import brier_score
from training.measures.discrimination import auc

Rows = tuple[NDArray[np.int64], NDArray[np.float64]]


def make_sample(count: int, seed: int, shift: float = 1.0) -> Rows:
    """Return generated rows whose true AUC is Phi(shift / sqrt 2); a quarter of the rows are bad."""
    generator = np.random.default_rng(seed)
    labels = (np.arange(count) % 4 == 0).astype(np.int64)
    return labels, generator.normal(size=count) + shift * labels


def test_the_fast_path_equals_the_slow_one_with_ties_and_several_rows_per_customer() -> None:
    labels, risks = make_sample(300, 1)
    risks = np.round(risks, 1)
    customers = np.random.default_rng(2).integers(0, 90, size=300).astype(str)
    other = np.round(risks + np.random.default_rng(3).normal(size=300), 1)
    drawing = Resampling(seed=4, draws=60)

    slow = bootstrap_interval(lambda drawn, pds: float(roc_auc_score(drawn, pds)), labels, risks, customers, drawing)
    fast = auc_interval(labels, risks, customers, drawing)
    slow_gap = bootstrap_difference_interval(auc, labels, (risks, other), customers, drawing)
    fast_gap = auc_difference_interval(labels, (risks, other), customers, drawing)

    assert (fast.estimate, fast.low, fast.high) == pytest.approx((slow.estimate, slow.low, slow.high), abs=1e-12)
    assert (fast_gap.estimate, fast_gap.low, fast_gap.high) == pytest.approx(
        (slow_gap.estimate, slow_gap.low, slow_gap.high), abs=1e-12
    )


def test_four_copies_of_all_rows_of_the_same_customers_do_not_narrow_the_interval() -> None:
    labels, risks = make_sample(200, 5)
    customers = np.arange(200)

    once = auc_interval(labels, risks, customers, Resampling(seed=6))
    repeated = auc_interval(np.tile(labels, 4), np.tile(risks, 4), np.tile(customers, 4), Resampling(seed=6))
    as_if_strangers = auc_interval(np.tile(labels, 4), np.tile(risks, 4), np.arange(800), Resampling(seed=6))

    assert (repeated.low, repeated.high) == pytest.approx((once.low, once.high), abs=1e-12)
    assert as_if_strangers.high - as_if_strangers.low < 0.6 * (once.high - once.low)


def test_the_interval_covers_the_true_auc_in_about_95_percent_of_samples() -> None:
    truth = norm.cdf(1 / np.sqrt(2))

    found = [auc_interval(*make_sample(200, seed), np.arange(200), Resampling(seed, draws=200)) for seed in range(100)]

    covered = sum(one.low <= truth <= one.high for one in found)
    assert 88 <= covered <= 100  # 95 of 100 are expected, within three standard errors


def test_the_interval_of_a_difference_is_narrower_than_the_intervals_of_both_models() -> None:
    labels, risks = make_sample(400, 7)
    better = risks + 0.2 * labels
    customers = np.arange(400)

    alone = auc_interval(labels, risks, customers, Resampling(seed=8))
    gap = auc_difference_interval(labels, (risks, better), customers, Resampling(seed=8))

    assert 0 < gap.low < gap.estimate < gap.high
    assert gap.high - gap.low < (alone.high - alone.low) / 2


def test_the_interval_of_any_statistic_is_reproduced_by_its_seed() -> None:
    labels, risks = make_sample(300, 9)
    pds = norm.cdf(risks - 1)
    customers = np.arange(300)

    found = bootstrap_interval(brier_score, labels, pds, customers, Resampling(seed=10, draws=200))

    assert found.low < found.estimate < found.high
    assert found == bootstrap_interval(brier_score, labels, pds, customers, Resampling(seed=10, draws=200))
    assert found != bootstrap_interval(brier_score, labels, pds, customers, Resampling(seed=11, draws=200))


def test_the_interval_of_a_mean_equals_that_of_the_normal_distribution() -> None:
    labels, risks = make_sample(1000, 12)

    found = bootstrap_interval(
        lambda drawn, _: float(drawn.mean()), labels, risks, np.arange(1000), Resampling(seed=13)
    )

    half = 1.96 * np.sqrt(0.25 * 0.75 / 1000)
    assert (found.low, found.high) == pytest.approx((0.25 - half, 0.25 + half), abs=0.004)


def test_a_thousand_draws_over_six_thousand_rows_take_seconds() -> None:
    labels, risks = make_sample(6000, 14)
    start = time.process_time()

    auc_interval(labels, risks, np.arange(6000), Resampling(seed=15))

    assert time.process_time() - start < 5


def test_draws_without_a_single_bad_are_left_out_and_counted() -> None:
    labels, risks = np.zeros(40, dtype=np.int64), np.arange(40.0)
    labels[[10, 20, 30, 35]] = 1

    found = auc_interval(labels, risks, np.arange(40), Resampling(seed=16))

    assert 0 < found.undefined_draws < 50
    assert found.draws == 1000 - found.undefined_draws


def test_too_few_bads_one_customer_no_draws_and_other_shapes_are_rejected() -> None:
    labels, risks = np.array([1, *[0] * 19]), np.arange(20.0)

    with pytest.raises(DataInvalid, match="undefined in 357 of 1000 draws"):
        auc_interval(labels, risks, np.arange(20), Resampling(seed=17))
    with pytest.raises(DataInvalid, match="at least two customers"):
        auc_interval(labels, risks, np.zeros(20), Resampling(seed=17))
    with pytest.raises(DataInvalid, match="at least 1 draw"):
        Resampling(seed=17, draws=0)
    with pytest.raises(DataInvalid, match="customers have shape"):
        auc_interval(labels, risks, np.arange(19), Resampling(seed=17))
    with pytest.raises(DataInvalid, match="shape"):
        auc_difference_interval(labels, (risks, risks[:5]), np.arange(20), Resampling(seed=17))
