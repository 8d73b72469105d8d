"""Finds the smallest changes by trying every combination of steps. `models.recourse` must find the same changes."""

import itertools
import math
from collections.abc import Mapping

import numpy as np

from models.counterfactual_search import TrialScorer
from models.onnx_scorer import FloatArray
from models.recourse import ROWS_MAX, Recourse

Smallest = list[tuple[tuple[str, ...], float]]  # names of the changed features, and the distance


def smallest_by_brute_force(
    recourse: Recourse, values: Mapping[str, float], target: float, sizes: tuple[int, ...] = (1, 2, 3)
) -> Smallest:
    """Return the three nearest sets of features that cross, smallest sets first; no set is a subset of another."""
    wanted: Smallest = []
    for size in sizes:
        found = []
        for names in itertools.combinations(sorted(set(values) & set(recourse._grids)), size):
            if any(set(other) <= set(names) for other, _ in wanted):
                continue
            distances = crossing_distances(recourse, values, names, target)
            if len(distances):
                found.append((min(distances), names))
        wanted += [(names, distance) for distance, names in sorted(found)][: 3 - len(wanted)]
    return wanted


def crossing_distances(
    recourse: Recourse, values: Mapping[str, float], names: tuple[str, ...], target: float
) -> list[float]:
    """Return the distance of each combination of steps of these features that the signs allow and that crosses."""
    bundle = recourse.model.bundle
    baseline = np.array(bundle.baseline.rows, dtype=float)
    positions = [bundle.schema.position[name] for name in names]
    steps, shares = [], []
    for name, position in zip(names, positions, strict=True):
        sign, own = bundle.schema.features[position].sign, values[name]
        allowed = [step for step in recourse._grids[name].steps if (step - own) * sign <= 0]
        steps.append(allowed)
        shares.append([share_between(baseline[:, position], own, step) for step in allowed])
    grid = list(itertools.product(*steps))
    if not grid:
        return []
    rows = np.repeat(bundle.schema.row(values), len(grid), axis=0)
    rows[:, positions] = grid
    log_odds = bundle.scorecard.slope * recourse.model.scorer.margins(rows) + bundle.scorecard.intercept
    crosses = 1 / (1 + np.exp(-log_odds)) <= target
    return [math.fsum(parts) for parts, is_over in zip(itertools.product(*shares), crosses, strict=True) if is_over]


def share_between(column: FloatArray, old: float, new: float) -> float:
    """Return the share of the known values of a baseline column that are between two values."""
    known = column[~np.isnan(column)]
    return float(abs(np.sum(known < new) - np.sum(known < old)) / len(known))


def smallest_found(recourse: Recourse, values: Mapping[str, float], target: float) -> Smallest:
    """Return what the search finds among the steps, before it shrinks the changes to fine steps."""
    boxes, complete = recourse._find_boxes(
        TrialScorer(recourse.model, recourse.model.bundle.schema.row(values), target, ROWS_MAX)
    )
    assert complete
    return [(box.names, box.order[0]) for box in boxes]
