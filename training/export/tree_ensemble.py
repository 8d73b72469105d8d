"""Builds the TreeEnsemble operator of ai.onnx.ml version 5 with double thresholds and double leaf values."""

import math
from dataclasses import dataclass

import onnx
from onnx import helper

from training.export.tensors import double_tensor
from training.export.trees import CODE_SHIFT, CategoricalSplit, NumericSplit, Split

# Values of the operator's attributes, named as in its specification.
_BRANCH_LEQ, _BRANCH_MEMBER = 0, 6
_AGGREGATE_SUM = 1
_POST_TRANSFORM_NONE = 0  # ONNX Runtime ignores all other values


@dataclass(frozen=True, slots=True)
class ChildRef:
    """A reference to a child: leaf number `index` if is_leaf is 1, inner node number `index` if is_leaf is 0."""

    index: int
    is_leaf: int


_UNSET = ChildRef(0, 1)


class TreeEnsembleBuilder:
    """Trees under construction, in the flat lists of the operator's attributes."""

    def __init__(self) -> None:
        self._roots: list[int] = []
        # One entry for each inner node.
        self._features: list[int] = []
        self._thresholds: list[float] = []
        self._missing_true: list[int] = []
        self._modes: list[int] = []
        self._true_children: list[ChildRef] = []
        self._false_children: list[ChildRef] = []
        # The sets of all member nodes, concatenated in the order of the nodes; a NaN follows each set.
        self._members: list[float] = []
        # One entry for each leaf.
        self._targets: list[int] = []
        self._weights: list[float] = []

    def add_leaf(self, target: int, weight: float) -> ChildRef:
        """Append a leaf that adds a weight to output column `target`."""
        self._targets.append(target)
        self._weights.append(weight)
        return ChildRef(len(self._weights) - 1, 1)

    def add_split(self, split: Split) -> ChildRef:
        """Append an inner node; `set_children` sets its children later, so that parents precede children."""
        self._features.append(split.feature)
        if isinstance(split, CategoricalSplit):
            self._modes.append(_BRANCH_MEMBER)
            self._thresholds.append(math.nan)
            self._missing_true.append(0)
            # The operator reads one set per member node, in the order of the nodes; a NaN follows each set. Codes are
            # shifted by one here and in `graph.preprocessing`, because onnx.reference treats a 0 as the end of a set.
            self._members += [*(float(code + CODE_SHIFT) for code in sorted(split.codes)), math.nan]
        else:
            self._modes.append(_BRANCH_LEQ)
            self._thresholds.append(split.threshold)
            self._missing_true.append(int(split.missing_left))
        self._true_children.append(_UNSET)
        self._false_children.append(_UNSET)
        return ChildRef(len(self._features) - 1, 0)

    def set_children(self, node: ChildRef, left: ChildRef, right: ChildRef) -> None:
        """Set the children of an inner node; a row goes to `left` if the split is true for its value."""
        self._true_children[node.index] = left
        self._false_children[node.index] = right

    def add_root(self, root: ChildRef) -> None:
        """Append a tree by its root.

        The operator does not support a root that is a leaf. A tree that is a single leaf therefore becomes an inner node
        with this leaf on both sides.
        """
        if root.is_leaf:
            leaf, root = root, self.add_split(NumericSplit(0, 0.0, missing_left=True))
            self.set_children(root, leaf, leaf)
        self._roots.append(root.index)

    def build(self, rows: str, output: str, target_count: int) -> onnx.NodeProto:
        """Return the operator.

        Args:
            rows: Name of the input, doubles of shape (n, features).
            output: Name of the output, doubles of shape (n, target_count): the sums of the leaf weights by target.
            target_count: Number of output columns.
        """
        modes = helper.make_tensor(
            "nodes_modes", onnx.TensorProto.UINT8, [len(self._modes)], bytes(self._modes), raw=True
        )
        # An empty tensor of members would be invalid; make_node leaves out an attribute that is None.
        members = double_tensor("membership_values", self._members) if self._members else None
        return helper.make_node(
            "TreeEnsemble",
            [rows],
            [output],
            domain="ai.onnx.ml",
            n_targets=target_count,
            aggregate_function=_AGGREGATE_SUM,
            post_transform=_POST_TRANSFORM_NONE,
            tree_roots=self._roots,
            nodes_featureids=self._features,
            nodes_splits=double_tensor("nodes_splits", self._thresholds),
            nodes_modes=modes,
            nodes_missing_value_tracks_true=self._missing_true,
            nodes_truenodeids=[child.index for child in self._true_children],
            nodes_trueleafs=[child.is_leaf for child in self._true_children],
            nodes_falsenodeids=[child.index for child in self._false_children],
            nodes_falseleafs=[child.is_leaf for child in self._false_children],
            leaf_targetids=self._targets,
            leaf_weights=double_tensor("leaf_weights", self._weights),
            membership_values=members,
        )
