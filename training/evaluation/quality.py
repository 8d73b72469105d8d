"""The main figures of one set of probabilities against the outcomes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.measures.calibration import brier_score, expected_calibration_error
from training.measures.discrimination import auc, ks


@dataclass(frozen=True, slots=True)
class Quality:
    """The main figures of a model on n rows. The field names are parts of the names in metrics.json.

    Attributes:
        gini: 2 * auc - 1.
        ks: Largest distance between the score distributions of bad and good rows.
        brier: Mean squared error of the probabilities.
        ece: Mean distance between mean probability and bad rate over ten equal-mass bins.
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
    """Return the main figures of the pds (shape (n,)) against the labels (shape (n,)); ties in rank count one half.

    Raises:
        DataInvalid: The rows have only one outcome.
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
