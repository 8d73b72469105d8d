"""Representatives of threshold intervals, which replace the values of real people in all published files.

The representative of an interval is its upper end; for the last interval it is the next double above the last threshold. The
model treats a value and its representative alike, so the row of representatives has the same margin and contributions
as the original row. If the values of two customers are in the same intervals, their rows of representatives are equal.
"""

import math

import numpy as np
from numpy.typing import NDArray

from training.export.bins import category_codes
from training.export.trees import ZERO_THRESHOLD, CategoricalSplit, Ensemble, NumericSplit, tree_splits

_NO_CODE = -1.0


def thresholds_by_feature(ensemble: Ensemble) -> list[NDArray[np.float64]]:
    """Return the distinct thresholds of each feature, ascending; an empty array for a feature without thresholds.

    A threshold can be infinite, if a split only separates missing values from all others.
    """
    found: list[set[float]] = [set() for _ in range(ensemble.feature_count)]
    for tree in ensemble.trees:
        for split in tree_splits(tree):
            if isinstance(split, NumericSplit):
                found[split.feature].add(split.threshold)
    return [np.array(sorted(thresholds)) for thresholds in found]


def representative_rows(ensemble: Ensemble, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rows with every value replaced by the representative of its interval; NaN stays NaN.

    Args:
        ensemble: The model.
        rows: Shape (n, features), NaN where missing.

    Returns:
        The representatives, shape (n, features).
    """
    replaced = np.empty_like(rows)
    for feature, thresholds in enumerate(thresholds_by_feature(ensemble)):
        values = rows[:, feature]
        if feature in ensemble.categorical:
            replaced[:, feature] = _representative_codes(ensemble, feature, values)
        else:
            chosen = _representative_numbers(thresholds, values)
            if feature in ensemble.zero_as_missing:
                chosen = _preserve_zeros(values, chosen)
            replaced[:, feature] = np.where(np.isnan(values), np.nan, chosen)
    return replaced


def _representative_numbers(thresholds: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the upper end of each value's interval; 0.0 for a feature without finite thresholds."""
    finite = thresholds[np.isfinite(thresholds)]
    # The last interval has no upper end, so the next double above the last threshold represents it.
    above_last = math.nextafter(finite[-1], math.inf) if len(finite) else 0.0
    return np.append(finite, above_last)[np.searchsorted(finite, values, side="left")]


def _representative_codes(ensemble: Ensemble, feature: int, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each value the smallest code that belongs to the same sets of the model; -1 if no set contains its code."""
    code_sets = sorted({tuple(sorted(split.codes)) for split in _categorical_splits(ensemble, feature)})
    in_no_set = (False,) * len(code_sets)
    codes = sorted({code for code_set in code_sets for code in code_set})
    membership = {code: tuple(code in code_set for code_set in code_sets) for code in codes}
    smallest: dict[tuple[bool, ...], float] = {in_no_set: _NO_CODE}
    for code, sets in membership.items():  # ascending, so the first code with a membership is the smallest
        smallest.setdefault(sets, float(code))
    return np.array([smallest[membership.get(int(code), in_no_set)] for code in category_codes(values)])


def _categorical_splits(ensemble: Ensemble, feature: int) -> list[CategoricalSplit]:
    """Return all categorical splits on one feature."""
    return [
        split
        for tree in ensemble.trees
        for split in tree_splits(tree)
        if isinstance(split, CategoricalSplit) and split.feature == feature
    ]


def _preserve_zeros(values: NDArray[np.float64], chosen: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return representatives that count as zero only where the value does, for a zero_as_missing column."""
    # The upper end of an interval near zero can count as zero. For a nonzero value it is replaced by the smallest double that
    # does not count as zero.
    smallest_nonzero = math.nextafter(ZERO_THRESHOLD, math.inf)
    nonzero = np.where(np.abs(chosen) <= ZERO_THRESHOLD, np.copysign(smallest_nonzero, values), chosen)
    return np.where(np.abs(values) <= ZERO_THRESHOLD, 0.0, nonzero)
