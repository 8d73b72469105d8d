"""What a LightGBM model says, as plain trees whose every question is exact in doubles.

Source of the rules: LightGBM 4.7 `src/io/tree.cpp` and `include/LightGBM/tree.h`, as observed through
`Booster.predict`; each rule has a test of its name in tests/training/export/test_score.py.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import lightgbm

from training.errors import ModelRejected

# LightGBM takes |x| <= this as 0.0 (kZeroThreshold, a float32 constant compared in double).
ZERO_THRESHOLD = 1.0000000180025095e-35
CODE_MAX = 2147483647.0  # it casts a category's value to a 32-bit integer
CODE_SHIFT = 1  # the graphs shift codes by one, so that 0 stands for none


@dataclass(frozen=True, slots=True)
class NumericSplit:
    """A question about one feature: does a row go left?

    A present value goes left where it is <= threshold; a missing one (NaN) where missing_left says so.
    """

    feature: int
    threshold: float
    missing_left: bool


@dataclass(frozen=True, slots=True)
class CategoricalSplit:
    """A question about one category feature: is a row's code in the set? Then it goes left.

    The code is the value cut to an integer (2.7 is 2, -0.5 is 0). Missing, negative, unseen and too
    large codes are in no set and go right, whatever LightGBM's missing type says (LightGBM #4468).
    """

    feature: int
    codes: frozenset[int]


@dataclass(frozen=True, slots=True)
class Leaf:
    """The end of a path; value in log-odds, before calibration; count is its number of training rows."""

    value: float
    count: int = 0


@dataclass(frozen=True, slots=True)
class SplitNode:
    """A split and its two sides; count is the number of training rows that reached it."""

    split: "Split"
    left: "SplitNode | Leaf"
    right: "SplitNode | Leaf"
    count: int = 0


Tree = SplitNode | Leaf
Split = NumericSplit | CategoricalSplit


@dataclass(frozen=True, slots=True)
class Ensemble:
    """A model: its margin is the sum of its trees, added in this order.

    Attributes:
        trees: At least one.
        feature_count: Columns of a row, in the order of the booster's feature names.
        zero_missing: Columns in which |x| <= ZERO_MAX counts as missing (zero_as_missing).
        categories: Columns whose values are codes.
    """

    trees: tuple[Tree, ...]
    feature_count: int
    zero_as_missing: frozenset[int]
    categorical: frozenset[int]


def read_ensemble(booster: lightgbm.Booster) -> Ensemble:
    """Read a binary model out of a booster.

    Raises:
        ModelRejected: The model is of a kind that is not exported; the message says what would be.
    """
    dump, text = booster.dump_model(), trees_text(booster)
    if "\nis_linear=1" in text:  # also where no leaf has become more than a number
        raise ModelRejected("linear_tree is on; fit with linear_tree=false")
    refuse_unsupported(dump)
    structures = [tree["tree_structure"] for tree in dump["tree_info"]]
    restore_thresholds(structures, text)
    return Ensemble(
        trees=tuple(read_tree(structure) for structure in structures),
        feature_count=dump["max_feature_idx"] + 1,
        zero_as_missing=zero_missing_columns(structures),
        categorical=category_columns(structures),
    )


def refuse_unsupported(dump: dict[str, Any]) -> None:
    """Refuse by name what would be exported wrongly."""
    objective = str(dump.get("objective", "")).split(" ")[0]
    if objective != "binary":
        raise ModelRejected(
            f"objective is {objective or 'custom'!r}; only 'binary' is exported: fit with objective='binary'"
        )
    if dump.get("average_output"):
        raise ModelRejected("boosting is 'rf', whose trees are averaged; fit with boosting='gbdt', 'goss' or 'dart'")
    if not dump["tree_info"]:
        raise ModelRejected("the model has no trees; fit with num_iterations of at least 1")


def trees_text(booster: lightgbm.Booster) -> str:
    """Give the part of a model's text that is about trees: what follows has lines that begin with names of features."""
    return str(booster.model_to_string()).partition("\nend of trees")[0]


def restore_thresholds(structures: list[dict[str, Any]], trees: str) -> None:
    """Put the thresholds of the text model into the dump, which cuts them at 1e300."""
    texts = trees.split("\nTree=")[1:]
    for structure, text in zip(structures, texts, strict=True):
        line = next((line for line in text.splitlines() if line.startswith("threshold=")), "threshold=")
        thresholds = [float(number) for number in line.removeprefix("threshold=").split()]
        for split in walk_dump(structure):
            if split["decision_type"] == "<=":
                split["threshold"] = thresholds[split["split_index"]]


def read_tree(structure: dict[str, Any]) -> Tree:
    """Read one tree of the dump, whole."""
    if "leaf_const" in structure:
        raise ModelRejected("linear_tree is on; fit with linear_tree=false")
    if "split_index" not in structure:
        return Leaf(float(structure["leaf_value"]), int(structure.get("leaf_count", 0)))
    left, right = read_tree(structure["left_child"]), read_tree(structure["right_child"])
    return SplitNode(read_split(structure), left, right, int(structure["internal_count"]))


def read_split(structure: dict[str, Any]) -> Split:
    """Read one split with LightGBM's own way of treating missing values."""
    if structure["decision_type"] == "==":
        codes = frozenset(int(code) for code in str(structure["threshold"]).split("||"))
        return CategoricalSplit(int(structure["split_feature"]), codes)
    threshold = float(structure["threshold"])
    kind = structure["missing_type"]
    # Trained without missing values, LightGBM reads a NaN as 0.0.
    missing_left = threshold >= 0.0 if kind == "None" else bool(structure["default_left"])
    return NumericSplit(int(structure["split_feature"]), raw_value_threshold(threshold), missing_left)


def raw_value_threshold(threshold: float) -> float:
    """Give the threshold that sorts raw values as LightGBM sorts them after it has set tiny ones to 0.

    LightGBM predicts with 0.0 wherever |x| <= ZERO_MAX. All those values must go the way of 0.0, so a
    threshold among them moves to the edge of the interval on whose inner side 0.0 does not lie.
    """
    if 0.0 <= threshold < ZERO_THRESHOLD:
        return ZERO_THRESHOLD
    if -ZERO_THRESHOLD <= threshold < 0.0:
        return math.nextafter(-ZERO_THRESHOLD, -math.inf)
    return threshold


def zero_missing_columns(structures: list[dict[str, Any]]) -> frozenset[int]:
    """Find the columns in which zero counts as missing; it must hold for all their splits or for none."""
    kinds: dict[int, set[bool]] = {}
    for structure in structures:
        for split in walk_dump(structure):
            zero = split["missing_type"] == "Zero" and split["decision_type"] != "=="
            kinds.setdefault(split["split_feature"], set()).add(zero)
    mixed = sorted(feature for feature, found in kinds.items() if len(found) == 2)  # noqa: PLR2004 - both
    if mixed:
        raise ModelRejected(f"features {mixed} take zero as missing in some trees only; fit all trees with one setting")
    return frozenset(feature for feature, found in kinds.items() if True in found)


def category_columns(structures: list[dict[str, Any]]) -> frozenset[int]:
    """Find the columns that are split by categories; all their splits must be of that kind."""
    kinds: dict[int, set[str]] = {}
    for structure in structures:
        for split in walk_dump(structure):
            kinds.setdefault(split["split_feature"], set()).add(split["decision_type"])
    mixed = sorted(feature for feature, found in kinds.items() if len(found) == 2)  # noqa: PLR2004 - both
    if mixed:
        raise ModelRejected(f"features {mixed} are split as numbers and as categories; fit all trees with one setting")
    return frozenset(feature for feature, found in kinds.items() if "==" in found)


def walk_dump(structure: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give every split of one dumped tree."""
    if "split_index" in structure:
        yield structure
        yield from walk_dump(structure["left_child"])
        yield from walk_dump(structure["right_child"])


def tree_splits(tree: Tree) -> Iterator[Split]:
    """Give every split of a tree, parents before children."""
    if isinstance(tree, SplitNode):
        yield tree.split
        yield from tree_splits(tree.left)
        yield from tree_splits(tree.right)
