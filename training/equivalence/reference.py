"""A second opinion: what a model's margins and contributions are by definition, read from LightGBM's dump.

It shares no code with the exporter. tests/training/equivalence proves it against brute force over all
coalitions, asked of `Booster.predict` alone.
"""

import math
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from models.bundle_documents import Scorecard

Rows = NDArray[np.float64]
ZERO = 1.0000000180025095e-35  # kZeroThreshold of LightGBM


@dataclass(frozen=True, slots=True)
class PathStep:
    """One split on the way to a leaf, as the dump has it, and the side that leads on."""

    split: dict[str, Any]
    left: bool


@dataclass(frozen=True, slots=True)
class ReferencePath:
    """A leaf with the steps from the root."""

    tree: int
    value: float
    steps: tuple[PathStep, ...]


def exact_dump(booster: lightgbm.Booster) -> dict[str, Any]:
    """Give the dump with the thresholds of the model's text: the dump cuts them at 1e300."""
    dump: dict[str, Any] = booster.dump_model()
    lines = booster.model_to_string().split("\nend of trees")[0].splitlines()  # then come names of features
    texts = [line.partition("=")[2] for line in lines if line.startswith("threshold=")]  # of a single leaf: empty
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


def leaf_paths(booster: lightgbm.Booster) -> list[ReferencePath]:
    """Give every leaf of the model."""
    found: list[ReferencePath] = []
    for number, tree in enumerate(exact_dump(booster)["tree_info"]):
        stack: list[tuple[dict[str, Any], tuple[PathStep, ...]]] = [(tree["tree_structure"], ())]
        while stack:
            node, steps = stack.pop()
            if "left_child" in node:
                stack.append((node["left_child"], (*steps, PathStep(node, left=True))))
                stack.append((node["right_child"], (*steps, PathStep(node, left=False))))
            else:
                found.append(ReferencePath(number, float(node["leaf_value"]), steps))
    return found


def goes_left(split: dict[str, Any], values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Say which values go left, as LightGBM's Tree::Decision does."""
    if split["decision_type"] == "==":
        codes = np.array([int(code) for code in str(split["threshold"]).split("||")], dtype=np.float64)
        usable = np.isfinite(values) & (values > -1) & (values < 2.0**31)
        return usable & np.isin(np.where(usable, np.floor(np.abs(values)), -7.0), codes)
    kind, threshold = split["missing_type"], float(split["threshold"])
    flat = np.where(np.isnan(values), 0.0, values)
    flat = np.where(np.abs(flat) <= ZERO, 0.0, flat)
    left: NDArray[np.bool_] = flat <= threshold
    if kind == "NaN":
        return np.where(np.isnan(values), split["default_left"], left)
    if kind == "Zero":
        return np.where(np.isnan(values) | (np.abs(values) <= ZERO), split["default_left"], left)
    return left


def interventional_shap(booster: lightgbm.Booster, rows: Rows, baseline: Rows) -> Rows:
    """Give the mean over the baseline of every row's Shapley values: shape (n, n_features), log-odds.

    For a leaf, a row takes part in the game by the features that only it brings (A) and those that only
    the baseline row brings (B); a feature that neither brings makes the leaf unreachable.
    """
    result = np.zeros(rows.shape[::-1])
    of_rows: dict[int, NDArray[np.bool_]] = {}
    of_baseline: dict[int, NDArray[np.bool_]] = {}
    tree = -1
    for path in leaf_paths(booster):
        if path.tree != tree:  # a tree's answers serve all its leaves, and no other tree's
            tree = path.tree
            of_rows.clear()
            of_baseline.clear()
        brought = features_met(path, rows, of_rows)
        features = sorted(brought)
        mine, theirs = numbered(features, brought), numbered(features, features_met(path, baseline, of_baseline))
        shares = shares_of(len(features), np.bincount(theirs, minlength=1 << len(features)))
        for position, feature in enumerate(features):
            result[feature] += (path.value / len(baseline) * shares[:, position])[mine]
    return np.ascontiguousarray(result.T)


def numbered(features: list[int], met: dict[int, NDArray[np.bool_]]) -> NDArray[np.intp]:
    """Give each row a number whose bit at a feature's position says whether the row meets it."""
    numbers = np.zeros(1, dtype=np.intp)
    for position, feature in enumerate(features):
        numbers = numbers + (met[feature].astype(np.intp) << position)
    return numbers


def shares_of(width: int, times: NDArray[np.intp]) -> NDArray[np.float64]:
    """Give what each kind of row gets of a leaf of value 1, summed over the baseline: shape (2^width, width)."""
    mine = (np.arange(1 << width)[:, None] >> np.arange(width)) & 1 == 1
    of_alone = np.array(
        [[1 / (a * math.comb(a + b, a)) if a else 0.0 for b in range(width + 1)] for a in range(width + 1)]
    )
    shares = np.zeros(mine.shape)
    for opponent in np.flatnonzero(times):
        theirs = mine[opponent]
        alone, against = mine & ~theirs, ~mine & theirs
        reachable = (mine | theirs).all(axis=1)
        a, b = alone.sum(axis=1), against.sum(axis=1)
        gained = np.where(alone, of_alone[a, b][:, None], 0.0) - np.where(against, of_alone[b, a][:, None], 0.0)
        shares += times[opponent] * np.where(reachable[:, None], gained, 0.0)
    return shares


def features_met(
    path: ReferencePath, rows: Rows, answers: dict[int, NDArray[np.bool_]]
) -> dict[int, NDArray[np.bool_]]:
    """Say, for each feature on the path, which rows meet all its conditions; `answers` keeps what a split said."""
    met: dict[int, NDArray[np.bool_]] = {}
    for step in path.steps:
        feature = int(step.split["split_feature"])
        if id(step.split) not in answers:
            answers[id(step.split)] = goes_left(step.split, rows[:, feature])
        agrees = answers[id(step.split)] == step.left
        met[feature] = met[feature] & agrees if feature in met else agrees
    return met


def path_dependent_shap(booster: lightgbm.Booster, rows: Rows) -> tuple[Rows, float]:
    """Give LightGBM's own path-dependent contributions, and their base value."""
    found = np.asarray(booster.predict(rows, pred_contrib=True, num_threads=1))
    return found[:, :-1], float(found[0, -1])


def reference_margins(booster: lightgbm.Booster, rows: Rows) -> NDArray[np.float64]:
    """Give LightGBM's own margins, added by one thread."""
    return np.asarray(booster.predict(rows, raw_score=True, num_threads=1))


def reference_pd(card: Scorecard, margin: float) -> float:
    """Give the probability: the logistic function of the calibrated margin, written as a hyperbolic tangent."""
    return (1.0 + math.tanh((card.slope * margin + card.intercept) / 2.0)) / 2.0


def reference_score(card: Scorecard, margin: Any) -> Any:
    """Give the score of a margin, or of an array of them, before it is rounded: `pdo` points halve the odds of a bad."""
    good_to_bad = -(card.slope * margin + card.intercept) / math.log(2.0)
    return card.base_score + card.pdo * (good_to_bad - math.log2(card.base_odds))


def reference_grade(card: Scorecard, pd: float) -> str:
    """Give the grade whose range, open below and closed above, holds a probability."""
    bounds = [grade.max_pd for grade in card.grades]
    return card.grades[min(int(np.searchsorted(bounds, pd, side="left")), len(bounds) - 1)].grade
