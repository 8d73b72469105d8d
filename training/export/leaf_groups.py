"""Units: parts of a model small enough that a table holds their contributions for every row that exists.

A leaf depends on a row through one fact per feature on its path: does the row meet all the path's
conditions on it? So a unit (a set of leaves) depends on it through one digit per feature, which numbers the
combinations of facts that the feature's classes (`bins`) can bring about; the digits together are a cell,
and the unit's table has one line per cell. Leaves that ask alike share digits, whichever tree they are in:
joining them (`joining`) costs few cells and saves a table.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray

from training.export.bins import FeatureBins
from training.export.trees import Ensemble, Leaf, SplitNode, Tree

# Trees are cut this small, and joined again wherever that costs little (`joining`). Pieces of 1024 cells, joined to as many
# bytes, give a few more units (96 instead of 92 on a model of 189 trees of 8 leaves), smaller pieces none less.
INITIAL_CELLS_MAX = 64


@dataclass(frozen=True, eq=False)
class PathCondition:
    """What one path wants of one feature.

    Attributes:
        met: Shape (classes of the feature,): True where the class meets all the path's conditions on it.
        cover: The share of the training rows that met them: the product over the splits on the feature.
    """

    feature: int
    satisfied: NDArray[np.bool_]
    cover: float


@dataclass(frozen=True, eq=False)
class DecisionPath:
    """One leaf: its value in log-odds, and one fact per feature on the way to it, in ascending order."""

    value: float
    conditions: tuple[PathCondition, ...]


@dataclass(frozen=True, eq=False)
class LeafGroup:
    """Leaves with one table.

    Attributes:
        paths: The leaves.
        digits: Per feature, in ascending order: the digit of each of its classes.
    """

    paths: tuple[DecisionPath, ...]
    digits: Mapping[int, NDArray[np.int64]]

    @cached_property
    def radices(self) -> dict[int, int]:
        """Give the number of digits per feature."""
        return {feature: int(digits.max()) + 1 for feature, digits in self.digits.items()}

    @cached_property
    def cell_count(self) -> int:
        """Give the number of lines of the table."""
        return prod(self.radices.values())

    @cached_property
    def class_sets(self) -> dict[int, tuple[int, ...]]:
        """Give the classes of each digit per feature: bit sets."""
        return {
            feature: tuple(
                int.from_bytes(np.packbits(digits == digit).tobytes()) for digit in range(self.radices[feature])
            )
            for feature, digits in self.digits.items()
        }


def initial_groups(
    ensemble: Ensemble, bins: Mapping[int, FeatureBins], cells_max: int = INITIAL_CELLS_MAX
) -> list[LeafGroup]:
    """Cut a model into units that together hold every leaf once, but for trees of a single leaf: they explain nothing.

    A leaf whose own path needs more than `cells_max` cells is a unit by itself.
    """
    return [unit for tree in ensemble.trees for unit in partition_tree(tree, bins, cells_max) if unit.digits]


def partition_tree(
    tree: Tree, bins: Mapping[int, FeatureBins], cells_max: int, way: tuple[PathCondition, ...] = ()
) -> list[LeafGroup]:
    """Cut one tree into its largest subtrees of at most `cells_max` cells."""
    if isinstance(tree, Leaf):
        return [single_leaf_group(DecisionPath(tree.value, facts_of(way)))]
    left, right = (partition_tree(side, bins, cells_max, (*way, fact)) for side, fact in sides_of(tree, bins))
    if len(left) == len(right) == 1:
        both = merge_groups(left[0], right[0])
        if both.cell_count <= cells_max:
            return [both]
    return left + right


def sides_of(node: SplitNode, bins: Mapping[int, FeatureBins]) -> Iterator[tuple[Tree, PathCondition]]:
    """Give both sides of a split, each with what it wants."""
    found = bins[node.split.feature]
    left = found.goes_left[:, found.splits.index(node.split)]
    for side, met in ((node.left, left), (node.right, ~left)):
        yield side, PathCondition(node.split.feature, met, side.count / node.count if node.count else 0.0)


def facts_of(way: Sequence[PathCondition]) -> tuple[PathCondition, ...]:
    """Make one fact of all that a path wants of a feature."""
    whole: dict[int, PathCondition] = {}
    for fact in way:
        before = whole.get(fact.feature)
        whole[fact.feature] = (
            PathCondition(fact.feature, before.satisfied & fact.satisfied, before.cover * fact.cover)
            if before is not None
            else fact
        )
    return tuple(whole[feature] for feature in sorted(whole))


def single_leaf_group(path: DecisionPath) -> LeafGroup:
    """Give the unit of one leaf."""
    return LeafGroup((path,), {fact.feature: dense_ranks(fact.satisfied.astype(np.int64)) for fact in path.conditions})


def dense_ranks(marks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number equal marks alike, from 0 without gaps, in ascending order; marks are small, and none is negative."""
    held = np.zeros(int(marks.max()) + 1, dtype=np.int64)
    held[marks] = 1
    numbers: NDArray[np.int64] = (np.cumsum(held) - 1)[marks]
    return numbers


def merge_groups(one: LeafGroup, other: LeafGroup) -> LeafGroup:
    """Make one unit of two: a digit of it tells apart what either told apart."""
    digits = dict(one.digits)
    for feature, more in other.digits.items():
        known = digits.get(feature)
        digits[feature] = more if known is None else dense_ranks(known * (int(more.max()) + 1) + more)
    return LeafGroup(one.paths + other.paths, {feature: digits[feature] for feature in sorted(digits)})
