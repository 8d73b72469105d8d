"""Bins of feature values that a model cannot tell apart.

The thresholds of all splits on a feature divide the values of the feature into intervals. At every split, all values of an
interval go to the same side. Two intervals belong to the same class if, at every split, their values go to the same side.
The missing value belongs to one of these classes, or forms a class by itself. The classes of a row's values therefore
determine the margin and the contributions of the row.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.export.trees import (
    CODE_MAX,
    CODE_SHIFT,
    ZERO_THRESHOLD,
    CategoricalSplit,
    Ensemble,
    NumericSplit,
    Split,
    tree_splits,
)

_NO_CODE = -1.0  # stands for a value without a code; no set of codes contains it


@dataclass(frozen=True, slots=True)
class FeatureBins:
    """The intervals and classes of one feature.

    Attributes:
        feature: Column index.
        splits: The distinct splits of the model on this feature.
        edges: Shape (intervals - 1,), ascending. Interval i is (edges[i-1], edges[i]]. Edges are compared with the tree
            input, which for a category is the code plus CODE_SHIFT, or 0 if a value has no code.
        classes: Shape (intervals,); the class of each interval.
        missing_class: The class of a missing value.
        goes_left: Shape (classes, splits), whether the values of a class go left at a split.
    """

    feature: int
    splits: tuple[Split, ...]
    edges: NDArray[np.float64]
    classes: NDArray[np.int64]
    missing_class: int
    goes_left: NDArray[np.bool_]

    @classmethod
    def from_splits(cls, feature: int, splits: tuple[Split, ...]) -> "FeatureBins":
        """Return the bins of a feature for its distinct splits; all are numeric, or all are categorical."""
        numeric = [split for split in splits if isinstance(split, NumericSplit)]
        categorical = [split for split in splits if isinstance(split, CategoricalSplit)]
        edges, members = _threshold_intervals(numeric) if numeric else _code_intervals(categorical)
        # One member of each interval, and a missing value at the end, represent all values at every split.
        sides = np.stack([_goes_left(split, np.append(members, np.nan)) for split in splits], axis=1)
        goes_left, classes = np.unique(sides, axis=0, return_inverse=True)
        interval_classes, missing_class = classes.reshape(-1)[:-1], int(classes.reshape(-1)[-1])
        # An edge between two intervals of the same class separates nothing, and the search is faster without this edge.
        needed = np.flatnonzero(interval_classes[1:] != interval_classes[:-1])
        remaining = interval_classes[np.append(needed, len(edges))]
        return cls(feature, splits, edges[needed], remaining, missing_class, goes_left)

    def classify(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the class of each value.

        Args:
            values: Shape (n,), values as in the rows of the model: category codes without shift, NaN where missing.

        Returns:
            Shape (n,).
        """
        if isinstance(self.splits[0], CategoricalSplit):
            return self.classes[np.searchsorted(self.edges, category_codes(values) + CODE_SHIFT, side="left")]
        classes = self.classes[np.searchsorted(self.edges, values, side="left")]
        return np.where(np.isnan(values), self.missing_class, classes)


def ensemble_bins(ensemble: Ensemble) -> dict[int, FeatureBins]:
    """Return the bins of every feature that the model splits on, by column index in ascending order."""
    splits: dict[int, dict[Split, None]] = {}  # a dict instead of a set, because a dict keeps the order of first use
    for tree in ensemble.trees:
        for split in tree_splits(tree):
            splits.setdefault(split.feature, {})[split] = None
    return {feature: FeatureBins.from_splits(feature, tuple(splits[feature])) for feature in sorted(splits)}


def row_classes(
    ensemble: Ensemble, bins: Mapping[int, FeatureBins], rows: NDArray[np.float64]
) -> dict[int, NDArray[np.int64]]:
    """Return the classes of rows.

    Args:
        ensemble: The model.
        bins: Its bins, from `ensemble_bins`.
        rows: Shape (n, features), NaN where missing.

    Returns:
        An array of shape (n,) for every feature that the model splits on.
    """
    classes = {}
    for feature, feature_bins in bins.items():
        values = rows[:, feature]
        # In the exported graphs, the nodes that `graph.preprocessing` adds for zero_as_missing do the same.
        if feature in ensemble.zero_as_missing:
            values = np.where(np.abs(values) <= ZERO_THRESHOLD, np.nan, values)
        classes[feature] = feature_bins.classify(values)
    return classes


def category_codes(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the category codes of values as LightGBM reads them, and -1 for values without a code.

    Args:
        values: Any shape, NaN where missing.

    Returns:
        Codes from -1 to CODE_MAX, in the shape of `values`. No set of codes contains -1.
    """
    valid = (values > _NO_CODE) & (values <= CODE_MAX)  # both comparisons are False for NaN
    codes: NDArray[np.int64] = np.where(valid, np.trunc(np.where(valid, values, 0.0)), _NO_CODE).astype(np.int64)
    return codes


def _threshold_intervals(splits: list[NumericSplit]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the edges between the intervals of thresholds, and one value of each interval."""
    edges = np.array(sorted({split.threshold for split in splits}))
    return edges, np.append(edges, np.inf)  # an interval is closed above, so its upper end belongs to it


def _code_intervals(splits: list[CategoricalSplit]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the edges between the intervals of shifted codes, and one code (without shift) of each interval."""
    codes = np.array(sorted({code for split in splits for code in split.codes}))
    # Each code that occurs in a set has an edge on both sides, halfway to the neighbouring codes.
    edges = np.unique(np.concatenate([codes, codes + 1])) + CODE_SHIFT - 0.5
    members = np.append(edges - 0.5, edges[-1] + 0.5) - CODE_SHIFT
    return edges, members


def _goes_left(split: Split, values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether each value of the split's feature goes left; `values` and the result have shape (n,)."""
    if isinstance(split, CategoricalSplit):
        return np.isin(category_codes(values), sorted(split.codes))
    left: NDArray[np.bool_] = np.where(np.isnan(values), split.missing_left, values <= split.threshold)
    return left
