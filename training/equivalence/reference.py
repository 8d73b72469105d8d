"""The reference: margins, contributions and scores by definition, from LightGBM's own dump and predictions.

The reference shares no code and no constant with the exporter, so that a mistake in one of them cannot hide a mistake in the
other. tests/training/equivalence verifies the reference by brute force over all coalitions, with `Booster.predict` only.
"""

import math
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from models.bundle_documents import Scorecard

_ZERO_THRESHOLD = 1.0000000180025095e-35  # kZeroThreshold of LightGBM


@dataclass(frozen=True, slots=True)
class PathStep:
    """One split on the path to a leaf.

    Attributes:
        split: The split as a node of LightGBM's dump.
        left: Whether the path goes left at the split.
    """

    split: dict[str, Any]
    left: bool


@dataclass(frozen=True, slots=True)
class ReferencePath:
    """A leaf and the path to it.

    Attributes:
        tree: Index of the tree.
        value: The leaf's part of the margin.
        steps: The splits on the path, from the root.
    """

    tree: int
    value: float
    steps: tuple[PathStep, ...]


def leaf_paths(booster: lightgbm.Booster) -> list[ReferencePath]:
    """Return the path to every leaf of the model, tree by tree."""
    paths: list[ReferencePath] = []
    for number, tree in enumerate(_exact_dump(booster)["tree_info"]):
        stack: list[tuple[dict[str, Any], tuple[PathStep, ...]]] = [(tree["tree_structure"], ())]
        while stack:
            node, steps = stack.pop()
            if "left_child" in node:
                stack.append((node["left_child"], (*steps, PathStep(node, left=True))))
                stack.append((node["right_child"], (*steps, PathStep(node, left=False))))
            else:
                paths.append(ReferencePath(number, float(node["leaf_value"]), steps))
    return paths


def goes_left(split: dict[str, Any], values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which values go left at a split of the dump, as LightGBM's Tree::Decision decides.

    Args:
        split: A node of LightGBM's dump.
        values: Shape (n,), values of the split's feature, NaN where missing.

    Returns:
        Shape (n,).
    """
    if split["decision_type"] == "==":
        codes = np.array([int(code) for code in str(split["threshold"]).split("||")], dtype=np.float64)
        usable = np.isfinite(values) & (values > -1) & (values < 2.0**31)
        return usable & np.isin(np.where(usable, np.floor(np.abs(values)), -7.0), codes)
    kind, threshold = split["missing_type"], float(split["threshold"])
    # LightGBM reads NaN as 0.0 and then tiny values as 0.0. Both rules matter if the missing type is None.
    flushed = np.where(np.isnan(values), 0.0, values)
    flushed = np.where(np.abs(flushed) <= _ZERO_THRESHOLD, 0.0, flushed)
    left: NDArray[np.bool_] = flushed <= threshold
    if kind == "NaN":
        return np.where(np.isnan(values), split["default_left"], left)
    if kind == "Zero":
        return np.where(np.isnan(values) | (np.abs(values) <= _ZERO_THRESHOLD), split["default_left"], left)
    return left


def interventional_shap(
    booster: lightgbm.Booster, rows: NDArray[np.float64], baseline: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the interventional Shapley values, each of which is a mean over the baseline rows.

    For each leaf and each baseline row, the features on the path are the players of a game. A is the set of features
    whose conditions only the explained row satisfies, and B is the set of features whose conditions only the baseline
    row satisfies. If neither row satisfies the conditions on some feature, no coalition reaches the leaf (Laberge &
    Pequignot 2022, arXiv:2209.15123).

    Args:
        booster: The model.
        rows: Shape (n, features), NaN where missing.
        baseline: Shape (n_baseline, features).

    Returns:
        Shape (n, features), in the unit of the margin.
    """
    result = np.zeros(rows.shape[::-1])
    row_answers: dict[int, NDArray[np.bool_]] = {}
    baseline_answers: dict[int, NDArray[np.bool_]] = {}
    tree = -1
    for path in leaf_paths(booster):
        # The cached answers are only valid for one tree. Clearing them at each new tree also limits the memory.
        if path.tree != tree:
            tree = path.tree
            row_answers.clear()
            baseline_answers.clear()
        satisfied = _satisfied_features(path, rows, row_answers)
        features = sorted(satisfied)
        if not features:
            continue
        # Rows that satisfy the same features get the same contributions, so each such set is computed once.
        row_sets, numbers = _distinct_sets(_pack_bits(features, satisfied), len(features))
        baseline_sets = _pack_bits(features, _satisfied_features(path, baseline, baseline_answers))
        shares = _summed_shares(len(features), row_sets, *np.unique(baseline_sets, return_counts=True))
        for position, feature in enumerate(features):
            result[feature] += (path.value / len(baseline) * shares[:, position])[numbers]
    return np.ascontiguousarray(result.T)


def path_dependent_shap(booster: lightgbm.Booster, rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Return LightGBM's own path-dependent contributions, shape (n, features), and their base value, in margins."""
    found = np.asarray(booster.predict(rows, pred_contrib=True, num_threads=1))
    return found[:, :-1], float(found[0, -1])


def reference_margins(booster: lightgbm.Booster, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return LightGBM's own margins, shape (n,), summed by one thread, because the order of the sum depends on the threads."""
    return np.asarray(booster.predict(rows, raw_score=True, num_threads=1))


def reference_pd(card: Scorecard, margin: float) -> float:
    """Return the probability of a margin.

    It is the logistic function of the calibrated margin, computed with the hyperbolic tangent instead of the server's formula.
    """
    return (1.0 + math.tanh((card.slope * margin + card.intercept) / 2.0)) / 2.0


def reference_score(card: Scorecard, margin: Any) -> Any:
    """Return the score of a margin, or of an array of margins, before rounding; `pdo` points more double the odds."""
    good_to_bad = -(card.slope * margin + card.intercept) / math.log(2.0)
    return card.base_score + card.pdo * (good_to_bad - math.log2(card.base_odds))


def reference_grade(card: Scorecard, pd: float) -> str:
    """Return the grade of a probability; the range of a grade is open below and closed above."""
    bounds = [grade.max_pd for grade in card.grades]
    return card.grades[min(int(np.searchsorted(bounds, pd, side="left")), len(bounds) - 1)].grade


def _exact_dump(booster: lightgbm.Booster) -> dict[str, Any]:
    """Return the dump with exact thresholds from the model text, because the dump clips thresholds to +-1e300."""
    dump: dict[str, Any] = booster.dump_model()
    lines = (
        booster.model_to_string().split("\nend of trees")[0].splitlines()
    )  # the names of features follow after this marker
    texts = [line.partition("=")[2] for line in lines if line.startswith("threshold=")]  # empty for a single leaf
    for tree, text in zip(dump["tree_info"], texts, strict=True):
        numbers = [float(word) for word in text.split()]
        stack = [tree["tree_structure"]]
        while stack:
            node = stack.pop()
            if "left_child" in node:
                if node["decision_type"] == "<=":
                    node["threshold"] = numbers[node["split_index"]]
                stack += [node["left_child"], node["right_child"]]
    return dump


def _satisfied_features(
    path: ReferencePath, rows: NDArray[np.float64], answers: dict[int, NDArray[np.bool_]]
) -> dict[int, NDArray[np.bool_]]:
    """Return for each feature on the path which rows satisfy all its conditions, each of shape (n,).

    `answers` caches which rows go left at a split, by the identity of the split.
    """
    satisfied: dict[int, NDArray[np.bool_]] = {}
    for step in path.steps:
        feature = int(step.split["split_feature"])
        if id(step.split) not in answers:
            answers[id(step.split)] = goes_left(step.split, rows[:, feature])
        agrees = answers[id(step.split)] == step.left
        satisfied[feature] = satisfied[feature] & agrees if feature in satisfied else agrees
    return satisfied


def _pack_bits(features: list[int], satisfied: dict[int, NDArray[np.bool_]]) -> NDArray[np.int64]:
    """Return for each row the set of features that it satisfies, as bits at the positions of the features."""
    sets = np.zeros(1, dtype=np.int64)
    for position, feature in enumerate(features):
        sets = sets + (satisfied[feature].astype(np.int64) << position)
    return sets


def _distinct_sets(sets: NDArray[np.int64], width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct sets, ascending, and the position of each set among them."""
    if 1 << width > 4 * len(sets):
        distinct, numbers = np.unique(sets, return_inverse=True)
        return distinct, numbers
    # Counting is faster than sorting if there are many rows.
    occurs = np.bincount(sets, minlength=1 << width) > 0
    return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[sets]


def _summed_shares(
    width: int, row_sets: NDArray[np.int64], baseline_sets: NDArray[np.int64], counts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the Shapley values of a leaf of value 1, summed over the baseline.

    Args:
        width: Number of features on the path.
        row_sets: Shape (n_sets,), the sets of features that explained rows satisfy, as bits.
        baseline_sets: Shape (n_baseline_sets,), the sets of features that baseline rows satisfy.
        counts: Shape (n_baseline_sets,), the number of baseline rows with each set.

    Returns:
        Shape (n_sets, width).
    """
    # A member of A has the weight (|A|-1)! |B|! / (|A|+|B|)! = 1 / (|A| * binomial(|A|+|B|, |A|)). A member of B has the same
    # weight with A and B exchanged, and with a minus sign.
    weight = np.array(
        [[1 / (a * math.comb(a + b, a)) if a else 0.0 for b in range(width + 1)] for a in range(width + 1)]
    )
    everything = (1 << width) - 1
    row, other = np.nonzero((row_sets[:, None] | baseline_sets[None, :]) == everything)  # pairs that reach the leaf
    only_row, only_other = row_sets[row] & ~baseline_sets[other], baseline_sets[other] & ~row_sets[row]
    a, b = np.bitwise_count(only_row), np.bitwise_count(only_other)
    gain, loss = counts[other] * weight[a, b], counts[other] * weight[b, a]
    shares = np.zeros((len(row_sets), width))
    for bit in range(width):
        change = np.where(only_row >> bit & 1, gain, np.where(only_other >> bit & 1, -loss, 0.0))
        shares[:, bit] = np.bincount(row, change, len(row_sets))
    return shares
