"""Joins units: a unit less is a line less to look up and to add, for every row.

At each step the two are joined that make the tables grow least, until the tables would take more than they may.
Each unit is compared with the few others that, by their numbers of digits alone, it could grow least with.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.export.leaf_groups import LeafGroup, merge_groups

COMPARED_MAX = 64  # the search stays about linear in the size of the model
CELLS_EXACT = 2**53  # more than fit anywhere; up to here doubles are exact


@dataclass(frozen=True, slots=True)
class TableBudget:
    """What the tables of all units may take.

    Attributes:
        bytes_max: All of them; what makes them smaller is joined even beyond.
        line_bytes: What each line takes.
        unit_bytes: What each unit takes beside its lines.
        cells_max: Of a joined unit, where neither of the two has more already.
        features_max: Of a joined unit.
    """

    bytes_max: int
    line_bytes: int
    unit_bytes: int
    cells_max: int
    features_max: int


@dataclass(frozen=True, order=True, slots=True)
class MergeCandidate:
    """Two units by their places, and by how many cells their joined one has more than both; the order breaks ties."""

    growth: int
    one: int
    other: int
    ages: tuple[int, int]


def merge_within_budget(units: Sequence[LeafGroup], room: TableBudget) -> list[LeafGroup]:
    """Join units by least growth while they fit; a joined one stands where the first of both stood."""
    places = MergeSearch(units, room)
    heap = [pair for place in range(len(units)) if (pair := places.best_pair(place))]
    heapq.heapify(heap)
    size = sum(unit.cell_count * room.line_bytes + room.unit_bytes for unit in units)
    while heap:
        pair = heapq.heappop(heap)
        one, other = pair.one, pair.other
        if places.ages[one] != pair.ages[0]:
            continue  # it was joined meanwhile, and has another pair in the heap or is gone
        if places.ages[other] == pair.ages[1]:
            more = pair.growth * room.line_bytes - room.unit_bytes
            if more > 0 and size + more > room.bytes_max:
                break
            size += more
            one = min(one, other)
            places.join(one, max(pair.one, other))
        if again := places.best_pair(one):
            heapq.heappush(heap, again)
    return list(places.units.values())


class MergeSearch:
    """All units side by side, to find which two to join.

    Attributes:
        units: By place, in order; the second of two that were joined is gone.
        ages: How often each place has changed.
    """

    def __init__(self, units: Sequence[LeafGroup], room: TableBudget) -> None:
        self.room = room
        self.units = dict(enumerate(units))
        self.ages = [0] * len(units)
        features = sorted({feature for unit in units for feature in unit.digits})
        self.sizes = {feature: np.zeros(len(units)) for feature in features}  # 0 where a unit lacks the feature
        self.cells = np.zeros(len(units))
        self.widths = np.zeros(len(units))
        for place, unit in self.units.items():
            self.put(place, unit)

    def put(self, place: int, unit: LeafGroup) -> None:
        """Let a unit stand at a place."""
        self.units[place] = unit
        self.cells[place] = min(unit.cell_count, CELLS_EXACT)
        self.widths[place] = len(unit.digits)
        for feature, size in unit.radices.items():
            self.sizes[feature][place] = size

    def join(self, first: int, second: int) -> None:
        """Join two units at the place of the first."""
        self.put(first, merge_groups(self.units[first], self.units.pop(second)))
        self.cells[second] = np.inf
        self.ages[first] += 1
        self.ages[second] += 1

    def best_pair(self, place: int) -> MergeCandidate | None:
        """Give the pair of a unit that grows least, among those of the COMPARED_MAX least bounds; None if none may be."""
        unit, best = self.units[place], None
        others, bounds = self.candidates(place)
        for at in np.argsort(bounds, kind="stable")[:COMPARED_MAX].tolist():
            if best is not None and bounds[at] >= best.growth:
                break
            other = int(others[at])
            both = unit.cell_count + self.units[other].cell_count
            most = max(self.room.cells_max, unit.cell_count, self.units[other].cell_count)
            cells = merged_cell_count(
                unit, self.units[other], most if best is None else min(most, best.growth + both - 1)
            )
            if cells is not None:
                best = MergeCandidate(cells - both, place, other, (self.ages[place], self.ages[other]))
        return best

    def candidates(self, place: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Give the places that a unit may be joined with, and the least by which each pair grows.

        Joined digits are at least as many as either unit has, which bounds the cells; all is exact in doubles.
        """
        unit = self.units[place]
        bounds, shared = self.cells.copy(), np.zeros(len(self.cells))
        with np.errstate(over="ignore"):
            for feature, size in unit.radices.items():
                sizes = self.sizes[feature]
                bounds *= np.maximum(sizes, size)
                bounds /= np.maximum(sizes, 1.0)
                shared += sizes > 0.0
        most = np.maximum(self.cells, max(self.room.cells_max, unit.cell_count))
        fits = (bounds <= most) & (self.widths + self.widths[place] - shared <= self.room.features_max)
        fits[place] = False
        others = np.flatnonzero(fits & np.isfinite(self.cells))
        return others, bounds[others] - self.cells[others] - self.cells[place]


def merged_cell_count(unit: LeafGroup, other: LeafGroup, cells_max: int) -> int | None:
    """Give the cells of the joined unit; None where they are more than allowed."""
    cells = other.cell_count
    for feature, members in unit.class_sets.items():
        known = other.class_sets.get(feature)
        if known is None:
            cells *= len(members)
        elif known != members:
            cells = cells // len(known) * len([one for one in members for two in known if one & two])
        if cells > cells_max:
            return None
    return cells
