"""The layout of the lookup tables in explain.onnx: the leaf groups, dense or sparse lines, and the limit of their size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from training.export.bins import FeatureBins
from training.export.leaf_groups import LeafGroup, initial_groups
from training.export.merging import TableBudget, merge_within_budget
from training.export.trees import Ensemble, SplitNode, tree_leaves

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
# Above this number of leaves, contributions are computed leaf by leaf. Tables would be faster (300 trees of 31 leaves over 20
# features: 0.13 ms for one row instead of 1.0), but merging their groups takes minutes, and they soon exceed their size.
LEAVES_MAX = 10_000
_NUMBER_BYTES, _STEP_BYTES = 8, 4


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
) -> TableLayout | None:
    """Return the layout that is expected to be the fastest within `bytes_max`, or None if tables are too large or too slow."""
    if sum(1 for tree in ensemble.trees if isinstance(tree, SplitNode) for _ in tree_leaves(tree)) > LEAVES_MAX:
        return None
    groups, merged_max = initial_groups(ensemble, bins), min(bytes_max, TABLES_BYTES_MAX)
    dense = build_layout(ensemble, bins, groups, merged_max, sparse=False)
    if dense.size <= bytes_max and len(dense.groups) * dense.width <= DENSE_NUMBERS_MAX:
        return dense
    sparse = build_layout(ensemble, bins, groups, merged_max, sparse=True)
    return sparse if sparse.size <= bytes_max else None


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
