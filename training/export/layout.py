"""How large an explanation may be, and which form of it fits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from training.errors import ModelRejected
from training.export.bins import FeatureBins, ensemble_bins
from training.export.leaf_groups import LeafGroup, initial_groups
from training.export.merging import TableBudget, merge_within_budget
from training.export.trees import Ensemble, Leaf, SplitNode, Tree

EXPLAIN_BYTES_MAX = 24_000_000  # leaves room for the other files in a bundle of 30 MB
# Units are joined until the tables take this much. Measured on 189 trees of 8 leaves over 19 features, microseconds
# for one row explained in turns with other ways (alone in a warm loop):
#   each tree joined to the unit that it made grow least, while that had at most
#        1024 cells: 134 units, 8 MB: 50.6 (41.2)      2048 cells:  93 units, 21 MB: 42.0 (41.3)
#   any two joined by least growth of all, up to
#        3 MB: 176 units: 48.6 (45.8)    8 MB: 130 units: 42.5 (41.9)    11 MB: 114 units: 40.9 (41.4)
#       15 MB:  98 units: 39.2 (38.6)   21 MB:  89 units: 39.0 (41.9)    24 MB:  86 units: 37.8 (40.2)
TABLES_BYTES_MAX = 16_000_000
# A joined unit has at most so many cells: writing its lines takes cells * leaves. Without it a model of 300 trees of 8 leaves
# over 6 features is written in 7.2 s, not in 0.7, for 9 units instead of 28: 0.3 microseconds a row.
CELLS_MAX = 4096
# A row reads units * features numbers of dense lines, at about 3 nanoseconds; of narrow lines it reads fewer, at about 12, and
# pays some 8 microseconds. Measured, dense and narrow: 1,800 numbers 23 and 38, 13,500 numbers 75 and 90,
# 41,000 numbers 154 and 79, 75,000 numbers 218 and 69 microseconds.
DENSE_NUMBERS_MAX = 20_000
NARROW_FEATURES_MAX = 8  # narrow lines are all as long as the longest
BYTES_A_NUMBER, BYTES_A_STEP = 8, 4
NAMED_TREES = 5
# Trees fitted anew at a depth grow elsewhere what was cut: measured, their tables take 1.0 to 2.0 times as much.
REGROWN = 2


@dataclass(frozen=True)
class TableLayout:
    """The form of one explanation.

    Attributes:
        units: Their tables follow each other in this order.
        narrow: Lines have columns for their own unit's features only, instead of for every feature.
        feature_count: Columns of a dense line.
        class_count: Rows of the table of steps.
    """

    groups: tuple[LeafGroup, ...]
    sparse: bool
    feature_count: int
    class_count: int

    @cached_property
    def width(self) -> int:
        """Give the numbers in a line."""
        return max(len(unit.digits) for unit in self.groups) if self.sparse else self.feature_count

    @cached_property
    def size(self) -> int:
        """Give the size of the tables in bytes."""
        lines = sum(unit.cell_count for unit in self.groups) * self.width * BYTES_A_NUMBER
        return lines + self.class_count * len(self.groups) * BYTES_A_STEP


def choose_layout(
    ensemble: Ensemble, bins: Mapping[int, FeatureBins], bytes_max: int = EXPLAIN_BYTES_MAX
) -> TableLayout:
    """Choose dense lines where they are the faster ones and their tables take at most `bytes_max`, else narrow ones.

    Raises:
        ModelRejected: Those take more; the message names the largest trees and a depth that would fit.
    """
    pieces, joined_max = initial_groups(ensemble, bins), min(bytes_max, TABLES_BYTES_MAX)
    dense = build_layout(ensemble, bins, pieces, joined_max, narrow=False)
    if dense.size <= bytes_max and len(dense.groups) * dense.width <= DENSE_NUMBERS_MAX:
        return dense
    narrow = build_layout(ensemble, bins, pieces, joined_max, narrow=True)
    if narrow.size > bytes_max:
        raise ModelRejected(too_large(ensemble, narrow.size, bytes_max))
    return narrow


def build_layout(
    ensemble: Ensemble, bins: Mapping[int, FeatureBins], pieces: Sequence[LeafGroup], bytes_max: int, *, narrow: bool
) -> TableLayout:
    """Plan one form: pieces joined up to `bytes_max`, and beyond where that makes the tables smaller."""
    classes = sum(len(found.goes_left) for found in bins.values())
    features_max = ensemble.feature_count
    if narrow:
        features_max = max([NARROW_FEATURES_MAX, *(len(piece.digits) for piece in pieces)])
    room = TableBudget(bytes_max, features_max * BYTES_A_NUMBER, classes * BYTES_A_STEP, CELLS_MAX, features_max)
    units = merge_within_budget(pieces, room) or [LeafGroup((), {})]  # a model of constants has one empty line
    return TableLayout(tuple(units), narrow, ensemble.feature_count, classes)


def too_large(ensemble: Ensemble, size: int, bytes_max: int) -> str:
    """Say how large it would be, which trees take most, and what would fit."""
    depths = sorted(((tree_depth(tree), number) for number, tree in enumerate(ensemble.trees)), reverse=True)
    trees = ", ".join(f"{number} (depth {depth})" for depth, number in depths[:NAMED_TREES])
    fits = deepest_that_fits(ensemble, depths[0][0], bytes_max)
    way_out = (
        f"the same trees cut at depth {fits} would fit: fit with max_depth={fits}" if fits > 1 else "fit fewer trees"
    )
    return (
        f"the explanation would take {size / 1e6:,.0f} MB, at most {bytes_max / 1e6:,.0f} MB are allowed; "
        f"the deepest trees are {trees} of {len(ensemble.trees)}; {way_out}, or with fewer leaves or iterations"
    )


def deepest_that_fits(ensemble: Ensemble, too_deep: int, bytes_max: int) -> int:
    """Search the depth by halves; 1 where not even depth 2 fits."""
    low, high = 1, too_deep
    while high - low > 1:
        half = (low + high) // 2
        low, high = (half, high) if fits_at(ensemble, half, bytes_max) else (low, half)
    return low


def fits_at(ensemble: Ensemble, depth: int, bytes_max: int) -> bool:
    """Tell whether trees that end at a depth would fit in a narrow form, also when they are fitted anew."""
    shallow = replace(ensemble, trees=tuple(truncate_tree(tree, depth) for tree in ensemble.trees))
    bins, share = ensemble_bins(shallow), bytes_max // REGROWN
    return build_layout(shallow, bins, initial_groups(shallow, bins), share, narrow=True).size <= share


def truncate_tree(tree: Tree, depth: int) -> Tree:
    """End a tree at a depth."""
    if isinstance(tree, Leaf):
        return tree
    if depth == 0:
        return Leaf(0.0, tree.count)
    return SplitNode(tree.split, truncate_tree(tree.left, depth - 1), truncate_tree(tree.right, depth - 1), tree.count)


def tree_depth(tree: Tree) -> int:
    """Give the number of splits on the longest path."""
    return 1 + max(tree_depth(tree.left), tree_depth(tree.right)) if isinstance(tree, SplitNode) else 0
