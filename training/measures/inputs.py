"""The inputs of the measures, labels and pds, and their checks."""

import numpy as np
from numpy.typing import NDArray

from training.errors import DataInvalid

# Shape (n,): 1 for a bad outcome, 0 for a good outcome.
Labels = NDArray[np.int64]
# Shape (n,): probabilities of the bad outcome, 0 to 1. Measures of ranking also accept any finite numbers that increase
# with the risk.
Pds = NDArray[np.float64]


def check_matching(labels: Labels, pds: Pds) -> None:
    """Check that labels and pds can be compared.

    Raises:
        DataInvalid: There are no rows, the shapes differ, a label is neither 0 nor 1, or a pd is not finite.
    """
    if np.ndim(labels) != 1 or np.shape(labels) != np.shape(pds):
        raise DataInvalid(
            f"labels have shape {np.shape(labels)} and pds {np.shape(pds)}; both must be (n,): provide one pd per label"
        )
    if not len(labels):
        raise DataInvalid("at least one row is required, got none; add rows")
    if not np.isin(labels, (0, 1)).all():
        raise DataInvalid("labels must be 0 (good) or 1 (bad); correct or remove the other rows")
    if not np.isfinite(pds).all():
        raise DataInvalid("pds must be finite, but at least one is missing or infinite; correct or remove these rows")


def check_both_outcomes(labels: Labels) -> None:
    """Check that both outcomes occur.

    Raises:
        DataInvalid: All labels are equal, so there is no pair to rank.
    """
    bads = int(np.sum(labels))
    if bads in {0, len(labels)}:
        raise DataInvalid(
            f"both outcomes are required, got {bads} bads among {len(labels)} rows; add rows with the other outcome"
        )


def check_probabilities(pds: Pds) -> None:
    """Check that pds are probabilities.

    Raises:
        DataInvalid: A pd lies outside [0, 1].
    """
    if np.min(pds) < 0.0 or np.max(pds) > 1.0:
        raise DataInvalid(
            f"pds must lie in [0, 1], got {np.min(pds):.4g} to {np.max(pds):.4g}; provide probabilities, not scores"
        )
