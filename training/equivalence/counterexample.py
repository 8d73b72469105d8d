"""Where a row parts: the tree and the node at which an exported file goes another way than LightGBM."""

from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from training.equivalence.reference import ReferencePath, goes_left, leaf_paths

MEMBER = 6


@dataclass(frozen=True, slots=True)
class Counterexample:
    """A row on which a file is wrong.

    Attributes:
        kind: The kind of row, and its number among them.
        what: What differs, e.g. "margin" or "contribution of PAY_0".
        expected: What LightGBM (or the definition) says.
        found: What the file says.
        place: The tree and node where they part, in words; "" where the file is no score.
    """

    row_kind: str
    row_number: int
    row: tuple[float, ...]
    quantity: str
    expected: float
    actual: float
    divergence: str = ""

    def __str__(self) -> str:
        place = f"\n  they part at {self.divergence}" if self.divergence else ""
        return (
            f"{self.row_kind} row {self.row_number}: {self.quantity} is {self.actual!r}, must be {self.expected!r}"
            f"\n  row: {list(self.row)}{place}"
        )


def locate_divergence(booster: lightgbm.Booster, graph: bytes, row: NDArray[np.float64]) -> str:
    """Find the first tree of a graph's margin in which the row ends otherwise than in LightGBM, and the node."""
    trees = ExportedTrees(graph)
    paths = leaf_paths(booster)
    for number in range(booster.num_trees()):
        expected = next(path for path in paths if path.tree == number and leads(path, row))
        way, value = trees.walk(number, row)
        split = differing(expected, way)
        if split or value != expected.value:
            leaf = f"leaf value {value!r}, must be {expected.value!r}"
            return f"tree {number}, {split or leaf}"
    return "no tree: the sum is added in another order"


def leads(path: ReferencePath, row: NDArray[np.float64]) -> bool:
    """Tell whether a row ends in a leaf."""
    return all(bool(goes_left(step.split, row[[step.split["split_feature"]]])[0]) == step.left for step in path.steps)


def differing(expected: ReferencePath, way: list[tuple[int, float, bool]]) -> str:
    """Say at which depth two ways part, and how the nodes there differ."""
    for depth, step in enumerate(expected.steps):
        split = step.split
        if depth >= len(way):
            return f"depth {depth}: the file has a leaf where LightGBM asks feature {split['split_feature']}"
        feature, threshold, left = way[depth]
        if (feature, left) != (split["split_feature"], step.left):
            return (
                f"depth {depth}: LightGBM asks feature {split['split_feature']} {split['decision_type']} "
                f"{split['threshold']!r} and goes {'left' if step.left else 'right'}; the file asks feature {feature} "
                f"<= {threshold!r} and goes {'left' if left else 'right'}"
            )
    return "" if len(way) == len(expected.steps) else "the file asks on where LightGBM has a leaf"


class ExportedTrees:
    """The trees of a graph's margin, read back from its bytes and walked without a runtime."""

    def __init__(self, graph: bytes) -> None:
        node = next(node for node in onnx.load_from_string(graph).graph.node if "margin" in node.output)
        self.of: dict[str, Any] = {}
        for attribute in node.attribute:
            value = onnx.helper.get_attribute_value(attribute)
            self.of[attribute.name] = numpy_helper.to_array(value) if attribute.type == attribute.TENSOR else value
        self.members = self.members_by_node()

    def members_by_node(self) -> dict[int, set[float]]:
        """Give the set of every member node."""
        nodes = [index for index, mode in enumerate(self.of["nodes_modes"]) if mode == MEMBER]
        values = list(self.of.get("membership_values", []))
        found: dict[int, set[float]] = {}
        for index in nodes:
            end = next(position for position, value in enumerate(values) if np.isnan(value))
            found[index], values = set(values[:end]), values[end + 1 :]
        return found

    def walk(self, tree: int, row: NDArray[np.float64]) -> tuple[list[tuple[int, float, bool]], float]:
        """Give the way of a row (feature, threshold, left) and the value of its leaf."""
        index, is_leaf, way = int(self.of["tree_roots"][tree]), False, []
        while not is_leaf:
            feature, threshold = int(self.of["nodes_featureids"][index]), float(self.of["nodes_splits"][index])
            left = self.left(index, float(row[feature]))
            side = "true" if left else "false"
            both = self.of["nodes_truenodeids"][index] == self.of["nodes_falsenodeids"][index]
            one_leaf = both and self.of["nodes_trueleafs"][index] and self.of["nodes_falseleafs"][index]
            if not one_leaf:  # a tree of a single leaf stands as a node with that leaf on both sides
                way.append((feature, threshold, left))
            is_leaf = bool(self.of[f"nodes_{side}leafs"][index])
            index = int(self.of[f"nodes_{side}nodeids"][index])
        return way, float(self.of["leaf_weights"][index])

    def left(self, index: int, value: float) -> bool:
        """Ask one node."""
        if index in self.members:
            code = np.floor(max(value, 0.0)) + 1.0 if -1.0 < value < 2.0**31 else 0.0
            return code in self.members[index]
        if np.isnan(value):
            return bool(self.of["nodes_missing_value_tracks_true"][index])
        return bool(value <= self.of["nodes_splits"][index])
