"""How well one feature alone ranks the outcome: a sign of target leakage if it ranks too well.

The rate of a bin is computed from the rows of the other folds, so that a category with thousands of levels, which could learn
its own labels by heart, does not look strong by chance.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from training.measures.bins import NumberBins, Values, quantile_bins
from training.measures.inputs import Labels

_FOLDS = 5
_BINS = 20
_PRIOR_ROWS = 10.0  # rows with the mean bad rate that are added to every bin, so that rare levels are near the mean
_ROWS_TO_RANK_MIN = 10  # fewer rows of one outcome can be ranked by chance


@dataclass(frozen=True, slots=True)
class SingleFeatureRanking:
    """How well one feature alone ranks the outcome.

    Attributes:
        auc: AUC of the out-of-fold bad rates of the feature's bins, in which missing values are a bin of their own.
        best: The highest of this AUC, the AUC of whether a value is missing, and for a number the AUC of the values among
            the rows that have one; from 0.5 to 1.
        best_reason: What ranks as `best` says, as the subject of a sentence.
    """

    auc: float
    best: float
    best_reason: str


def rank_by_single_feature(
    values: Values, labels: Labels, customers: NDArray[np.str_], *, category: bool
) -> SingleFeatureRanking:
    """Measure one feature.

    Args:
        values: Shape (n,), NaN where missing; a category by its codes, below 0 for an unknown level.
        labels: Shape (n,).
        customers: Shape (n,); all rows of a customer are in the same fold.
        category: Whether the values are codes.
    """
    missing = np.isnan(values) | (values < 0 if category else np.zeros(len(values), dtype=np.bool_))
    auc = _auc(labels, _out_of_fold_rates(_bin_codes(values, missing, category=category), labels, customers))
    found = [(_better_direction(labels, missing.astype(np.float64)), "whether it is missing")]
    if not category:
        found.append((_better_direction(labels[~missing], values[~missing]), "its value"))
    found.append((auc, "its category" if category else "its range of values"))
    best, reason = max(found, key=lambda pair: pair[0])
    return SingleFeatureRanking(auc, best, reason)


def _bin_codes(values: Values, missing: NDArray[np.bool_], *, category: bool) -> NDArray[np.int64]:
    """Return the bin of every row: 0 for a missing value, otherwise a level or one of 20 quantile bins."""
    present = values[~missing]
    if category:
        bins = np.unique(present, return_inverse=True)[1].reshape(-1)
    else:
        edges = quantile_bins(present, _BINS) if np.isfinite(present).any() else NumberBins(())
        bins = edges.codes(present)
    codes = np.zeros(len(values), dtype=np.int64)
    codes[~missing] = bins + 1
    return codes


def _out_of_fold_rates(codes: NDArray[np.int64], labels: Labels, customers: NDArray[np.str_]) -> Values:
    """Return the bad rate of each row's bin, from the rows of the other folds."""
    numbers = np.unique(customers, return_inverse=True)[1].reshape(-1)
    fold_of_customer = np.random.default_rng(0).integers(0, _FOLDS, int(numbers.max(initial=0)) + 1)
    folds, count = fold_of_customer[numbers], int(codes.max(initial=0)) + 1
    rates = np.zeros(len(codes))
    for fold in range(_FOLDS):
        inside = folds == fold
        rows = np.bincount(codes[~inside], minlength=count)
        bads = np.bincount(codes[~inside], weights=labels[~inside], minlength=count)
        mean = bads.sum() / max(rows.sum(), 1)
        rates[inside] = ((bads + _PRIOR_ROWS * mean) / (rows + _PRIOR_ROWS))[codes[inside]]
    return rates


def _better_direction(labels: Labels, values: Values) -> float:
    """Return the AUC of values in the better of both directions."""
    auc = _auc(labels, values)
    return max(auc, 1.0 - auc)


def _auc(labels: Labels, values: Values) -> float:
    """Return the AUC of values; 0.5 if an outcome has too few rows."""
    bads = int(labels.sum())
    if min(bads, len(labels) - bads) < _ROWS_TO_RANK_MIN:
        return 0.5
    return float(roc_auc_score(labels, values))
