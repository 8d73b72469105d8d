"""Reads a LightGBM model into plain trees whose splits are exact in double precision.

The rules for missing values, tiny values and categories follow LightGBM 4.7 (`src/io/tree.cpp` and
`include/LightGBM/tree.h`), as observed through `Booster.predict`. tests/training/export/test_score.py has a test for each rule.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm

from training.errors import ModelRejected

# LightGBM treats a value x with |x| <= kZeroThreshold as 0.0. kZeroThreshold is a float32 constant, compared as a double.
ZERO_THRESHOLD = 1.0000000180025095e-35
CODE_MAX = 2147483647.0  # LightGBM casts a category to a 32-bit integer
_OBJECTIVES = ("binary", "cross_entropy")  # for both, the probability is a logistic function of the margin
CODE_SHIFT = 1  # the graphs add 1 to every category code, so that 0 can mean "no code"


@dataclass(frozen=True, slots=True)
class NumericSplit:
    """A threshold on one feature.

    Attributes:
        feature: Column index.
        threshold: A present value goes left if it is at most the threshold.
        missing_left: Whether a missing value (NaN) goes left.
    """

    feature: int
    threshold: float
    missing_left: bool


@dataclass(frozen=True, slots=True)
class CategoricalSplit:
    """A set of category codes of one feature.

    The code of a value is the value truncated to an integer: 2.7 becomes 2, -0.5 becomes 0. Missing, negative, unseen
    and too large codes go right regardless of LightGBM's missing type (LightGBM issue 4468).

    Attributes:
        feature: Column index.
        codes: A value goes left if its code is in this set.
    """

    feature: int
    codes: frozenset[int]


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf of a tree.

    Attributes:
        value: What the leaf adds to the margin. A margin is in log-odds only if `log_odds_factor` is 1.
        count: Number of training rows that reached the leaf.
    """

    value: float
    count: int = 0


@dataclass(frozen=True, slots=True)
class SplitNode:
    """An inner node of a tree; `count` is the number of training rows that reached the node."""

    split: "Split"
    left: "SplitNode | Leaf"
    right: "SplitNode | Leaf"
    count: int = 0


Tree = SplitNode | Leaf
Split = NumericSplit | CategoricalSplit


@dataclass(frozen=True, slots=True)
class Ensemble:
    """A binary model; its margin is the sum of its trees, added in this order.

    Attributes:
        trees: The trees, at least one.
        feature_count: Number of columns of a row, in the order of the booster's feature names.
        zero_as_missing: Columns in which |x| <= ZERO_THRESHOLD is missing (LightGBM's `zero_as_missing`).
        categorical: Columns whose values are category codes.
        sigmoid: Factor of the log-odds: LightGBM computes log-odds = sigmoid * margin / averaged_trees.
        averaged_trees: Number of trees if LightGBM averages them (boosting 'rf'), otherwise 1.
    """

    trees: tuple[Tree, ...]
    feature_count: int
    zero_as_missing: frozenset[int]
    categorical: frozenset[int]
    sigmoid: float = 1.0
    averaged_trees: int = 1

    @property
    def log_odds_factor(self) -> float:
        """Return the factor by which LightGBM converts a margin to log-odds."""
        return self.sigmoid / self.averaged_trees


def read_ensemble(booster: lightgbm.Booster) -> Ensemble:
    """Read a binary model from a booster.

    Raises:
        ModelRejected: The kind of model is unsupported; the message states which setting to use instead.
    """
    dump, trees_text = booster.dump_model(), _trees_text(booster)
    # The flag is in the model text even if no leaf became linear. The dump only shows linear leaves.
    if "\nis_linear=1" in trees_text:
        raise ModelRejected("linear_tree is on, which is unsupported; fit with linear_tree=false")
    _check_supported(dump)
    structures = [tree["tree_structure"] for tree in dump["tree_info"]]
    _restore_thresholds(structures, trees_text)
    return Ensemble(
        trees=tuple(_read_tree(structure) for structure in structures),
        feature_count=dump["max_feature_idx"] + 1,
        zero_as_missing=_columns_where(structures, _is_zero_as_missing, "take zero as missing in some trees only"),
        categorical=_columns_where(structures, _is_categorical, "are split as numbers and as categories"),
        sigmoid=_sigmoid(dump),
        averaged_trees=len(structures) if dump.get("average_output") else 1,
    )


def tree_splits(tree: Tree) -> Iterator[Split]:
    """Yield every split of a tree, parents before children."""
    if isinstance(tree, SplitNode):
        yield tree.split
        yield from tree_splits(tree.left)
        yield from tree_splits(tree.right)


def tree_leaves(tree: Tree) -> Iterator[Leaf]:
    """Yield every leaf of a tree, from left to right."""
    if isinstance(tree, Leaf):
        yield tree
    else:
        yield from tree_leaves(tree.left)
        yield from tree_leaves(tree.right)


def _check_supported(dump: dict[str, Any]) -> None:
    """Raise ModelRejected for a kind of model that the export does not support."""
    objective = str(dump.get("objective", "")).split(" ")[0]
    if objective not in _OBJECTIVES:
        raise ModelRejected(
            f"objective is {objective or 'custom'!r}; only 'binary' and 'cross_entropy' are supported, whose margins are the "
            "log-odds of one outcome: fit with objective='binary'"
        )
    if not dump["tree_info"]:
        raise ModelRejected("the model has no trees; fit with num_iterations of at least 1")


def _sigmoid(dump: dict[str, Any]) -> float:
    """Return the parameter `sigmoid` of the objective; 1 if the objective does not have it."""
    return float(str(dump["objective"]).partition("sigmoid:")[2].split(" ")[0] or 1.0)


def _trees_text(booster: lightgbm.Booster) -> str:
    """Return the part of the model text that describes the trees.

    The lines after this part may begin with the name of a feature, which could equal a key that the reader searches
    for.
    """
    return str(booster.model_to_string()).partition("\nend of trees")[0]


def _restore_thresholds(structures: Sequence[dict[str, Any]], trees_text: str) -> None:
    """Write the exact thresholds of the model text into the dump, because the dump clips thresholds to +-1e300."""
    blocks = trees_text.split("\nTree=")[1:]
    for structure, block in zip(structures, blocks, strict=True):
        line = next((line for line in block.splitlines() if line.startswith("threshold=")), "threshold=")
        thresholds = [float(number) for number in line.removeprefix("threshold=").split()]
        for split in _dumped_splits(structure):
            # For a categorical split, the line has an index into a table of bit sets instead of a threshold.
            if not _is_categorical(split):
                split["threshold"] = thresholds[split["split_index"]]


def _read_tree(structure: dict[str, Any]) -> Tree:
    """Read one tree of the dump."""
    if "leaf_const" in structure:
        raise ModelRejected("linear_tree is on, which is unsupported; fit with linear_tree=false")
    if "split_index" not in structure:
        return Leaf(float(structure["leaf_value"]), int(structure.get("leaf_count", 0)))
    left, right = _read_tree(structure["left_child"]), _read_tree(structure["right_child"])
    return SplitNode(_read_split(structure), left, right, int(structure["internal_count"]))


def _read_split(structure: dict[str, Any]) -> Split:
    """Read one split of the dump, with LightGBM's treatment of missing values."""
    if _is_categorical(structure):
        codes = frozenset(int(code) for code in str(structure["threshold"]).split("||"))
        return CategoricalSplit(int(structure["split_feature"]), codes)
    threshold = float(structure["threshold"])
    # A split that saw no missing value in training (missing type None) reads NaN as 0.0 and ignores default_left.
    reads_nan_as_zero = structure["missing_type"] == "None"
    missing_left = threshold >= 0.0 if reads_nan_as_zero else bool(structure["default_left"])
    return NumericSplit(int(structure["split_feature"]), _raw_value_threshold(threshold), missing_left)


def _raw_value_threshold(threshold: float) -> float:
    """Return a threshold for raw values that is equivalent to LightGBM's threshold.

    LightGBM replaces values with |x| <= ZERO_THRESHOLD by 0.0 before it compares, so all of them go to the same side as 0.0.
    A threshold within this interval is therefore moved to that end of the interval that leaves 0.0 on the same side.
    """
    if 0.0 <= threshold < ZERO_THRESHOLD:
        return ZERO_THRESHOLD
    if -ZERO_THRESHOLD <= threshold < 0.0:
        return math.nextafter(-ZERO_THRESHOLD, -math.inf)
    return threshold


def _columns_where(
    structures: Sequence[dict[str, Any]], condition: Callable[[dict[str, Any]], bool], conflict: str
) -> frozenset[int]:
    """Return the columns whose splits all meet a condition.

    Raises:
        ModelRejected: Some splits of a column meet the condition and others do not, as happens if training was continued
            with different settings. The graphs preprocess a column once for all its splits.
    """
    answers: dict[int, set[bool]] = {}
    for structure in structures:
        for split in _dumped_splits(structure):
            answers.setdefault(split["split_feature"], set()).add(condition(split))
    mixed = sorted(feature for feature, found in answers.items() if len(found) > 1)
    if mixed:
        raise ModelRejected(f"features {mixed} {conflict}; fit all trees with one setting")
    return frozenset(feature for feature, found in answers.items() if True in found)


def _is_categorical(split: dict[str, Any]) -> bool:
    """Return whether a split of the dump tests a set of categories."""
    return bool(split["decision_type"] == "==")


def _is_zero_as_missing(split: dict[str, Any]) -> bool:
    """Return whether a split of the dump treats zero as missing."""
    return split["missing_type"] == "Zero" and not _is_categorical(split)


def _dumped_splits(structure: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every split of one tree of the dump."""
    if "split_index" in structure:
        yield structure
        yield from _dumped_splits(structure["left_child"])
        yield from _dumped_splits(structure["right_child"])
