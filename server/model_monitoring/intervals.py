"""Intervals of shares, and the AUC with its standard error."""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, rankdata

_CONFIDENCE = 0.95
_Z = NormalDist().inv_cdf(0.5 + _CONFIDENCE / 2)


@dataclass(frozen=True, slots=True)
class FigureInterval:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


def share_interval(hits: int, rows: int) -> FigureInterval:
    """Return hits / rows with the Jeffreys interval: quantiles of Beta(hits + 1/2, rows - hits + 1/2).

    Args:
        hits: Number of hits, 0 to rows.
        rows: Number of rows, at least 1.
    """
    tail, first, second = (1 - _CONFIDENCE) / 2, hits + 0.5, rows - hits + 0.5
    low = 0.0 if hits == 0 else float(beta.ppf(tail, first, second))
    high = 1.0 if hits == rows else float(beta.isf(tail, first, second))
    return FigureInterval(hits / rows, low, high)


def normal_interval(value: float, error: float, lowest: float, highest: float) -> FigureInterval:
    """Return a figure with the interval that follows from its standard error, cut to the possible range."""
    return FigureInterval(value, max(lowest, value - _Z * error), min(highest, value + _Z * error))


def gini_interval(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> FigureInterval | None:
    """Return the Gini with its interval by DeLong et al. 1988; None with less than two rows of either outcome.

    Args:
        labels: Shape (n,), 1 for a default and 0 for none.
        scores: Shape (n,), higher is riskier.
    """
    bads, goods = scores[labels == 1], scores[labels == 0]
    if min(len(bads), len(goods)) < 2:  # noqa: PLR2004 - a variance needs two
        return None
    together = rankdata(np.concatenate([bads, goods]))
    # The share of goods that a bad outranks, for each bad; and the share of bads that outrank a good, for each good.
    above = (together[: len(bads)] - rankdata(bads)) / len(goods)
    below = 1.0 - (together[len(bads) :] - rankdata(goods)) / len(bads)
    error = float(np.sqrt(np.var(above, ddof=1) / len(bads) + np.var(below, ddof=1) / len(goods)))
    return normal_interval(2.0 * float(np.mean(above)) - 1.0, 2.0 * error, -1.0, 1.0)


def expected_gini(pds: NDArray[np.float64]) -> float | None:
    """Return the Gini that follows from the pds alone if each is the true probability; None if it is undefined.

    The AUC is the share of pairs of a default and a good row in which the default has the higher pd, each pair of rows
    weighted by the probability that the first defaults and the second does not (CBPE).

    Args:
        pds: Shape (n,), in [0, 1].
    """
    ordered = np.sort(pds)
    different, start = np.unique(ordered, return_index=True)
    bads, goods = np.add.reduceat(ordered, start), np.add.reduceat(1.0 - ordered, start)
    before = np.concatenate([[0.0], np.cumsum(goods)[:-1]])
    # Rows with equal pds count one half; a row is no pair with itself.
    itself = np.add.reduceat(ordered * (1.0 - ordered), start)
    pairs = float(np.sum(bads) * np.sum(goods) - np.sum(itself))
    if pairs <= 0.0 or not len(different):
        return None
    won = float(np.sum(bads * before) + np.sum(bads * goods - itself) / 2.0)
    return 2.0 * won / pairs - 1.0
