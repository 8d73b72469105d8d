"""The leaves of a model as arrays, from which explanation graphs are built that grow only polynomially with the model.

A condition is what one path requires of one feature: all splits of the path on that feature together. A condition on
numbers is an interval of ranks. The rank of a value is the number of the feature's edges (`bins`) below the value, and a
missing value that no interval shares its class with has the rank MISSING_RANK. A condition on categories is a set of
classes. Equal conditions of different leaves are stored once, so a row is compared with each of them once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.export.bins import FeatureBins
from training.export.trees import CategoricalSplit, Leaf, Split, SplitNode, Tree

MISSING_RANK = -1


class RankInterval(NamedTuple):
    """A condition on numbers: low < rank <= high, or the value is missing and `missing` is True."""

    low: int
    high: int
    missing: bool


ClassSet = tuple[bool, ...]  # a condition on categories: for each class of the feature, whether its values satisfy it


@dataclass(frozen=True, slots=True)
class LeafBucket:
    """The leaves of a model whose paths have the same number of features.

    Attributes:
        values: Shape (leaves,), what each leaf adds to the margin.
        conditions: Shape (leaves, width), the numbers of each leaf's conditions, in ascending order of the features.
        covers: Shape (leaves, width); for each condition, the product of the cover ratios of the path's splits on its feature.
    """

    values: NDArray[np.float64]
    conditions: NDArray[np.int32]
    covers: NDArray[np.float64]

    @property
    def width(self) -> int:
        """Return the number of features on each path."""
        return int(self.conditions.shape[1])

    def part(self, start: int, stop: int) -> "LeafBucket":
        """Return the leaves from `start` to `stop`."""
        return LeafBucket(self.values[start:stop], self.conditions[start:stop], self.covers[start:stop])


@dataclass(frozen=True, slots=True)
class LeafPaths:
    """Leaves by the number of features on their paths, and their distinct conditions.

    Attributes:
        buckets: The leaves, by ascending width.
        intervals: The conditions on numbers by feature, features ascending.
        class_sets: The conditions on categories by feature, features ascending. The conditions are numbered in this
            order: first all intervals, then all class sets.
    """

    buckets: tuple[LeafBucket, ...]
    intervals: Mapping[int, tuple[RankInterval, ...]]
    class_sets: Mapping[int, tuple[ClassSet, ...]]

    @property
    def features(self) -> NDArray[np.int32]:
        """Return the feature of each condition, shape (conditions,)."""
        both = (*self.intervals.items(), *self.class_sets.items())
        parts = [np.full(len(conditions), feature, dtype=np.int32) for feature, conditions in both]
        return np.concatenate([np.zeros(0, dtype=np.int32), *parts])

    def row_conditions(
        self, bins: Mapping[int, FeatureBins], classes: Mapping[int, NDArray[np.int64]]
    ) -> NDArray[np.bool_]:
        """Return which rows satisfy each condition, shape (conditions, rows); `classes` is from `bins.row_classes`."""
        blocks = [np.zeros((0, len(next(iter(classes.values()), ()))), dtype=np.bool_)]
        for feature, intervals in self.intervals.items():
            ranks = class_ranks(bins[feature])[classes[feature]]
            low, high, missing = (np.array(column)[:, None] for column in zip(*intervals, strict=True))
            blocks.append((ranks > low) & (ranks <= high) | missing & (ranks == MISSING_RANK))
        blocks += [np.array(sets)[:, classes[feature]] for feature, sets in self.class_sets.items()]
        return np.concatenate(blocks)


def class_ranks(bins: FeatureBins) -> NDArray[np.int32]:
    """Return the rank of each class of a feature that is split as numbers, shape (classes,)."""
    ranks = np.full(len(bins.goes_left), MISSING_RANK, dtype=np.int32)
    ranks[bins.classes] = np.arange(len(bins.classes), dtype=np.int32)
    return ranks


def leaf_paths(
    trees: Sequence[Tree], bins: Mapping[int, FeatureBins], chosen: NDArray[np.bool_] | None = None
) -> LeafPaths:
    """Return the leaves of trees as arrays. A tree that is a single leaf has no contributions and is left out.

    Args:
        trees: The trees.
        bins: The bins of the model.
        chosen: Shape (leaves of all trees,), which leaves to return, in the order of `trees` and from left to right; None
            for all leaves.
    """
    conditions = _ConditionNumbers(bins)
    leaves: dict[int, list[tuple[float, _Path]]] = {}
    for number, (value, path) in enumerate(_walk_leaves(trees, conditions)):
        if path and (chosen is None or chosen[number]):
            leaves.setdefault(len(path), []).append((value, path))
    order, intervals, class_sets = conditions.sort(path for found in leaves.values() for _, path in found)
    return LeafPaths(tuple(_bucket(width, leaves[width], order) for width in sorted(leaves)), intervals, class_sets)


_Path = dict[int, tuple[int, float]]  # number of the condition, and cover, by feature


class _ConditionNumbers:
    """Numbers the distinct conditions in the order of their first use, and the conditions to which a split leads."""

    def __init__(self, bins: Mapping[int, FeatureBins]) -> None:
        self._bins = bins
        self._found: list[tuple[int, RankInterval | ClassSet]] = []
        self._numbers: dict[tuple[int, RankInterval | ClassSet], int] = {}
        self._sides: dict[Split, tuple[RankInterval | ClassSet, RankInterval | ClassSet]] = {}
        self._steps: dict[tuple[int | None, Split], tuple[int, int]] = {}

    def step(self, before: int | None, split: Split) -> tuple[int, int]:
        """Return the numbers of the path's condition on the feature of a split, left and right of it; `before` is its number above."""
        found = self._steps.get((before, split))
        if found is None:
            sides = self._sides.get(split) or self._sides.setdefault(split, self._split_sides(split))
            left, right = (
                self._number(split.feature, side if before is None else _intersect(self._found[before][1], side))
                for side in sides
            )
            found = self._steps[before, split] = (left, right)
        return found

    def sort(
        self, paths: Iterator[_Path]
    ) -> tuple[NDArray[np.int32], dict[int, tuple[RankInterval, ...]], dict[int, tuple[ClassSet, ...]]]:
        """Return the final number of each condition that a path uses, and these conditions by feature."""
        used = np.zeros(len(self._found), dtype=np.bool_)
        for path in paths:
            for number, _ in path.values():
                used[number] = True
        intervals: dict[int, list[RankInterval]] = {}
        class_sets: dict[int, list[ClassSet]] = {}
        numbers = sorted(np.flatnonzero(used).tolist(), key=self._sort_key)
        order = np.zeros(len(self._found), dtype=np.int32)
        order[numbers] = np.arange(len(numbers), dtype=np.int32)
        for number in numbers:
            feature, condition = self._found[number]
            if isinstance(condition, RankInterval):
                intervals.setdefault(feature, []).append(condition)
            else:
                class_sets.setdefault(feature, []).append(condition)
        return (
            order,
            {feature: tuple(found) for feature, found in intervals.items()},
            {feature: tuple(found) for feature, found in class_sets.items()},
        )

    def _sort_key(self, number: int) -> tuple[bool, int, int]:
        """Return the key that sorts intervals before class sets, and both by feature."""
        feature, condition = self._found[number]
        return not isinstance(condition, RankInterval), feature, number

    def _number(self, feature: int, condition: RankInterval | ClassSet) -> int:
        """Return the number of a condition, and add the condition if it is new."""
        number = self._numbers.setdefault((feature, condition), len(self._found))
        if number == len(self._found):
            self._found.append((feature, condition))
        return number

    def _split_sides(self, split: Split) -> tuple[RankInterval | ClassSet, RankInterval | ClassSet]:
        """Return the conditions of both sides of a split."""
        bins = self._bins[split.feature]
        if isinstance(split, CategoricalSplit):
            left = bins.goes_left[:, bins.splits.index(split)]
            return tuple(left.tolist()), tuple((~left).tolist())
        # The values of the intervals up to the one that ends at the threshold go left. If an edge was dropped because it
        # separates nothing, all values of the last interval go left.
        rank = int(np.searchsorted(bins.edges, split.threshold, side="left"))
        own = not (bins.classes == bins.missing_class).any()  # missing values have a class of their own
        last = len(bins.edges)
        return RankInterval(-1, rank, own and split.missing_left), RankInterval(
            rank, last, own and not split.missing_left
        )


def _intersect(first: RankInterval | ClassSet, second: RankInterval | ClassSet) -> RankInterval | ClassSet:
    """Return the condition that both conditions on a feature are satisfied."""
    if isinstance(first, RankInterval) and isinstance(second, RankInterval):
        return RankInterval(
            max(first.low, second.low), min(first.high, second.high), missing=first.missing and second.missing
        )
    return tuple(bool(one and other) for one, other in zip(first, second, strict=True))


def _walk_leaves(trees: Sequence[Tree], conditions: _ConditionNumbers) -> Iterator[tuple[float, _Path]]:
    """Yield the value and the path of every leaf, from left to right."""
    for tree in trees:
        stack: list[tuple[Tree, _Path]] = [(tree, {})]
        while stack:
            node, path = stack.pop()
            if isinstance(node, Leaf):
                yield node.value, path
                continue
            number, cover = path.get(node.split.feature, (None, 1.0))
            left, right = conditions.step(number, node.split)
            stack.append((node.right, path | {node.split.feature: (right, cover * _cover(node, node.right))}))
            stack.append((node.left, path | {node.split.feature: (left, cover * _cover(node, node.left))}))


def _cover(node: SplitNode, child: Tree) -> float:
    """Return the share of the training rows at a node that reached a child."""
    return child.count / node.count if node.count else 0.0


def _bucket(width: int, leaves: Sequence[tuple[float, _Path]], order: NDArray[np.int32]) -> LeafBucket:
    """Return leaves of one width as arrays."""
    steps = [[path[feature] for feature in sorted(path)] for _, path in leaves]
    numbers = np.array([[number for number, _ in found] for found in steps], dtype=np.int64)
    covers = np.array([[cover for _, cover in found] for found in steps])
    return LeafBucket(np.array([value for value, _ in leaves]), order[numbers], covers.reshape(-1, width))
