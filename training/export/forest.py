"""Writes decision trees as one ai.onnx.ml version 5 TreeEnsemble node, in doubles."""

from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

LESS_OR_EQUAL = 0  # BRANCH_LEQ of ai.onnx.ml version 5
SUM = 1  # its aggregate_function
NO_TRANSFORM = 0  # its post_transform; ONNX Runtime ignores any other


@dataclass
class Forest:
    """Trees under construction, in the node's own flat lists.

    A child index counts nodes where its is-leaf flag is 0, leaves where it is 1.
    """

    targets: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    roots: list[int] = field(default_factory=list)
    features: list[int] = field(default_factory=list)
    thresholds: list[float] = field(default_factory=list)
    missing_true: list[int] = field(default_factory=list)
    true_child: list[tuple[int, int]] = field(default_factory=list)
    false_child: list[tuple[int, int]] = field(default_factory=list)

    def add_leaf(self, target: int, weight: float) -> tuple[int, int]:
        """Add a leaf; the answer names it as a child."""
        self.targets.append(target)
        self.weights.append(weight)
        return len(self.weights) - 1, 1

    def reserve_node(self, feature: int, threshold: float, *, missing_true: bool) -> int:
        """Add a node whose children come later: parents stand before their children."""
        self.features.append(feature)
        self.thresholds.append(threshold)
        self.missing_true.append(int(missing_true))
        self.true_child.append((0, 1))
        self.false_child.append((0, 1))
        return len(self.features) - 1

    def add_root(self, child: tuple[int, int]) -> None:
        """Make this node the root of the next tree.

        A tree that is a single leaf becomes a node with that leaf on both sides: the operator has no
        root that is a leaf.
        """
        index, is_leaf = child
        if is_leaf:
            index = self.reserve_node(0, 0.0, missing_true=True)
            self.true_child[index] = self.false_child[index] = child
        self.roots.append(index)

    def node(self, inputs: str, output: str, target_count: int) -> onnx.NodeProto:
        """Give the finished operator: doubles in, (rows, target_count) doubles out."""
        return helper.make_node(
            "TreeEnsemble",
            [inputs],
            [output],
            domain="ai.onnx.ml",
            n_targets=target_count,
            aggregate_function=SUM,
            post_transform=NO_TRANSFORM,
            tree_roots=self.roots,
            nodes_featureids=self.features,
            nodes_splits=doubles("nodes_splits", self.thresholds),
            nodes_modes=helper.make_tensor(
                "nodes_modes",
                onnx.TensorProto.UINT8,
                [len(self.features)],
                bytes([LESS_OR_EQUAL] * len(self.features)),
                raw=True,
            ),
            nodes_missing_value_tracks_true=self.missing_true,
            nodes_truenodeids=[index for index, _ in self.true_child],
            nodes_trueleafs=[is_leaf for _, is_leaf in self.true_child],
            nodes_falsenodeids=[index for index, _ in self.false_child],
            nodes_falseleafs=[is_leaf for _, is_leaf in self.false_child],
            leaf_targetids=self.targets,
            leaf_weights=doubles("leaf_weights", self.weights),
        )


def doubles(name: str, values: list[float] | NDArray[np.float64]) -> onnx.TensorProto:
    """Give a tensor of doubles, bit for bit."""
    array = np.asarray(values, dtype=np.float64)
    return helper.make_tensor(name, onnx.TensorProto.DOUBLE, array.shape, array.tobytes(), raw=True)
