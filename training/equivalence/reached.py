"""Rows that reach what is asked about: every split of the model, and every leaf.

A row that merely holds a threshold somewhere goes another way in most trees before it comes to the split that
asks about it. Here a row of the ground is changed in what the steps to the split ask about, and in nothing else.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.equivalence.reference import PathStep, ReferencePath, goes_left

Rows = NDArray[np.float64]
NO_CODE = -1.0  # goes right everywhere


def at_splits(paths: Sequence[ReferencePath], ground: Rows) -> Rows:
    """Give, for every split, rows that come to it with the values at which it may go wrong.

    A value that an earlier question about the same feature sends elsewhere is there all the same.
    """
    blocks = [ground[:0]]
    for number, (split, steps) in enumerate(splits_of(paths)):
        feature = int(split["split_feature"])
        row = ground[number * 7919 % len(ground)]
        led = lead(row, [step for step in steps if int(step.split["split_feature"]) != feature], {})
        values = near(split)
        block = np.repeat((row if led is None else led)[None], len(values), axis=0)
        block[:, feature] = values
        blocks.append(block)
    return np.concatenate(blocks)


def at_leaves(paths: Sequence[ReferencePath], ground: Rows) -> Rows:
    """Give, for every leaf that a row can reach, one that does."""
    led = [lead(ground[number * 7919 % len(ground)], path.steps, {}) for number, path in enumerate(paths)]
    rows = [row for row in led if row is not None]
    return np.array(rows) if rows else ground[:0]


def at_edges(paths: Sequence[ReferencePath], ground: Rows) -> Rows:
    """Give, for every leaf and every threshold on the way to it, a row that misses the leaf by one unit in the last place.

    Were the threshold moved, it would come to the leaf. One row at the split does not show that where the leaf
    that it comes to has the value of its neighbour, as signs of features make them.
    """
    rows: list[Rows] = []
    for path in paths:
        for depth, step in enumerate(path.steps):
            if step.split["decision_type"] == "==":
                continue
            threshold = float(step.split["threshold"])
            value = math.nextafter(threshold, math.inf) if step.left else threshold
            others = (*path.steps[:depth], *path.steps[depth + 1 :])
            led = lead(ground[len(rows) * 7919 % len(ground)], others, {int(step.split["split_feature"]): value})
            if led is not None:
                rows.append(led)
    return np.array(rows) if rows else ground[:0]


def splits_of(paths: Sequence[ReferencePath]) -> Iterator[tuple[dict[str, Any], tuple[PathStep, ...]]]:
    """Give every split with the steps that lead to it."""
    seen: set[int] = set()
    for path in paths:
        for depth, step in enumerate(path.steps):
            if id(step.split) not in seen:
                seen.add(id(step.split))
                yield step.split, path.steps[:depth]


def near(split: dict[str, Any]) -> tuple[float, ...]:
    """Give the values at which a split may go wrong: on the threshold, beside it and none; or every code and its fraction."""
    if split["decision_type"] == "==":
        codes = [float(code) for code in str(split["threshold"]).split("||")]
        return tuple(value for code in codes for value in (code, code + 0.7, code + 1.0))
    threshold = float(split["threshold"])
    return (math.nextafter(threshold, -math.inf), threshold, math.nextafter(threshold, math.inf), math.nan)


def lead(row: Rows, steps: Sequence[PathStep], given: dict[int, float]) -> Rows | None:
    """Change a row so that it takes these steps, with the given values by feature; None where no row can."""
    led = row.copy()
    asked: dict[int, list[PathStep]] = {}
    for step in steps:
        asked.setdefault(int(step.split["split_feature"]), []).append(step)
    for feature, value in given.items():
        led[feature] = value
    for feature, found in asked.items():
        values = np.array([given[feature]] if feature in given else [row[feature], *candidates(found)])
        fits = np.logical_and.reduce([goes_left(step.split, values) == step.left for step in found])
        if not fits.any():
            return None
        led[feature] = values[np.argmax(fits)]
    return led


def candidates(steps: Sequence[PathStep]) -> list[float]:
    """Give values of which one meets all these steps about one feature, if any does: the ends of the intervals they make."""
    values = [0.0, math.nan, NO_CODE]
    for step in steps:
        if step.split["decision_type"] == "==":
            values += [float(code) for code in str(step.split["threshold"]).split("||")]
        else:
            threshold = float(step.split["threshold"])
            values += [threshold, math.nextafter(threshold, math.inf)]
    return values
