"""A calibration that cannot be fitted is rejected with its cause, and each cause has its own way out."""

import numpy as np
import pytest

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
        (-MARGINS, OUTCOMES, r"does not rank the calibration part better than chance \(AUC 0\.[0-4]"),
    ],
)
def test_each_cause_of_a_failed_calibration_is_told_apart(margins: np.ndarray, labels: np.ndarray, cause: str) -> None:
    with pytest.raises(ModelRejected, match=cause):
        fit_calibration(margins, labels)


def test_a_model_that_ranks_gets_a_slope_above_0() -> None:
    slope, _ = fit_calibration(MARGINS, OUTCOMES)

    assert slope > 0.5
