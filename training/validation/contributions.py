"""The exported explanations of some rows of the hold-out, for plots of what drives the model.

No person is in a report: every value is the representative of its threshold interval, as in the baseline, which leaves
every decision and so every contribution as it is.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.export.representatives import representative_rows, thresholds_by_feature
from training.validation.scored_sample import CandidateModel

ROWS = 400


@dataclass(frozen=True, slots=True, eq=False)
class ContributionSample:
    """Contributions to the log-odds of the bad outcome, after calibration, as explain.onnx gives them.

    Attributes:
        rows: Shape (n, features); representatives, NaN where missing.
        contributions: Shape (n, features); above 0 pushes toward risk.
        base_value: Log-odds that they are counted from.
        thresholds: Where the model asks about each feature, ascending: all that it can tell apart.
    """

    rows: NDArray[np.float64]
    contributions: NDArray[np.float64]
    base_value: float
    thresholds: tuple[NDArray[np.float64], ...]

    def mean_magnitudes(self) -> NDArray[np.float64]:
        """Give the mean absolute contribution of every feature: shape (features,)."""
        found: NDArray[np.float64] = np.abs(self.contributions).mean(axis=0)
        return found

    def features_by_importance(self) -> list[int]:
        """Give the places of the features, the most important first; equal ones in the order of the schema."""
        found: list[int] = np.argsort(-self.mean_magnitudes(), kind="stable").tolist()
        return found


def sample_contributions(exported: CandidateModel, rows: NDArray[np.float64]) -> ContributionSample:
    """Explain up to 400 rows, drawn with a fixed seed."""
    chosen = rows[np.sort(np.random.default_rng(0).permutation(len(rows))[:ROWS])]
    frozen = representative_rows(exported.ensemble, chosen)
    slope, intercept = exported.card.slope, exported.card.intercept
    base_value = slope * exported.base_margin + intercept
    thresholds = tuple(thresholds_by_feature(exported.ensemble))
    return ContributionSample(frozen, slope * exported.scorer.contributions(frozen), base_value, thresholds)
