"""Writes decision trees as one ai.onnx.ml version 5 TreeEnsemble node, in doubles."""

import math
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from training.export.trees import CODE_SHIFT, CategoricalSplit, NumericSplit, Split

LESS_OR_EQUAL, MEMBER = 0, 6  # BRANCH_LEQ and BRANCH_MEMBER of ai.onnx.ml version 5
SUM = 1  # its aggregate_function
NO_TRANSFORM = 0  # its post_transform; ONNX Runtime ignores any other


@dataclass
class TreeEnsembleBuilder:
    """Trees under construction, in the node's own flat lists.

    A child index counts nodes where its is-leaf flag is 0, leaves where it is 1.
    """

    targets: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    roots: list[int] = field(default_factory=list)
    features: list[int] = field(default_factory=list)
    thresholds: list[float] = field(default_factory=list)
    missing_true: list[int] = field(default_factory=list)
    modes: list[int] = field(default_factory=list)
    members: list[float] = field(default_factory=list)
    true_child: list[tuple[int, int]] = field(default_factory=list)
    false_child: list[tuple[int, int]] = field(default_factory=list)

    def add_leaf(self, target: int, weight: float) -> tuple[int, int]:
        """Add a leaf; the answer names it as a child."""
        self.targets.append(target)
        self.weights.append(weight)
        return len(self.weights) - 1, 1

    def add_split(self, question: Split) -> int:
        """Add a node whose children come later: parents stand before their children.

        The operator takes the sets of its member nodes in the order of the nodes, each ended by NaN. Codes
        are shifted by one, as `graph.input_nodes` shifts them: a set that holds 0 ends early in
        onnx.reference.
        """
        self.features.append(question.feature)
        if isinstance(question, CategoricalSplit):
            self.modes.append(MEMBER)
            self.thresholds.append(math.nan)
            self.missing_true.append(0)
            self.members += [*(float(code + CODE_SHIFT) for code in sorted(question.codes)), math.nan]
        else:
            self.modes.append(LESS_OR_EQUAL)
            self.thresholds.append(question.threshold)
            self.missing_true.append(int(question.missing_left))
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
            index = self.add_split(NumericSplit(0, 0.0, missing_left=True))
            self.true_child[index] = self.false_child[index] = child
        self.roots.append(index)

    def build(self, inputs: str, output: str, target_count: int) -> onnx.NodeProto:
        """Give the finished operator: doubles in, (rows, target_count) doubles out."""
        modes = helper.make_tensor(
            "nodes_modes", onnx.TensorProto.UINT8, [len(self.modes)], bytes(self.modes), raw=True
        )
        members = doubles("membership_values", self.members) if self.members else None
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
            nodes_modes=modes,
            nodes_missing_value_tracks_true=self.missing_true,
            nodes_truenodeids=[index for index, _ in self.true_child],
            nodes_trueleafs=[is_leaf for _, is_leaf in self.true_child],
            nodes_falsenodeids=[index for index, _ in self.false_child],
            nodes_falseleafs=[is_leaf for _, is_leaf in self.false_child],
            leaf_targetids=self.targets,
            leaf_weights=doubles("leaf_weights", self.weights),
            membership_values=members,  # None leaves the attribute out
        )


def doubles(name: str, values: list[float] | NDArray[np.float64]) -> onnx.TensorProto:
    """Give a tensor of doubles, bit for bit."""
    array = np.asarray(values, dtype=np.float64)
    return helper.make_tensor(name, onnx.TensorProto.DOUBLE, array.shape, array.tobytes(), raw=True)
