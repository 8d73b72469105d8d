"""Calibration measures equal scikit-learn, published examples, simulations, and values computed by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from training.errors import DataInvalid
from training.measures.calibration import (
    brier_decomposition,
    brier_score,
    calibration_in_the_large,
    ece_noise_floor,
    expected_calibration_error,
    hosmer_lemeshow_test,
    recalibration,
)
from training.measures.quality import measure_quality

GENERATOR = np.random.default_rng(0)
PDS = GENERATOR.beta(1.5, 5, size=2000)
LABELS = (GENERATOR.random(2000) < PDS).astype(np.int64)
LOG_ODDS = np.log(PDS / (1 - PDS))


def test_calibration_in_the_large_is_mean_pd_against_bad_rate() -> None:
    found = calibration_in_the_large(np.array([1, 0, 0, 0]), np.array([0.5, 0.5, 0.5, 0.5]))

    assert (found.mean_pd, found.bad_rate, found.difference) == (0.5, 0.25, 0.25)
    assert found.z == pytest.approx(-1.0)  # one bad instead of the expected two, divided by sqrt(4 * 0.25)
    assert abs(calibration_in_the_large(LABELS, PDS).z) < 3


def test_slope_and_intercept_equal_those_of_an_unpenalised_logistic_regression() -> None:
    fitted = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(LOG_ODDS.reshape(-1, 1), LABELS)

    found = recalibration(LABELS, PDS)

    assert found.slope == pytest.approx(float(fitted.coef_[0, 0]), abs=1e-5)
    assert found.intercept == pytest.approx(float(fitted.intercept_[0]), abs=1e-5)


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (2.0, -1.0), (0.4, 0.7), (-1.0, 0.0)])
def test_recalibration_undoes_a_known_distortion_of_the_log_odds(slope: float, intercept: float) -> None:
    right = recalibration(LABELS, PDS)

    bent = recalibration(LABELS, 1 / (1 + np.exp(-(LOG_ODDS - intercept) / slope)))

    assert bent.slope == pytest.approx(right.slope * slope, abs=1e-6)
    assert bent.intercept == pytest.approx(right.intercept + right.slope * intercept, abs=1e-6)


def test_recalibration_rejects_pds_of_0_or_1_equal_pds_and_complete_separation() -> None:
    labels = np.array([0, 0, 1, 1])

    with pytest.raises(DataInvalid, match="strictly between 0 and 1"):
        recalibration(labels, np.array([0.0, 0.1, 0.2, 0.3]))
    with pytest.raises(DataInvalid, match="all pds are equal"):
        recalibration(labels, np.full(4, 0.5))
    with pytest.raises(DataInvalid, match="separate good and bad"):
        recalibration(labels, np.array([0.1, 0.2, 0.6, 0.7]))


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), min_size=1, max_size=40),
    st.integers(1, 12),
)
def test_the_components_of_the_brier_score_add_up_to_the_score(rows: list[tuple[int, float]], bins: int) -> None:
    labels, pds = np.array([label for label, _ in rows]), np.array([pd for _, pd in rows])

    parts = brier_decomposition(labels, pds, bins)

    assert parts.brier == pytest.approx(float(np.mean((pds - labels) ** 2)), abs=1e-12)
    assert parts.reliability - parts.resolution + parts.uncertainty + parts.within_bins == pytest.approx(
        parts.brier, abs=1e-12
    )


def test_the_components_of_a_forecast_with_two_values_equal_those_computed_by_hand() -> None:
    # Four rows have the pd 0.25 and one bad; four rows have the pd 0.75 and two bads.
    labels, pds = np.array([1, 0, 0, 0, 1, 1, 0, 0]), np.repeat([0.25, 0.75], 4)

    parts = brier_decomposition(labels, pds, bins=2)

    assert parts.reliability == pytest.approx(0.5 * (0.75 - 0.5) ** 2)
    assert parts.resolution == pytest.approx((0.25 - 0.375) ** 2)
    assert parts.uncertainty == pytest.approx(0.375 * 0.625)
    assert parts.within_bins == pytest.approx(0.0)
    assert brier_score(LABELS, PDS) == pytest.approx(brier_score_loss(LABELS, PDS))


def test_the_ece_over_ten_bins_equals_the_one_computed_bin_by_bin() -> None:
    pairs = sorted(zip(PDS.tolist(), LABELS.tolist(), strict=True))
    bins = [pairs[start : start + 200] for start in range(0, 2000, 200)]

    by_hand = sum(abs(sum(pd for pd, _ in rows) - sum(bad for _, bad in rows)) / 2000 for rows in bins)

    assert expected_calibration_error(LABELS, PDS) == pytest.approx(by_hand, abs=1e-12)
    assert measure_quality(LABELS, PDS).ece == expected_calibration_error(LABELS, PDS)


def test_correct_pds_stay_within_the_noise_floor_and_wrong_pds_do_not() -> None:
    floor = ece_noise_floor(PDS, seed=1, draws=300)
    fresh = [
        expected_calibration_error((np.random.default_rng(seed).random(2000) < PDS).astype(np.int64), PDS)
        for seed in range(300)
    ]

    assert floor.mean == pytest.approx(float(np.mean(fresh)), rel=0.05)
    assert np.mean(np.array(fresh) <= floor.quantile_95) == pytest.approx(0.95, abs=0.04)
    assert expected_calibration_error(LABELS, PDS * 0.7) > 2 * floor.quantile_95
    assert floor == ece_noise_floor(PDS, seed=1, draws=300)


def test_the_hosmer_lemeshow_statistic_equals_the_sum_over_groups_computed_by_hand() -> None:
    # Three groups of four rows have the pds 0.25, 0.5 and 0.75, and 1, 1 and 4 bads. The statistic is therefore
    # 0 + (1-2)^2/1 + (4-3)^2/0.75.
    labels = np.array([1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1, 1])

    found = hosmer_lemeshow_test(labels, np.repeat([0.25, 0.5, 0.75], 4), groups=3)

    assert found.statistic == pytest.approx(1 + 1 / 0.75)
    assert found.degrees_of_freedom == 3
    # With 4 degrees of freedom, a chi-square variable exceeds x with the probability exp(-x / 2) (1 + x / 2).
    four = hosmer_lemeshow_test(np.tile(labels, 2)[:16], np.repeat([0.25, 0.5, 0.75, 0.75], 4), 4)
    assert four.p_value == pytest.approx(np.exp(-four.statistic / 2) * (1 + four.statistic / 2))


def test_hosmer_lemeshow_rejects_correct_pds_in_about_5_percent_of_samples_and_wrong_pds_nearly_always() -> None:
    draws = np.random.default_rng(2)
    samples = [(draws.random(2000) < PDS).astype(np.int64) for _ in range(300)]

    rejected = np.mean([hosmer_lemeshow_test(sample, PDS, 10).p_value < 0.05 for sample in samples])
    found = np.mean([hosmer_lemeshow_test(sample, PDS * 0.7, 10).p_value < 0.05 for sample in samples])

    assert 0.02 <= rejected <= 0.085
    assert found > 0.99


def test_pds_outside_0_to_1_and_0_bins_are_rejected() -> None:
    with pytest.raises(DataInvalid, match=r"lie in \[0, 1\]"):
        brier_score(np.array([0, 1]), np.array([0.1, 1.2]))
    with pytest.raises(DataInvalid, match="bins must be at least 1, got 0"):
        brier_decomposition(LABELS, PDS, 0)
    with pytest.raises(DataInvalid, match="groups"):
        hosmer_lemeshow_test(LABELS, PDS, 2)
    with pytest.raises(DataInvalid, match="strictly between 0 and 1"):
        hosmer_lemeshow_test(np.array([0, 0, 1, 1]), np.array([0.0, 0.0, 0.5, 0.5]), 3)
    with pytest.raises(DataInvalid, match="outcomes differ"):
        calibration_in_the_large(np.array([1, 1]), np.array([0.0, 1.0]))
    with pytest.raises(DataInvalid, match="draws must be at least 1"):
        ece_noise_floor(PDS, seed=0, draws=0)
