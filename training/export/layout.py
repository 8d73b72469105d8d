"""The layout of the lookup tables in explain.onnx: the leaf groups, dense or sparse lines, and the limit of their size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from training.errors import ModelRejected
from training.export.bins import FeatureBins, ensemble_bins
from training.export.leaf_groups import LeafGroup, initial_groups
from training.export.merging import TableBudget, merge_within_budget
from training.export.trees import Ensemble, Leaf, SplitNode, Tree

EXPLAIN_BYTES_MAX = 24_000_000  # a bundle has at most 30 MB; the remaining 6 MB are for its other files
# Groups are merged while the tables stay within this size. The size was chosen by measurements on 189 trees of 8 leaves
# over 19 features. The figures are microseconds for one row, interleaved with other explainers, and in a warm loop (in
# parentheses):
#   each tree is merged with the group that grows least, while a group has at most
#        1024 cells: 134 groups, 8 MB: 50.6 (41.2)      2048 cells:  93 groups, 21 MB: 42.0 (41.3)
#   the pair of groups that grows least of all pairs is merged, while the tables have at most
#        3 MB: 176 groups: 48.6 (45.8)    8 MB: 130 groups: 42.5 (41.9)    11 MB: 114 groups: 40.9 (41.4)
#       15 MB:  98 groups: 39.2 (38.6)   21 MB:  89 groups: 39.0 (41.9)    24 MB:  86 groups: 37.8 (40.2)
TABLES_BYTES_MAX = 16_000_000
# Limit for the cells of a merged group. The time to fill a table grows with cells * leaves. Without the limit, a model of 300
# trees of 8 leaves over 6 features takes 7.2 s to export instead of 0.7 s; it then has 9 groups instead of 28, which saves
# only 0.3 microseconds per row.
_CELLS_MAX = 4096
# To explain a row, groups * features values of dense lines are read. Above this limit, lines are sparse. A dense value
# costs about 3 ns. Sparse lines have fewer values, but each costs about 12 ns, and summing them costs about 8
# microseconds more. Measured microseconds, dense and sparse: 1,800 values 23 and 38; 13,500 values 75 and 90; 41,000
# values 154 and 79; 75,000 values 218 and 69.
DENSE_NUMBERS_MAX = 20_000
_SPARSE_FEATURES_MAX = 8  # all sparse lines are as wide as the widest line
_NUMBER_BYTES, _STEP_BYTES = 8, 4
_NAMED_TREES = 5
# Trees that are fitted again with a smaller maximum depth have different splits. In measurements, their tables are 1.0 to
# 2.0 times as large as the tables of the original trees truncated at that depth.
_REFIT_GROWTH = 2


@dataclass(frozen=True)
class TableLayout:
    """The layout of one explanation.

    Attributes:
        groups: The leaf groups, in the order of their tables.
        sparse: Whether a line only has columns for the features of its own group, instead of one for every feature.
        feature_count: Number of columns of a dense line, one for each feature of the model.
        class_count: Number of rows of the table of steps, one for each class of each feature.
    """

    groups: tuple[LeafGroup, ...]
    sparse: bool
    feature_count: int
    class_count: int

    @cached_property
    def width(self) -> int:
        """Return the number of columns of a line."""
        return max(len(group.digits) for group in self.groups) if self.sparse else self.feature_count

    @cached_property
    def size(self) -> int:
        """Return the size of the tables in bytes."""
        lines = sum(group.cell_count for group in self.groups) * self.width * _NUMBER_BYTES
        return lines + self.class_count * len(self.groups) * _STEP_BYTES


def choose_layout(
    ensemble: Ensemble, bins: Mapping[int, FeatureBins], bytes_max: int = EXPLAIN_BYTES_MAX
) -> TableLayout:
    """Return the layout that is expected to be the fastest within `bytes_max`.

    Raises:
        ModelRejected: Every layout is larger; the message states the deepest trees and a maximum depth that would fit.
    """
    groups, merged_max = initial_groups(ensemble, bins), min(bytes_max, TABLES_BYTES_MAX)
    dense = build_layout(ensemble, bins, groups, merged_max, sparse=False)
    if dense.size <= bytes_max and len(dense.groups) * dense.width <= DENSE_NUMBERS_MAX:
        return dense
    sparse = build_layout(ensemble, bins, groups, merged_max, sparse=True)
    if sparse.size > bytes_max:
        raise ModelRejected(_size_error(ensemble, sparse.size, bytes_max))
    return sparse


def build_layout(
    ensemble: Ensemble, bins: Mapping[int, FeatureBins], groups: Sequence[LeafGroup], bytes_max: int, *, sparse: bool
) -> TableLayout:
    """Return a layout with merged groups.

    Groups are merged while the tables stay within `bytes_max`. A merge that makes the tables smaller is always done.

    Args:
        ensemble: The model.
        bins: The bins of the model.
        groups: The initial groups of the model.
        bytes_max: Maximum size of the tables in bytes.
        sparse: Whether lines are sparse.
    """
    class_count = sum(len(feature_bins.goes_left) for feature_bins in bins.values())
    features_max = ensemble.feature_count
    if sparse:
        features_max = max([_SPARSE_FEATURES_MAX, *(len(group.digits) for group in groups)])
    budget = TableBudget(
        bytes_max=bytes_max,
        line_bytes=features_max * _NUMBER_BYTES,
        group_bytes=class_count * _STEP_BYTES,
        cells_max=_CELLS_MAX,
        features_max=features_max,
    )
    # A model without splits has no groups. A table of one empty line keeps its graph valid.
    merged = merge_within_budget(groups, budget) or [LeafGroup((), {})]
    return TableLayout(tuple(merged), sparse, ensemble.feature_count, class_count)


def truncate_tree(tree: Tree, depth: int) -> Tree:
    """Return a tree in which leaves of value 0 replace all inner nodes at a depth; the root has depth 0."""
    if isinstance(tree, Leaf):
        return tree
    if depth == 0:
        return Leaf(0.0, tree.count)
    return SplitNode(tree.split, truncate_tree(tree.left, depth - 1), truncate_tree(tree.right, depth - 1), tree.count)


def tree_depth(tree: Tree) -> int:
    """Return the number of splits on the longest path."""
    return 1 + max(tree_depth(tree.left), tree_depth(tree.right)) if isinstance(tree, SplitNode) else 0


def _size_error(ensemble: Ensemble, size: int, bytes_max: int) -> str:
    """Return the message for an explanation that is too large."""
    depths = sorted(((tree_depth(tree), number) for number, tree in enumerate(ensemble.trees)), reverse=True)
    trees = ", ".join(f"{number} (depth {depth})" for depth, number in depths[:_NAMED_TREES])
    fits = _deepest_fit(ensemble, depths[0][0], bytes_max)
    remedy = f"trees truncated at depth {fits} would fit: fit with max_depth={fits}" if fits > 1 else "fit fewer trees"
    return (
        f"the explanation is too large: {size / 1e6:,.0f} MB, at most {bytes_max / 1e6:,.0f} MB are allowed; "
        f"the deepest trees are {trees} of {len(ensemble.trees)}; {remedy}, or with fewer leaves or iterations"
    )


def _deepest_fit(ensemble: Ensemble, too_deep: int, bytes_max: int) -> int:
    """Return the largest depth below `too_deep` at which the tables fit, by bisection; 1 if they do not fit at depth 2."""
    low, high = 1, too_deep
    while high - low > 1:
        half = (low + high) // 2
        low, high = (half, high) if _fits_at_depth(ensemble, half, bytes_max) else (low, half)
    return low


def _fits_at_depth(ensemble: Ensemble, depth: int, bytes_max: int) -> bool:
    """Return whether sparse tables of trees truncated at `depth` fit into bytes_max / 2.

    The other half is a reserve, because trees that are fitted again with this depth have larger tables.
    """
    shallow = replace(ensemble, trees=tuple(truncate_tree(tree, depth) for tree in ensemble.trees))
    bins, budget = ensemble_bins(shallow), bytes_max // _REFIT_GROWTH
    return build_layout(shallow, bins, initial_groups(shallow, bins), budget, sparse=True).size <= budget
