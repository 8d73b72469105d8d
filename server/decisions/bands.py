"""Risk bands: by threshold, and with hysteresis, so that a customer near a threshold does not change band every run."""

import numpy as np
from numpy.typing import NDArray


def threshold_bands(pd: NDArray[np.float64], max_pds: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the first band whose largest pd is not below the customer's; the last one if there is none.

    Args:
        pd: Shape (n,), 0 to 1.
        max_pds: Shape (bands,), ascending.
    """
    return np.searchsorted(max_pds[:-1], pd, side="left").astype(np.int64)


def hysteresis_bands(
    log_odds: NDArray[np.float64],
    plain: NDArray[np.int64],
    previous: NDArray[np.int64],
    max_pds: NDArray[np.float64],
    margin: float,
) -> NDArray[np.int64]:
    """Return the bands with hysteresis.

    A customer leaves the band of the previous run only if the log-odds are beyond that band's bound by more than the
    margin, and then moves to the band by threshold.

    Args:
        log_odds: Shape (n,).
        plain: Shape (n,), the bands by threshold.
        previous: Shape (n,), the bands of the previous run; -1 if the customer had none.
        max_pds: Shape (bands,), ascending.
        margin: In log-odds, 0 or more.
    """
    # Bounds in log-odds: logit(p) = log(p) - log1p(-p). The last band has no upper bound and the first no lower one.
    with np.errstate(divide="ignore"):
        inner = np.log(max_pds[:-1]) - np.log1p(-max_pds[:-1])
    upper, lower = np.append(inner, np.inf), np.insert(inner, 0, -np.inf)
    known = previous >= 0
    at = np.where(known, previous, 0)
    stays = known & (log_odds <= upper[at] + margin) & (log_odds >= lower[at] - margin)
    return np.where(stays, previous, plain)
