"""Bootstrap intervals of any statistic, and of its difference between two models on the same rows.

The rows of one customer are not independent. Therefore a draw consists of whole customers with all their rows (the
cluster bootstrap: Davison and Hinkley 1997, section 3.8; Field and Welsh 2007). The ends of an interval are percentiles
of the draws (Efron 1979). Two models are compared on the same draws, so noise that they share cancels out in the
difference.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.errors import DataInvalid
from training.measures.discrimination import auc
from training.measures.inputs import Labels, Pds, check_matching

Statistic = Callable[[Labels, Pds], float]

# A statistic is undefined in a draw that has only one outcome. Such draws are left out. If more than this share of
# the draws is undefined, the remaining draws are not representative, so there is no interval.
_UNDEFINED_SHARE_MAX = 0.05
# Number of weights (draws times rows) that the fast path for the AUC holds in memory: 4 MB, which fits into the CPU cache.
_WEIGHTS_MAX = 500_000


@dataclass(frozen=True, slots=True)
class Resampling:
    """The settings of a bootstrap; the same seed produces the same draws.

    Attributes:
        seed: Seed of the random number generator.
        draws: Number of draws; 1,000 are enough for a 95 % interval.
        level: Share of the draws inside the interval, in (0, 1).
    """

    seed: int
    draws: int = 1000
    level: float = 0.95

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            DataInvalid: There is less than 1 draw, or the level is outside (0, 1).
        """
        if self.draws < 1 or not 0.0 < self.level < 1.0:
            raise DataInvalid(
                f"resampling requires at least 1 draw and a level within (0, 1), got {self.draws} and {self.level}; correct them"
            )


@dataclass(frozen=True, slots=True)
class Interval:
    """A statistic with its percentile interval.

    Attributes:
        estimate: The statistic on the original rows.
        low: Lower end of the interval. The estimate may lie outside the interval if resampling biases the statistic.
        high: Upper end of the interval.
        draws: Number of draws in which the statistic is defined.
        undefined_draws: Number of draws in which the statistic is undefined, for example because no row is bad.
    """

    estimate: float
    low: float
    high: float
    draws: int
    undefined_draws: int


def bootstrap_interval(
    statistic: Statistic, labels: Labels, pds: Pds, customers: NDArray[np.generic], resampling: Resampling
) -> Interval:
    """Return the bootstrap interval of any statistic of (labels, pds).

    Args:
        statistic: Function of (labels, pds); raises DataInvalid or returns NaN where the statistic is undefined.
        labels: Shape (n,).
        pds: Shape (n,).
        customers: Shape (n,); the customer of each row, as numbers or strings.
        resampling: Number of draws, seed and level.

    Raises:
        DataInvalid: Shapes do not match, there are fewer than two customers, or the statistic is undefined in too many
            draws.
    """
    owners = _customer_numbers(labels, pds, customers)
    drawn = [_statistic_or_nan(statistic, labels[rows], pds[rows]) for rows in _draw_rows(owners, resampling)]
    return _percentile_interval(statistic(labels, pds), np.array(drawn), resampling)


def bootstrap_difference_interval(
    statistic: Statistic,
    labels: Labels,
    pds: tuple[Pds, Pds],
    customers: NDArray[np.generic],
    resampling: Resampling,
) -> Interval:
    """Return the interval of statistic(second) - statistic(first) for two models on the same rows.

    Args:
        statistic: Function of (labels, pds); raises DataInvalid or returns NaN where the statistic is undefined.
        labels: Shape (n,).
        pds: Pds of the first and of the second model, each of shape (n,).
        customers: Shape (n,); the customer of each row, as numbers or strings.
        resampling: Number of draws, seed and level.

    Raises:
        DataInvalid: For the same reasons as in `bootstrap_interval`.
    """
    first, second = pds
    check_matching(labels, second)
    owners = _customer_numbers(labels, first, customers)
    drawn = [
        _statistic_or_nan(statistic, labels[rows], second[rows])
        - _statistic_or_nan(statistic, labels[rows], first[rows])
        for rows in _draw_rows(owners, resampling)
    ]
    return _percentile_interval(statistic(labels, second) - statistic(labels, first), np.array(drawn), resampling)


def auc_interval(labels: Labels, pds: Pds, customers: NDArray[np.generic], resampling: Resampling) -> Interval:
    """Return the same interval as `bootstrap_interval(auc, ...)`, but sort the rows only once instead of for every draw.

    The ends of the Gini's interval are 2 * low - 1 and 2 * high - 1.

    Raises:
        DataInvalid: For the same reasons as in `bootstrap_interval`.
    """
    owners = _customer_numbers(labels, pds, customers)
    return _percentile_interval(auc(labels, pds), _draw_aucs(labels, pds, owners, resampling), resampling)


def auc_difference_interval(
    labels: Labels, pds: tuple[Pds, Pds], customers: NDArray[np.generic], resampling: Resampling
) -> Interval:
    """Return the same interval as `bootstrap_difference_interval(auc, ...)`, but sort the rows only once per model.

    Raises:
        DataInvalid: For the same reasons as in `bootstrap_interval`.
    """
    first, second = pds
    check_matching(labels, second)
    owners = _customer_numbers(labels, first, customers)
    drawn = _draw_aucs(labels, second, owners, resampling) - _draw_aucs(labels, first, owners, resampling)
    return _percentile_interval(auc(labels, second) - auc(labels, first), drawn, resampling)


def _customer_numbers(labels: Labels, pds: Pds, customers: NDArray[np.generic]) -> NDArray[np.int64]:
    """Return the customer of each row as an integer from 0: shape (n,)."""
    check_matching(labels, pds)
    if np.shape(customers) != np.shape(labels):
        raise DataInvalid(
            f"customers have shape {np.shape(customers)} and labels {np.shape(labels)}; provide one customer per label"
        )
    distinct, owners = np.unique(customers, return_inverse=True)
    if len(distinct) < 2:  # noqa: PLR2004 - with one customer, all draws are equal
        raise DataInvalid("an interval requires at least two customers, got one; add rows of other customers")
    return np.asarray(owners, dtype=np.int64)


def _draw_counts(owners: NDArray[np.int64], resampling: Resampling) -> Iterator[NDArray[np.int64]]:
    """Yield for each draw how often each row is drawn: shape (n,).

    The general path and the fast path for the AUC both use this generator, so their draws are the same.
    """
    generator = np.random.default_rng(resampling.seed)
    count = int(owners.max()) + 1
    for _ in range(resampling.draws):
        # If a customer is drawn twice, all rows of the customer count twice. Indexing by `owners` turns the counts per
        # customer into counts per row.
        times: NDArray[np.int64] = np.bincount(generator.integers(0, count, size=count), minlength=count)[owners]
        yield times


def _draw_rows(owners: NDArray[np.int64], resampling: Resampling) -> Iterator[NDArray[np.int64]]:
    """Yield for each draw the numbers of the drawn rows."""
    all_rows = np.arange(len(owners))
    for times in _draw_counts(owners, resampling):
        yield np.repeat(all_rows, times)


def _statistic_or_nan(statistic: Statistic, labels: Labels, pds: Pds) -> float:
    """Return the statistic of one draw; NaN if it is undefined."""
    try:
        return statistic(labels, pds)
    except DataInvalid:
        return float("nan")


def _draw_aucs(labels: Labels, pds: Pds, owners: NDArray[np.int64], resampling: Resampling) -> NDArray[np.float64]:
    """Return the AUC of every draw: shape (draws,).

    The rows are sorted once. In each draw, the weight of a row is the number of times that the row is drawn.
    """
    order = np.argsort(pds, kind="stable")
    starts = np.flatnonzero(np.diff(pds[order], prepend=np.nan) != 0.0)  # first position of each run of equal pds
    bad = labels[order] == 1
    found: list[NDArray[np.float64]] = []
    waiting: list[NDArray[np.int64]] = []
    for number, times in enumerate(_draw_counts(owners, resampling), start=1):
        waiting.append(times[order])
        if len(waiting) * len(order) >= _WEIGHTS_MAX or number == resampling.draws:
            weights = np.array(waiting, dtype=np.float64)
            found.append(_weighted_aucs(weights, bad, starts))
            waiting = []
    return np.concatenate(found)


def _weighted_aucs(
    weights: NDArray[np.float64], bad: NDArray[np.bool_], starts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the AUC of each draw: shape (draws,); NaN for a draw with only one outcome.

    Args:
        weights: Shape (draws, n), how often each row is drawn; the rows are sorted by ascending pd.
        bad: Shape (n,), whether each row is bad.
        starts: Positions at which a run of equal pds begins.
    """
    all_rows = np.add.reduceat(weights, starts, axis=1)
    bads = np.add.reduceat(weights * bad, starts, axis=1)
    goods = all_rows - bads
    # The Mann-Whitney statistic: for each bad, the number of goods with a lower pd plus half of those with the same pd.
    goods_below = np.cumsum(goods, axis=1) - goods / 2.0
    pairs = bads.sum(axis=1) * goods.sum(axis=1)
    ranked = np.sum(bads * goods_below, axis=1)
    found: NDArray[np.float64] = np.divide(ranked, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0.0)
    return found


def _percentile_interval(estimate: float, drawn: NDArray[np.float64], resampling: Resampling) -> Interval:
    """Return the percentile interval of the draws in which the statistic is defined."""
    defined = drawn[np.isfinite(drawn)]
    undefined = len(drawn) - len(defined)
    if undefined > _UNDEFINED_SHARE_MAX * len(drawn):
        raise DataInvalid(
            f"the statistic is undefined in {undefined} of {len(drawn)} draws: too few bads or too few customers; add rows"
        )
    tail = (1.0 - resampling.level) / 2.0
    low, high = np.quantile(defined, [tail, 1.0 - tail])
    return Interval(estimate, float(low), float(high), len(defined), undefined)
