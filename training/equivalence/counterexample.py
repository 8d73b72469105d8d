"""A row on which an exported file is wrong, with the tree and the node where the file diverges from LightGBM."""

from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from training.equivalence.reference import ReferencePath, goes_left, leaf_paths

_BRANCH_MEMBER = 6  # node mode of ai.onnx.ml version 5


@dataclass(frozen=True, slots=True)
class Counterexample:
    """A row on which a file is wrong.

    Attributes:
        row_kind: Kind of the row, as in `probes.probe_rows`.
        row_number: Position among the rows of that kind, from 0.
        row: The values, NaN where missing.
        quantity: Name of the quantity that differs, such as "margin of score.onnx" or "contribution of PAY_0".
        expected: Value that LightGBM computes, or that the definition requires.
        actual: Value that the file computes.
        divergence: Description of the tree and the node; empty if the quantity is not a margin.
    """

    row_kind: str
    row_number: int
    row: tuple[float, ...]
    quantity: str
    expected: float
    actual: float
    divergence: str = ""

    def __str__(self) -> str:
        divergence = f"\n  first divergence: {self.divergence}" if self.divergence else ""
        return (
            f"{self.row_kind} row {self.row_number}: {self.quantity} is {self.actual!r}, expected {self.expected!r}"
            f"\n  row: {list(self.row)}{divergence}"
        )


def locate_divergence(booster: lightgbm.Booster, graph: bytes, row: NDArray[np.float64]) -> str:
    """Return a description of the first tree and node at which a graph leads a row to a different leaf than LightGBM.

    Args:
        booster: The LightGBM model.
        graph: Bytes of score.onnx or explain.onnx.
        row: Shape (features,).
    """
    trees, paths = _ExportedTrees(graph), leaf_paths(booster)
    for number in range(booster.num_trees()):
        if number >= trees.count:
            return f"tree {number}: the file has only {trees.count} trees"
        expected = next(path for path in paths if path.tree == number and _reaches_leaf(path, row))
        steps, value = trees.follow(number, row)
        # The export adds a split above a tree that is a single leaf, so only the leaves of such a tree are compared.
        difference = _describe_difference(expected, steps) if expected.steps else ""
        if difference or value != expected.value:
            return f"tree {number}, {difference or f'leaf value is {value!r}, expected {expected.value!r}'}"
    return "none: every leaf is correct, so the order of the sum differs"


def _reaches_leaf(path: ReferencePath, row: NDArray[np.float64]) -> bool:
    """Return whether a row ends in the leaf of a path."""
    return all(bool(goes_left(step.split, row[[step.split["split_feature"]]])[0]) == step.left for step in path.steps)


@dataclass(frozen=True, slots=True)
class _ExportedStep:
    """One inner node on a row's path in an exported tree, and whether the row goes left."""

    feature: int
    threshold: float
    left: bool


def _describe_difference(expected: ReferencePath, actual: list[_ExportedStep]) -> str:
    """Return the depth at which two paths diverge and how their nodes differ there; empty if the paths are equal."""
    for depth, step in enumerate(expected.steps):
        split = step.split
        if depth >= len(actual):
            return f"depth {depth}: the file has a leaf, LightGBM splits on feature {split['split_feature']}"
        found = actual[depth]
        if (found.feature, found.left) != (split["split_feature"], step.left):
            return (
                f"depth {depth}: LightGBM splits on feature {split['split_feature']} {split['decision_type']} "
                f"{split['threshold']!r} and goes {'left' if step.left else 'right'}; the file splits on feature "
                f"{found.feature} <= {found.threshold!r} and goes {'left' if found.left else 'right'}"
            )
    return "" if len(actual) == len(expected.steps) else "the file has a split where LightGBM has a leaf"


class _ExportedTrees:
    """The trees that compute the margin in a graph, read from the graph's bytes and run without ONNX Runtime."""

    def __init__(self, graph: bytes) -> None:
        node = next(node for node in onnx.load_from_string(graph).graph.node if "margin" in node.output)
        self._attributes: dict[str, Any] = {}
        for attribute in node.attribute:
            value = onnx.helper.get_attribute_value(attribute)
            is_tensor = attribute.type == attribute.TENSOR
            self._attributes[attribute.name] = numpy_helper.to_array(value) if is_tensor else value
        self._members = self._members_by_node()

    @property
    def count(self) -> int:
        """Return the number of trees."""
        return len(self._attributes["tree_roots"])

    def follow(self, tree: int, row: NDArray[np.float64]) -> tuple[list[_ExportedStep], float]:
        """Return the path of a row of shape (features,) through a tree, and the value of its leaf."""
        attributes = self._attributes
        index, is_leaf, steps = int(attributes["tree_roots"][tree]), False, []
        while not is_leaf:
            feature, threshold = int(attributes["nodes_featureids"][index]), float(attributes["nodes_splits"][index])
            left = self._goes_left(index, float(row[feature]))
            # A tree that is a single leaf is exported as a node with this leaf on both sides, which is not a split of LightGBM.
            if not self._has_one_leaf(index):
                steps.append(_ExportedStep(feature, threshold, left))
            side = "true" if left else "false"
            is_leaf = bool(attributes[f"nodes_{side}leafs"][index])
            index = int(attributes[f"nodes_{side}nodeids"][index])
        return steps, float(attributes["leaf_weights"][index])

    def _has_one_leaf(self, index: int) -> bool:
        """Return whether both children of a node are the same leaf."""
        attributes = self._attributes
        same = attributes["nodes_truenodeids"][index] == attributes["nodes_falsenodeids"][index]
        return bool(same and attributes["nodes_trueleafs"][index] and attributes["nodes_falseleafs"][index])

    def _goes_left(self, index: int, value: float) -> bool:
        """Return whether a raw value goes left at a node; the sets of the file contain category codes plus 1."""
        if index in self._members:
            code = np.floor(max(value, 0.0)) + 1.0 if -1.0 < value < 2.0**31 else 0.0
            return code in self._members[index]
        if np.isnan(value):
            return bool(self._attributes["nodes_missing_value_tracks_true"][index])
        return bool(value <= self._attributes["nodes_splits"][index])

    def _members_by_node(self) -> dict[int, set[float]]:
        """Return the set of codes of every member node; in the operator's list of codes, a NaN ends each set."""
        nodes = [index for index, mode in enumerate(self._attributes["nodes_modes"]) if mode == _BRANCH_MEMBER]
        values = list(self._attributes.get("membership_values", []))
        members: dict[int, set[float]] = {}
        for index in nodes:
            end = next(position for position, value in enumerate(values) if np.isnan(value))
            members[index], values = set(values[:end]), values[end + 1 :]
        return members
