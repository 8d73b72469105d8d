"""Representatives of threshold intervals: rows that the model cannot tell from real ones, and that name no person.

Every value is replaced by one representative of its threshold interval: the upper end, or for the last interval the
next double above the last threshold. All decisions stay the same, so margins and contributions stay the same, and two
customers whom the model cannot tell apart become one row.
"""

import math

import numpy as np
from numpy.typing import NDArray

from training.export.bins import category_codes
from training.export.trees import ZERO_THRESHOLD, CategoricalSplit, Ensemble, NumericSplit, tree_splits


def thresholds_by_feature(ensemble: Ensemble) -> list[NDArray[np.float64]]:
    """Give each feature's distinct thresholds in ascending order; none for a feature never asked."""
    found: list[set[float]] = [set() for _ in range(ensemble.feature_count)]
    for tree in ensemble.trees:
        for split in tree_splits(tree):
            if isinstance(split, NumericSplit):
                found[split.feature].add(split.threshold)
    return [np.array(sorted(values)) for values in found]


def representative_rows(ensemble: Ensemble, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Replace every value by the representative of its interval; missing stays missing."""
    replaced = np.empty_like(rows)
    for feature, thresholds in enumerate(thresholds_by_feature(ensemble)):
        if feature in ensemble.categorical:
            replaced[:, feature] = _representative_codes(ensemble, feature, rows[:, feature])
            continue
        finite = thresholds[np.isfinite(thresholds)]
        above = math.nextafter(finite[-1], math.inf) if len(finite) else 0.0
        ends = np.append(finite, above)
        values = rows[:, feature]
        chosen = ends[np.searchsorted(finite, values, side="left")]
        if feature in ensemble.zero_as_missing:
            chosen = _preserve_zeros(values, chosen)
        replaced[:, feature] = np.where(np.isnan(values), np.nan, chosen)
    return replaced


def _representative_codes(ensemble: Ensemble, feature: int, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Replace every code by the smallest one that is in the same sets; by -1 where it is in none."""
    sets = sorted({tuple(sorted(split.codes)) for split in _categorical_splits(ensemble) if split.feature == feature})
    first: dict[tuple[bool, ...], float] = {(False,) * len(sets): -1.0}
    membership = {code: tuple(code in codes for codes in sets) for code in sorted({c for codes in sets for c in codes})}
    for code, member in membership.items():
        first.setdefault(member, float(code))
    return np.array([first[membership.get(int(code), (False,) * len(sets))] for code in category_codes(values)])


def _categorical_splits(ensemble: Ensemble) -> list[CategoricalSplit]:
    """Give every question about a category."""
    return [split for tree in ensemble.trees for split in tree_splits(tree) if isinstance(split, CategoricalSplit)]


def _preserve_zeros(values: NDArray[np.float64], chosen: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keep zeros zero, and others no zero, in a column where zero means missing."""
    nearest = math.nextafter(ZERO_THRESHOLD, math.inf)
    no_zero = np.where(np.abs(chosen) <= ZERO_THRESHOLD, np.copysign(nearest, values), chosen)
    return np.where(np.abs(values) <= ZERO_THRESHOLD, 0.0, no_zero)
