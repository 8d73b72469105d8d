"""A calibration that cannot be fitted is rejected with its cause, and each cause has its own way out."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from training.errors import ModelRejected
from training.fitting.calibration import fit_calibration

RANDOM = np.random.default_rng(0)
MARGINS = RANDOM.normal(size=400)
OUTCOMES = (MARGINS + RANDOM.logistic(size=400) > 0).astype(np.int64)


@pytest.mark.parametrize(
    ("margins", "labels", "cause"),
    [
        (MARGINS, np.zeros(400, dtype=np.int64), "has no bad row, got 0 bad and 400 good rows; use a larger"),
        (np.full(400, 0.3), OUTCOMES, "gives every row of the calibration part the same margin"),
        (
            MARGINS,
            (MARGINS > 0).astype(np.int64),
            "ranks the calibration part perfectly.*probably contains the outcome",
        ),
        (MARGINS[:8], (MARGINS[:8] > 0).astype(np.int64), "perfectly.*use a calibration part with at least 30 rows"),
        (-MARGINS[:40], OUTCOMES[:40], r"good rows are too few to calibrate a model.*at least 30 rows of each outcome"),
        (
            1e9 * MARGINS,
            OUTCOMES,
            r"did not converge in 50 steps \(AUC 0\.[6-9].*have another scale than log-odds; fit the",
        ),
        (-MARGINS, OUTCOMES, r"does not rank the calibration part better than chance \(AUC 0\.[0-4]"),
    ],
)
def test_each_cause_of_a_failed_calibration_is_told_apart(margins: np.ndarray, labels: np.ndarray, cause: str) -> None:
    with pytest.raises(ModelRejected, match=cause):
        fit_calibration(margins, labels)


def test_a_model_that_ranks_gets_a_slope_above_0() -> None:
    slope, _ = fit_calibration(MARGINS, OUTCOMES)

    assert slope > 0.5


@pytest.mark.parametrize("scale", [1.0, 8.0, 40.0, 200.0])
def test_margins_that_are_far_too_extreme_are_calibrated_as_by_logistic_regression(scale: float) -> None:
    reference = LogisticRegression(C=1e12, tol=1e-10, max_iter=10_000).fit(MARGINS[:, None], OUTCOMES)

    slope, intercept = fit_calibration(scale * MARGINS, OUTCOMES)

    assert slope * scale == pytest.approx(reference.coef_[0, 0], rel=1e-5)
    assert intercept == pytest.approx(reference.intercept_[0], abs=1e-5)
