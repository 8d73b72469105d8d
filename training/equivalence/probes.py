"""The rows on which a model is examined: where exports go wrong, and everywhere else at random."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from training.equivalence.reached import at_edges, at_leaves, at_splits, splits_of
from training.equivalence.reference import ReferencePath, leaf_paths

Rows = NDArray[np.float64]
RANDOM_ROW_COUNT = 100_000
MISSING_ROWS = 2_000
SEED = 0
ODD_VALUES = (
    0.0,
    -0.0,
    1e-35,
    -1e-35,
    1.0000000180025095e-35,
    5e-324,
    -5e-324,
    1e-40,
    math.inf,
    -math.inf,
    1e300,
    -1e300,
)
ODD_CODES = (-1.0, -0.5, -3.0, 0.5, 2.7, 2147483647.0, 2147483648.0, 1e12, math.inf, -math.inf, math.nan, 1e-40)


def probe_rows(
    booster: lightgbm.Booster, data: Rows | None, random_rows: int = RANDOM_ROW_COUNT
) -> Iterator[tuple[str, Rows]]:
    """Give every kind of row by name.

    Args:
        booster: The model; its dump says where the thresholds are and which values it has seen.
        data: Real rows, if there are any.
        random_rows: How many random rows.
    """
    paths = leaf_paths(booster)
    random = np.random.default_rng(SEED)
    ranges = ranges_of(booster.dump_model())
    drawn = random_values(ranges, random, random_rows)
    spread(drawn, paths, random)
    ground = drawn if data is None else data
    if data is not None:
        yield "data", data
    yield "threshold", at_splits(paths, ground)
    yield "leaf", at_leaves(paths, ground)
    yield "edge of a leaf", at_edges(paths, ground)
    odd = [(feature, ODD_CODES if isinstance(found, list) else ODD_VALUES) for feature, found in enumerate(ranges)]
    yield "odd value", place(ground, odd)
    yield "missing", with_gaps(ground, random)
    yield "random", drawn


def ranges_of(dump: dict[str, Any]) -> list[tuple[float, float] | list[float]]:
    """Give, per feature, the range that training saw, or the list of codes."""
    infos = dump["feature_infos"]
    found: list[tuple[float, float] | list[float]] = []
    for name in dump["feature_names"]:
        info = infos.get(name, {"min_value": 0.0, "max_value": 1.0, "values": []})
        found.append([float(v) for v in info["values"]] if info["values"] else (info["min_value"], info["max_value"]))
    return found


def random_values(ranges: list[tuple[float, float] | list[float]], random: np.random.Generator, count: int) -> Rows:
    """Draw rows within the observed ranges and half as far again beyond them, a twentieth of the values missing."""
    columns = []
    for found in ranges:
        if isinstance(found, list):
            columns.append(random.choice([*found, -1.0, max(found) + 1.0], count))
        else:
            low, high = found
            reach = (high - low) / 2
            columns.append(random.uniform(low - reach, high + reach, count))
    rows = np.column_stack(columns)
    rows[random.random(rows.shape) < 0.05] = math.nan  # noqa: PLR2004 - a twentieth
    return rows


def spread(rows: Rows, paths: Sequence[ReferencePath], random: np.random.Generator) -> None:
    """Let every other row lie anywhere among the thresholds: a range that is skewed has nearly all of them at one end."""
    thresholds: dict[int, set[float]] = {}
    for split, _ in splits_of(paths):
        if split["decision_type"] == "<=":
            thresholds.setdefault(int(split["split_feature"]), set()).add(float(split["threshold"]))
    others = rows[1::2]
    for feature, found in sorted(thresholds.items()):
        ends = np.array(
            [*sorted(found), math.nextafter(max(found), math.inf)]
        )  # of each interval between them, one value
        chosen = random.choice(ends, len(others))
        others[:, feature] = np.where(np.isnan(others[:, feature]), np.nan, chosen)


def place(ground: Rows, values: Sequence[tuple[int, tuple[float, ...]]]) -> Rows:
    """Put each value into its feature, in rows of the ground."""
    placed = [(feature, value) for feature, found in values for value in found]
    if not placed:
        return ground[:0]
    rows = ground[np.arange(len(placed)) * 7919 % len(ground)].copy()
    for row, (feature, value) in enumerate(placed):
        rows[row, feature] = value
    return rows


def with_gaps(ground: Rows, random: np.random.Generator) -> Rows:
    """Take values away, from one to all of a row's."""
    rows = ground[random.integers(0, len(ground), MISSING_ROWS)].copy()
    rows[random.random(rows.shape) < random.random((len(rows), 1))] = math.nan
    rows[0] = math.nan
    return rows
