"""Contributions of a sample of the hold-out, for plots of what drives the model.

No real person is in a report. Every value is replaced by the representative of its threshold interval, as in the
baseline, which leaves every decision and every contribution unchanged.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.export.representatives import representative_rows, thresholds_by_feature
from training.validation.scored_sample import CandidateModel

_ROWS_MAX = 400


@dataclass(frozen=True, slots=True, eq=False)
class ContributionSample:
    """Rows with their contributions from explain.onnx, scaled to log-odds of the bad outcome after calibration.

    Attributes:
        rows: Shape (n, features); representatives, NaN where missing.
        contributions: Shape (n, features); a positive contribution raises the risk.
        base_value: Log-odds that the contributions are relative to.
        thresholds: For each feature the thresholds of the model, ascending.
    """

    rows: NDArray[np.float64]
    contributions: NDArray[np.float64]
    base_value: float
    thresholds: tuple[NDArray[np.float64], ...]

    def mean_magnitudes(self) -> NDArray[np.float64]:
        """Return the mean absolute contribution of each feature, shape (features,)."""
        means: NDArray[np.float64] = np.abs(self.contributions).mean(axis=0)
        return means

    def features_by_importance(self) -> list[int]:
        """Return the column indices by descending mean absolute contribution; equal ones stay in schema order."""
        order: list[int] = np.argsort(-self.mean_magnitudes(), kind="stable").tolist()
        return order


def sample_contributions(model: CandidateModel, rows: NDArray[np.float64]) -> ContributionSample:
    """Explain up to 400 of the rows, of shape (n, features), which are drawn with a fixed seed."""
    chosen = rows[np.sort(np.random.default_rng(0).permutation(len(rows))[:_ROWS_MAX])]
    representatives = representative_rows(model.ensemble, chosen)
    slope, intercept = model.card.slope, model.card.intercept
    return ContributionSample(
        rows=representatives,
        contributions=slope * model.scorer.contributions(representatives),
        base_value=slope * model.base_margin + intercept,
        thresholds=tuple(thresholds_by_feature(model.ensemble)),
    )
