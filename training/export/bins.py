"""Where a value lies among everything that a model asks about its feature.

The questions about one feature cut its values into intervals; values of one interval get the same answer to
every question, so the model cannot tell them apart. Intervals with the same answers, and missing where it
has them too, are one class. A row of classes says all that margin and explanation depend on.
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

NO_CODE = -1.0  # in no set, as missing is


@dataclass(frozen=True, slots=True)
class FeatureBins:
    """The intervals and classes of one feature.

    Attributes:
        feature: Its column.
        questions: The model's distinct questions about it.
        edges: Ascending. Interval i is (edges[i-1], edges[i]], of values as the trees take them: for a
            category, its code shifted by CODE_SHIFT, and 0 for none.
        classes: Shape (len(edges) + 1,): the class of each interval.
        missing: The class of a missing value.
        answers: Shape (classes, questions): True where the class goes left.
    """

    feature: int
    splits: tuple[Split, ...]
    edges: NDArray[np.float64]
    classes: NDArray[np.int64]
    missing_class: int
    goes_left: NDArray[np.bool_]

    def classify(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """Give the class of each value, as a caller writes it: a code unshifted, NaN where missing."""
        if isinstance(self.splits[0], CategoricalSplit):
            return self.classes[np.searchsorted(self.edges, category_codes(values) + CODE_SHIFT, side="left")]
        found = self.classes[np.searchsorted(self.edges, values, side="left")]
        return np.where(np.isnan(values), self.missing_class, found)


def ensemble_bins(ensemble: Ensemble) -> dict[int, FeatureBins]:
    """Give the bins of every feature that the model asks about, in the order of the columns."""
    asked: dict[int, dict[Split, None]] = {}
    for tree in ensemble.trees:
        for question in tree_splits(tree):
            asked.setdefault(question.feature, {})[question] = None
    return {feature: feature_bins(feature, tuple(asked[feature])) for feature in sorted(asked)}


def feature_bins(feature: int, questions: tuple[Split, ...]) -> FeatureBins:
    """Cut one feature's values."""
    splits = [question for question in questions if isinstance(question, NumericSplit)]
    if splits:
        edges = np.array(sorted({split.threshold for split in splits}))
        members = np.append(edges, np.inf)  # each interval's upper end is one of it
    else:
        codes = np.array(sorted({c for q in questions if isinstance(q, CategoricalSplit) for c in q.codes}))
        edges = np.unique(np.concatenate([codes, codes + 1])) + CODE_SHIFT - 0.5  # around each code that is in a set
        members = np.append(edges - 0.5, edges[-1] + 0.5) - CODE_SHIFT
    answers = np.stack([answer(question, np.append(members, np.nan)) for question in questions], axis=1)
    distinct, classes = np.unique(answers, axis=0, return_inverse=True)
    classes, missing = classes.reshape(-1)[:-1], int(classes.reshape(-1)[-1])
    parts = np.flatnonzero(classes[1:] != classes[:-1])  # neighbours of one class need no edge between them
    return FeatureBins(feature, questions, edges[parts], classes[np.append(parts, len(edges))], missing, distinct)


def answer(question: Split, values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Answer one question for each value of its feature: True where it goes left."""
    if isinstance(question, CategoricalSplit):
        return np.isin(category_codes(values), sorted(question.codes))
    left: NDArray[np.bool_] = np.where(np.isnan(values), question.missing_left, values <= question.threshold)
    return left


def category_codes(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Cut values to codes as LightGBM does; -1, which is in no set, where there is none."""
    valid = (values > NO_CODE) & (values <= CODE_MAX)  # False for NaN
    codes: NDArray[np.int64] = np.where(valid, np.trunc(np.where(valid, values, 0.0)), NO_CODE).astype(np.int64)
    return codes


def row_classes(
    ensemble: Ensemble, bins: Mapping[int, FeatureBins], rows: NDArray[np.float64]
) -> dict[int, NDArray[np.int64]]:
    """Give, per feature that the model asks about, the class of each row."""
    classes = {}
    for feature, found in bins.items():
        values = rows[:, feature]
        if feature in ensemble.zero_as_missing:  # what `graph.zero_steps` does, in numpy
            values = np.where(np.abs(values) <= ZERO_THRESHOLD, np.nan, values)
        classes[feature] = found.classify(values)
    return classes
