"""Merges leaf groups greedily, because each merge saves one lookup and one addition for every explained row.

The growth of a merge is the number of cells of the merged group minus the number of cells of its two parts. Each step
merges the two groups with the least growth, until the tables would exceed their budget. Comparing all pairs of groups
would take quadratic time. Therefore each group is only compared with a limited number of other groups, for which the
lower bound of the growth is least. The lower bound follows from the numbers of digits and is cheap to compute.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.export.leaf_groups import LeafGroup, merge_groups

COMPARED_MAX = 64  # partners compared for each group; keeps the search about linear in the size of the model
_CELLS_EXACT = 2**53  # doubles represent all integers up to 2**53 exactly; every table has fewer cells


@dataclass(frozen=True, slots=True)
class TableBudget:
    """Limits for the lookup tables of a model.

    Attributes:
        bytes_max: Maximum size of all tables in bytes. A merge that makes the tables smaller is always done.
        line_bytes: Size of one line in bytes.
        group_bytes: Size of a group in bytes in addition to its lines.
        cells_max: Maximum number of cells of a merged group, unless one of its two parts has more already.
        features_max: Maximum number of features of a merged group.
    """

    bytes_max: int
    line_bytes: int
    group_bytes: int
    cells_max: int
    features_max: int


@dataclass(frozen=True, order=True, slots=True)
class MergeCandidate:
    """A possible merge; the order of the attributes is the order in which candidates are tried.

    Attributes:
        growth: Cells of the merged group minus the cells of both parts; can be negative.
        first: Slot of one group.
        second: Slot of the other group.
        versions: Versions of both slots when the growth was computed.
    """

    growth: int
    first: int
    second: int
    versions: tuple[int, int]


def merge_within_budget(groups: Sequence[LeafGroup], budget: TableBudget) -> list[LeafGroup]:
    """Merge groups by least growth while the tables stay within the budget.

    Returns:
        The merged groups in the order of the original groups; a merged group has the position of its first part.
    """
    search = MergeSearch(groups, budget)
    heap = [candidate for slot in range(len(groups)) if (candidate := search.best_candidate(slot))]
    heapq.heapify(heap)
    size = sum(group.cell_count * budget.line_bytes + budget.group_bytes for group in groups)
    while heap:
        candidate = heapq.heappop(heap)
        first, second = candidate.first, candidate.second
        # Lazy deletion: if the first slot has changed since the growth was computed, either the slot is empty or the
        # heap already has a newer candidate for the slot.
        if search.versions[first] != candidate.versions[0]:
            continue
        # If only the second slot has changed, nothing is merged, and the first slot gets a new candidate below.
        if search.versions[second] == candidate.versions[1]:
            more = candidate.growth * budget.line_bytes - budget.group_bytes
            # Later candidates grow at least as much, so they do not fit either.
            if more > 0 and size + more > budget.bytes_max:
                break
            size += more
            first = min(candidate.first, candidate.second)
            search.merge(first, max(candidate.first, candidate.second))
        if replacement := search.best_candidate(first):
            heapq.heappush(heap, replacement)
    return list(search.groups.values())


class MergeSearch:
    """Groups in numbered slots, with arrays of their sizes that make the search for merge partners fast.

    Attributes:
        groups: The groups by slot, in order. A merge empties the slot of its second group.
        versions: Number of changes of each slot.
    """

    def __init__(self, groups: Sequence[LeafGroup], budget: TableBudget) -> None:
        self.groups = dict(enumerate(groups))
        self.versions = [0] * len(groups)
        self._budget = budget
        features = sorted({feature for group in groups for feature in group.digits})
        self._radices = {feature: np.zeros(len(groups)) for feature in features}  # 0 where a group lacks the feature
        self._cell_counts = np.zeros(len(groups))
        self._feature_counts = np.zeros(len(groups))
        for slot, group in self.groups.items():
            self._set_group(slot, group)

    def merge(self, first: int, second: int) -> None:
        """Merge two groups into the slot of the first."""
        self._set_group(first, merge_groups(self.groups[first], self.groups.pop(second)))
        self._cell_counts[second] = np.inf  # excludes the empty slot from every search
        self.versions[first] += 1
        self.versions[second] += 1

    def best_candidate(self, slot: int) -> MergeCandidate | None:
        """Return the merge of least growth with the group in a slot, or None if no merge is within the limits.

        Only the COMPARED_MAX partners with the least lower bounds of growth are compared.
        """
        group, best = self.groups[slot], None
        partners, bounds = self.partners(slot)
        for index in np.argsort(bounds, kind="stable")[:COMPARED_MAX].tolist():
            # The bounds are ascending, so no later partner can have less growth than the best candidate so far.
            if best is not None and bounds[index] >= best.growth:
                break
            partner = int(partners[index])
            parts = group.cell_count + self.groups[partner].cell_count
            limit = max(self._budget.cells_max, group.cell_count, self.groups[partner].cell_count)
            if best is not None:
                limit = min(limit, best.growth + parts - 1)
            cells = merged_cell_count(group, self.groups[partner], limit)
            if cells is not None:
                best = MergeCandidate(cells - parts, slot, partner, (self.versions[slot], self.versions[partner]))
        return best

    def partners(self, slot: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the slots whose groups may be merged with a slot's group, and a lower bound of each merge's growth.

        In a merged group, a feature has at least as many digits as in either part, which bounds the number of cells from
        below. The division by the partner's number of digits is exact, because this number divides the partner's number
        of cells, and doubles represent all integers up to 2**53.

        Returns:
            Slots and lower bounds, two arrays of shape (partners,).
        """
        group = self.groups[slot]
        bounds, shared = self._cell_counts.copy(), np.zeros(len(self._cell_counts))
        with np.errstate(over="ignore"):  # an overflow to infinity exceeds the limit, as it should
            for feature, radix in group.radices.items():
                radices = self._radices[feature]
                bounds *= np.maximum(radices, radix)
                bounds /= np.maximum(radices, 1.0)
                shared += radices > 0.0
        limits = np.maximum(self._cell_counts, max(self._budget.cells_max, group.cell_count))
        feature_counts = self._feature_counts + self._feature_counts[slot] - shared
        fits = (bounds <= limits) & (feature_counts <= self._budget.features_max)
        fits[slot] = False
        partners = np.flatnonzero(fits & np.isfinite(self._cell_counts))
        return partners, bounds[partners] - self._cell_counts[partners] - self._cell_counts[slot]

    def _set_group(self, slot: int, group: LeafGroup) -> None:
        """Write a group into a slot."""
        self.groups[slot] = group
        self._cell_counts[slot] = min(group.cell_count, _CELLS_EXACT)
        self._feature_counts[slot] = len(group.digits)
        for feature, radix in group.radices.items():
            self._radices[feature][slot] = radix


def merged_cell_count(first: LeafGroup, second: LeafGroup, cells_max: int) -> int | None:
    """Return the number of cells that two groups have when merged, or None if it exceeds `cells_max`."""
    cells = second.cell_count
    for feature, class_sets in first.class_sets.items():
        other_sets = second.class_sets.get(feature)
        if other_sets is None:
            cells *= len(class_sets)
        elif other_sets != class_sets:
            # A pair of digits becomes a digit of the merged group if some class has both.
            pairs = sum(1 for one in class_sets for other in other_sets if one & other)
            cells = cells // len(other_sets) * pairs
        # No further feature makes the count smaller, so the loop can stop when the count exceeds the maximum.
        if cells > cells_max:
            return None
    return cells
