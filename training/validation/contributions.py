"""Contributions of a sample of the hold-out, for the plots that show which features affect the score.

A report must not contain the data of a real person. Therefore every value is replaced by a representative
value of the same interval between thresholds of the model, as in the bundle's baseline. This changes neither the scores nor the contributions.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.export.representatives import representative_rows, thresholds_by_feature
from training.validation.scored_sample import CandidateModel

_ROWS_MAX = 400


@dataclass(frozen=True, slots=True, eq=False)
class ContributionSample:
    """Rows with their contributions from explain.onnx, in log-odds of the bad outcome after calibration.

    Attributes:
        rows: Shape (n, features); representatives of the real values, NaN where missing.
        contributions: Shape (n, features); a positive contribution raises the risk.
        base_value: Log-odds to which the contributions of a row are added to obtain the log-odds of the row.
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
        """Return the column indices by descending mean absolute contribution; columns with equal means stay in schema order."""
        order: list[int] = np.argsort(-self.mean_magnitudes(), kind="stable").tolist()
        return order


def sample_contributions(model: CandidateModel, rows: NDArray[np.float64]) -> ContributionSample:
    """Return the contributions of up to 400 rows, drawn with a fixed seed from `rows` of shape (n, features)."""
    chosen = rows[np.sort(np.random.default_rng(0).permutation(len(rows))[:_ROWS_MAX])]
    representatives = representative_rows(model.ensemble, chosen)
    slope, intercept = model.card.slope, model.card.intercept
    return ContributionSample(
        rows=representatives,
        contributions=slope * model.scorer.contributions(representatives),
        base_value=slope * model.base_margin + intercept,
        thresholds=tuple(thresholds_by_feature(model.ensemble)),
    )
