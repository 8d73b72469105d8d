"""How large an explanation may be, and which form of it fits."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from training.errors import ModelRefused
from training.export.bins import Bins, bins_of
from training.export.trees import Ensemble, Leaf, Node, Tree
from training.export.units import CELLS_MAX, Unit, units_of

EXPLAIN_BYTES_MAX = 24_000_000  # leaves room for the other files in a bundle of 30 MB
# Tried in this order: the first is the fastest, the last the smallest. Narrow lines cost about 5
# microseconds more for one row.
NARROW_CELLS_MAX = 128
FORMS = ((CELLS_MAX, False), (128, False), (CELLS_MAX, True), (NARROW_CELLS_MAX, True), (1, True))
BYTES_A_NUMBER, BYTES_A_STEP = 8, 4
NAMED_TREES = 5
# Trees fitted anew at a depth grow elsewhere what was cut: measured, their tables take 1.0 to 2.0 times as much.
REGROWN = 2


@dataclass(frozen=True)
class Plan:
    """The form of one explanation.

    Attributes:
        units: Their tables follow each other in this order.
        narrow: Lines have columns for their own unit's features only, instead of for every feature.
        feature_count: Columns of a dense line.
        class_count: Rows of the table of steps.
    """

    units: tuple[Unit, ...]
    narrow: bool
    feature_count: int
    class_count: int

    @cached_property
    def width(self) -> int:
        """Give the numbers in a line."""
        return max(len(unit.digits) for unit in self.units) if self.narrow else self.feature_count

    @cached_property
    def size(self) -> int:
        """Give the size of the tables in bytes."""
        lines = sum(unit.cells for unit in self.units) * self.width * BYTES_A_NUMBER
        return lines + self.class_count * len(self.units) * BYTES_A_STEP


def plan_of(ensemble: Ensemble, bins: Mapping[int, Bins], bytes_max: int = EXPLAIN_BYTES_MAX) -> Plan:
    """Choose the fastest form whose tables take at most `bytes_max`.

    Raises:
        ModelRefused: None fits; the message names the largest trees and a depth that would fit.
    """
    plans = []
    for cells_max, narrow in FORMS:
        plans.append(plan_with(ensemble, bins, cells_max, narrow=narrow))
        if plans[-1].size <= bytes_max:
            return plans[-1]
    raise ModelRefused(too_large(ensemble, min(plan.size for plan in plans), bytes_max))


def plan_with(ensemble: Ensemble, bins: Mapping[int, Bins], cells_max: int, *, narrow: bool) -> Plan:
    """Plan one form."""
    units = units_of(ensemble, bins, cells_max) or [Unit((), {})]  # a model of constants has one empty line
    classes = sum(len(found.answers) for found in bins.values())
    return Plan(tuple(units), narrow, ensemble.feature_count, classes)


def too_large(ensemble: Ensemble, size: int, bytes_max: int) -> str:
    """Say how large it would be, which trees take most, and what would fit."""
    depths = sorted(((depth_of(tree), number) for number, tree in enumerate(ensemble.trees)), reverse=True)
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
    shallow = replace(ensemble, trees=tuple(cut_at(tree, depth) for tree in ensemble.trees))
    return plan_with(shallow, bins_of(shallow), NARROW_CELLS_MAX, narrow=True).size * REGROWN <= bytes_max


def cut_at(tree: Tree, depth: int) -> Tree:
    """End a tree at a depth."""
    if isinstance(tree, Leaf):
        return tree
    if depth == 0:
        return Leaf(0.0, tree.count)
    return Node(tree.split, cut_at(tree.left, depth - 1), cut_at(tree.right, depth - 1), tree.count)


def depth_of(tree: Tree) -> int:
    """Give the number of splits on the longest path."""
    return 1 + max(depth_of(tree.left), depth_of(tree.right)) if isinstance(tree, Node) else 0
