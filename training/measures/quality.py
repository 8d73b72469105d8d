"""The main figures of one set of probabilities against the outcomes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.measures.calibration import brier_score, expected_calibration_error
from training.measures.discrimination import auc, ks


@dataclass(frozen=True, slots=True)
class Quality:
    """The main figures of a model on a set of rows. The names in metrics.json contain the names of these fields.

    Attributes:
        rows: Number of rows.
        bads: Number of rows with a bad outcome.
        auc: Area under the ROC curve, from 0 to 1.
        gini: Gini coefficient, 2 * auc - 1.
        ks: Largest distance between the cumulative score distributions of bad rows and good rows, from 0 to 1.
        brier: Mean squared error of the probabilities.
        ece: Expected calibration error: mean absolute difference between the mean probability and the bad rate, over ten
            bins with equal numbers of rows.
        mean_pd: Mean of the probabilities.
        bad_rate: Share of rows with a bad outcome.
    """

    rows: int
    bads: int
    auc: float
    gini: float
    ks: float
    brier: float
    ece: float
    mean_pd: float
    bad_rate: float


def measure_quality(labels: NDArray[np.int64], pds: NDArray[np.float64]) -> Quality:
    """Return the main figures of the pds against the labels; tied pairs count one half in the AUC.

    Args:
        labels: Labels, shape (n,): 1 where the outcome was bad, otherwise 0.
        pds: Probabilities from 0 to 1, shape (n,).

    Raises:
        DataInvalid: All rows have the same outcome.
    """
    ranked = auc(labels, pds)
    return Quality(
        rows=len(labels),
        bads=int(labels.sum()),
        auc=ranked,
        gini=2 * ranked - 1,
        ks=ks(labels, pds),
        brier=brier_score(labels, pds),
        ece=expected_calibration_error(labels, pds),
        mean_pd=float(pds.mean()),
        bad_rate=float(labels.mean()),
    )
