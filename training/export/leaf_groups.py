"""Groups of leaves whose contributions fit into one lookup table for every possible row.

For one leaf, the contributions depend on one boolean per feature on the path of the leaf. The boolean states whether
the row satisfies all conditions of the path on that feature. For a group of leaves, a feature has one boolean per leaf.
The class of the feature's value (`bins`) determines these booleans. The distinct combinations of booleans that the
classes lead to are numbered, and this number is the digit of the feature. The digits of all features form a mixed-radix
number, the cell. The lookup table of the group has one line for each cell.

Leaves whose paths have the same splits have the same digits, even if the leaves are in different trees. Merging their groups
(`merging`) adds few cells, and each explained row needs one lookup less.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray

from training.export.bins import FeatureBins
from training.export.trees import Ensemble, Leaf, SplitNode, Tree

# Trees are first partitioned into groups of at most this many cells. `merging` then merges groups where this is cheap. Large
# initial groups lead to more tables of the same total size: 189 trees of 8 leaves have 96 tables if the initial groups have up
# to 1,024 cells, and 92 tables if they have up to 64.
INITIAL_CELLS_MAX = 64


@dataclass(frozen=True, eq=False)
class PathCondition:
    """The combination of all conditions of one path on one feature.

    Attributes:
        feature: Column index.
        satisfied: Shape (classes of the feature,), whether the values of a class satisfy the conditions.
        cover: Product of the covers of the path's splits on the feature, from 0 to 1. The cover of a split is the share of
            the training rows at the split's node that reached the next node of the path.
    """

    feature: int
    satisfied: NDArray[np.bool_]
    cover: float


@dataclass(frozen=True, eq=False)
class DecisionPath:
    """A leaf and the path to it.

    Attributes:
        value: The leaf's part of the margin.
        conditions: One condition for each feature on the path, in ascending order of the features.
    """

    value: float
    conditions: tuple[PathCondition, ...]


@dataclass(frozen=True, eq=False)
class LeafGroup:
    """Leaves that share one lookup table.

    Attributes:
        paths: The paths to the leaves.
        digits: The digits of the classes by feature, features ascending; each array has shape (classes of the
            feature,).
    """

    paths: tuple[DecisionPath, ...]
    digits: Mapping[int, NDArray[np.int64]]

    @cached_property
    def radices(self) -> dict[int, int]:
        """Return the number of distinct digits of each feature."""
        return {feature: int(digits.max()) + 1 for feature, digits in self.digits.items()}

    @cached_property
    def cell_count(self) -> int:
        """Return the number of lines of the lookup table."""
        return prod(self.radices.values())

    @cached_property
    def class_sets(self) -> dict[int, tuple[int, ...]]:
        """Return for each digit of each feature the set of its classes, as the bits of an integer."""
        return {
            feature: tuple(
                int.from_bytes(np.packbits(digits == digit).tobytes()) for digit in range(self.radices[feature])
            )
            for feature, digits in self.digits.items()
        }


def initial_groups(
    ensemble: Ensemble, bins: Mapping[int, FeatureBins], cells_max: int = INITIAL_CELLS_MAX
) -> list[LeafGroup]:
    """Partition the leaves of a model into small groups.

    Trees that are a single leaf are left out, because they have no contributions.

    Args:
        ensemble: The model.
        bins: The bins of the model, from `bins.ensemble_bins`.
        cells_max: Maximum number of cells of a group; a leaf whose path alone has more cells is a group by itself.
    """
    return [group for tree in ensemble.trees for group in partition_tree(tree, bins, cells_max) if group.digits]


def partition_tree(
    tree: Tree, bins: Mapping[int, FeatureBins], cells_max: int, path: tuple[PathCondition, ...] = ()
) -> list[LeafGroup]:
    """Partition one tree into groups. Each group is a largest possible subtree of at most `cells_max` cells.

    Args:
        tree: The tree, or a subtree during the recursion.
        bins: The bins of the model.
        cells_max: Maximum number of cells of a group, as in `initial_groups`.
        path: Conditions from the root of the tree to `tree`, one for each split.
    """
    if isinstance(tree, Leaf):
        return [_single_leaf_group(DecisionPath(tree.value, _conditions_by_feature(path)))]
    left, right = (partition_tree(side, bins, cells_max, (*path, step)) for side, step in _branches(tree, bins))
    # If one side had to be partitioned into several groups, both sides together are too large as well.
    if len(left) == len(right) == 1:
        both = merge_groups(left[0], right[0])
        if both.cell_count <= cells_max:
            return [both]
    return left + right


def merge_groups(first: LeafGroup, second: LeafGroup) -> LeafGroup:
    """Return a group with the leaves of two groups; it distinguishes all classes that one of its parts distinguishes."""
    digits = dict(first.digits)
    for feature, more in second.digits.items():
        known = digits.get(feature)
        # A pair of digits is encoded as one number. Ranking the numbers that occur closes the gaps between them.
        digits[feature] = more if known is None else _dense_ranks(known * (int(more.max()) + 1) + more)
    return LeafGroup(first.paths + second.paths, {feature: digits[feature] for feature in sorted(digits)})


def _branches(node: SplitNode, bins: Mapping[int, FeatureBins]) -> Iterator[tuple[Tree, PathCondition]]:
    """Return both children of a node with the condition that leads to each."""
    feature_bins = bins[node.split.feature]
    left = feature_bins.goes_left[:, feature_bins.splits.index(node.split)]
    for child, satisfied in ((node.left, left), (node.right, ~left)):
        cover = child.count / node.count if node.count else 0.0
        yield child, PathCondition(node.split.feature, satisfied, cover)


def _conditions_by_feature(path: Sequence[PathCondition]) -> tuple[PathCondition, ...]:
    """Combine the conditions on each feature into one."""
    combined: dict[int, PathCondition] = {}
    for step in path:
        before = combined.get(step.feature)
        combined[step.feature] = (
            step
            if before is None
            else PathCondition(step.feature, before.satisfied & step.satisfied, before.cover * step.cover)
        )
    return tuple(combined[feature] for feature in sorted(combined))


def _single_leaf_group(path: DecisionPath) -> LeafGroup:
    """Return the group of one leaf."""
    digits = {condition.feature: _dense_ranks(condition.satisfied.astype(np.int64)) for condition in path.conditions}
    return LeafGroup((path,), digits)


def _dense_ranks(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rank of each number among the distinct numbers, from 0 without gaps.

    The numbers must not be negative. They are small, so counting is faster than `np.unique`.
    """
    occurs = np.zeros(int(numbers.max()) + 1, dtype=np.int64)
    occurs[numbers] = 1
    ranks: NDArray[np.int64] = (np.cumsum(occurs) - 1)[numbers]
    return ranks
