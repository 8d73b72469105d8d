"""Labels and the risks beside them, checked before anything is measured on them."""

import numpy as np
from numpy.typing import NDArray

from training.errors import DataInvalid

# 1 where the outcome was bad, 0 where it was good; shape (n,).
Labels = NDArray[np.int64]
# Probabilities of the bad outcome, 0 to 1; shape (n,). Where only the ranking matters, any finite number
# that grows with the risk will do.
Pds = NDArray[np.float64]


def check_matching(labels: Labels, pds: Pds) -> None:
    """Refuse labels and risks that cannot be measured together.

    Raises:
        DataInvalid: No rows, different lengths, a label that is neither 0 nor 1, or a risk that is not finite.
    """
    if np.ndim(labels) != 1 or np.shape(labels) != np.shape(pds):
        raise DataInvalid(f"labels have shape {np.shape(labels)} and pds {np.shape(pds)}; both must be (n,)")
    if not len(labels):
        raise DataInvalid("no rows to measure on")
    if not np.isin(labels, (0, 1)).all():
        raise DataInvalid("a label is neither 0 (good) nor 1 (bad)")
    if not np.isfinite(pds).all():
        raise DataInvalid("a pd is missing or infinite")


def check_both_outcomes(labels: Labels) -> None:
    """Refuse labels that are all the same.

    Raises:
        DataInvalid: All are bad, or all are good: there is no pair to rank.
    """
    bads = int(np.sum(labels))
    if bads in {0, len(labels)}:
        raise DataInvalid(f"{bads} bads among {len(labels)} rows; both outcomes are needed")


def check_probabilities(pds: Pds) -> None:
    """Refuse risks that are not probabilities.

    Raises:
        DataInvalid: One lies outside [0, 1].
    """
    if np.min(pds) < 0.0 or np.max(pds) > 1.0:
        raise DataInvalid(f"pds from {np.min(pds):.4g} to {np.max(pds):.4g}; probabilities lie in [0, 1]")
