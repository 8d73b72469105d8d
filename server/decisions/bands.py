"""Assigns customers to risk bands by thresholds on the pd, with or without hysteresis.

With hysteresis, a customer whose pd varies around a threshold does not change band in every run.
"""

import numpy as np
from numpy.typing import NDArray


def threshold_bands(pd: NDArray[np.float64], max_pds: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the index of each customer's band.

    A customer belongs to the first band whose largest pd is at least the customer's pd, or to the last band if there is
    no such band.

    Args:
        pd: Probabilities of the customers, shape (n,), 0 to 1.
        max_pds: Largest pd of each band, shape (bands,), ascending.
    """
    return np.searchsorted(max_pds[:-1], pd, side="left").astype(np.int64)


def hysteresis_bands(
    log_odds: NDArray[np.float64],
    plain: NDArray[np.int64],
    previous: NDArray[np.int64],
    max_pds: NDArray[np.float64],
    margin: float,
) -> NDArray[np.int64]:
    """Return the index of each customer's band, with hysteresis.

    A customer leaves the band of the previous run only if the log-odds are beyond the bound of that band by more than the
    margin. A customer who leaves the band, or who had no band in the previous run, gets the band by threshold.

    Args:
        log_odds: Log-odds of the customers, shape (n,).
        plain: Indexes of the bands by threshold, from `threshold_bands`, shape (n,).
        previous: Indexes of the bands in the previous run, shape (n,); -1 for a customer who had no band.
        max_pds: Largest pd of each band, shape (bands,), ascending.
        margin: Hysteresis margin in log-odds, 0 or more.
    """
    # Bounds in log-odds: logit(p) = log(p) - log1p(-p). The last band has no upper bound, and the first has no lower bound.
    with np.errstate(divide="ignore"):
        inner = np.log(max_pds[:-1]) - np.log1p(-max_pds[:-1])
    upper, lower = np.append(inner, np.inf), np.insert(inner, 0, -np.inf)
    known = previous >= 0
    at = np.where(known, previous, 0)
    stays = known & (log_odds <= upper[at] + margin) & (log_odds >= lower[at] - margin)
    return np.where(stays, previous, plain)
