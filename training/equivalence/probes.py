"""Probe rows: rows on which an exported model is compared with LightGBM.

Random rows alone rarely reveal a wrong threshold or leaf. A row that has a threshold as a value usually leaves the path
before it reaches the split with that threshold. Therefore the rows for a split, a leaf or a boundary are steered: a source row
is changed in the features of the splits on the path, and in no other feature.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from training.equivalence.reference import PathStep, ReferencePath, goes_left, leaf_paths

RANDOM_ROW_COUNT = 100_000
_MISSING_ROW_COUNT = 2_000
_RANDOM_MISSING_SHARE = 0.05
_SEED = 0
_SOURCE_STRIDE = 7919  # a prime, so that consecutive probes start from source rows that are far apart
_NO_CODE = -1.0  # goes right at every categorical split
_ODD_NUMBERS = (
    *(0.0, -0.0, 1e-35, -1e-35),
    1.0000000180025095e-35,  # kZeroThreshold of LightGBM
    *(5e-324, -5e-324, 1e-40, math.inf, -math.inf, 1e300, -1e300),
)
_ODD_CODES = (
    *(-1.0, -0.5, -3.0, 0.5, 2.7),
    *(2147483647.0, 2147483648.0),  # the largest code, and the smallest code that overflows
    *(1e12, math.inf, -math.inf, math.nan, 1e-40),
)


@dataclass(frozen=True, slots=True)
class _NumberRange:
    """The range of a numeric feature's values in training."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class _CodeList:
    """The category codes of a categorical feature in training."""

    codes: tuple[float, ...]


_Domain = _NumberRange | _CodeList


def probe_rows(
    booster: lightgbm.Booster,
    data: NDArray[np.float64] | None,
    random_rows: int = RANDOM_ROW_COUNT,
    rows_max: int | None = None,
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Return the probe rows of each kind, with the name of the kind as it is written to gate.json.

    Args:
        booster: The model; its dump contains the thresholds and the ranges of the training values.
        data: Real rows of shape (n, features), from which the steered rows are derived; None to derive them from random
            rows.
        random_rows: Number of random rows.
        rows_max: Maximum number of rows of each kind, for a large model; None for no limit. A kind with more rows is
            sampled evenly: real rows in the order of their margins, other rows in the order of the trees. The first row with
            each combination of missing values is always included.

    Returns:
        Pairs of a name and an array of shape (rows, features), NaN where missing.
    """
    paths = leaf_paths(booster)
    random = np.random.default_rng(_SEED)
    domains = _training_domains(booster.dump_model())
    drawn = _random_rows(domains, random, min(random_rows, rows_max or random_rows))
    _scatter_among_thresholds(drawn, paths, random)
    source = drawn if data is None else data
    if data is not None:
        yield "data", data if rows_max is None else sample_rows(booster, data, rows_max)
    yield "threshold", _split_rows(paths, source, rows_max)
    yield "leaf", _leaf_rows(paths[:: _stride(len(paths), rows_max)], source)
    yield "edge of a leaf", _boundary_rows(paths, source, rows_max)
    yield "odd value", _odd_value_rows(domains, source)
    yield "missing", _rows_with_missing_values(source, random)
    yield "random", drawn


def sample_rows(booster: lightgbm.Booster, rows: NDArray[np.float64], rows_max: int) -> NDArray[np.float64]:
    """Return about `rows_max` rows: every n-th in the order of their margins, and each combination of missing values once."""
    if len(rows) <= rows_max:
        return rows
    margins = np.asarray(booster.predict(rows, raw_score=True))
    by_margin = np.argsort(margins, kind="stable")[:: _stride(len(rows), rows_max)]
    missing = np.packbits(np.isnan(rows), axis=1)
    combinations = np.unique(missing, axis=0, return_index=True)[1][:rows_max]
    chosen: NDArray[np.float64] = rows[np.union1d(by_margin, combinations)]
    return chosen


def _stride(count: int, count_max: int | None) -> int:
    """Return the n for which every n-th of `count` elements are at most `count_max`."""
    return 1 if count_max is None else max(1, -(-count // count_max))


def _training_domains(dump: Mapping[str, Any]) -> list[_Domain]:
    """Return for each feature the range or the codes of its training values."""
    infos = dump["feature_infos"]
    domains: list[_Domain] = []
    for name in dump["feature_names"]:
        info = infos.get(name, {"min_value": 0.0, "max_value": 1.0, "values": []})
        if info["values"]:
            domains.append(_CodeList(tuple(float(code) for code in info["values"])))
        else:
            domains.append(_NumberRange(info["min_value"], info["max_value"]))
    return domains


def _random_rows(domains: Sequence[_Domain], random: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Return random rows whose values exceed the training ranges by up to half a range; some values are missing."""
    columns = []
    for domain in domains:
        if isinstance(domain, _CodeList):
            unseen = (_NO_CODE, max(domain.codes) + 1.0)
            columns.append(random.choice([*domain.codes, *unseen], count))
        else:
            reach = (domain.high - domain.low) / 2
            columns.append(random.uniform(domain.low - reach, domain.high + reach, count))
    rows = np.column_stack(columns)
    rows[random.random(rows.shape) < _RANDOM_MISSING_SHARE] = math.nan
    return rows


def _scatter_among_thresholds(
    rows: NDArray[np.float64], paths: Sequence[ReferencePath], random: np.random.Generator
) -> None:
    """Replace the numeric values of every other row by values from random intervals between thresholds, in place.

    Uniform values of a skewed feature nearly all fall into one interval, because its thresholds are at one end.
    """
    thresholds: dict[int, set[float]] = {}
    for split, _ in _splits_with_steps(paths):
        if split["decision_type"] == "<=":
            thresholds.setdefault(int(split["split_feature"]), set()).add(float(split["threshold"]))
    others = rows[1::2]
    for feature, found in sorted(thresholds.items()):
        ends = np.array([*sorted(found), math.nextafter(max(found), math.inf)])  # one value of each interval
        chosen = random.choice(ends, len(others))
        others[:, feature] = np.where(np.isnan(others[:, feature]), np.nan, chosen)


def _split_rows(
    paths: Sequence[ReferencePath], source: NDArray[np.float64], rows_max: int | None
) -> NDArray[np.float64]:
    """Return for every split rows that reach the split, with the values at which the split can be wrong.

    A row is also returned if an earlier split on the same feature sends its value to a different branch.
    """
    blocks = [source[:0]]
    splits = list(_splits_with_steps(paths))
    value_count = sum(len(_critical_values(split)) for split, _ in splits)
    for number, (split, steps) in enumerate(splits):
        if number % _stride(value_count, rows_max):
            continue
        feature = int(split["split_feature"])
        row = _source_rows(source, number)
        steered = _steer(row, [step for step in steps if int(step.split["split_feature"]) != feature], {})
        values = _critical_values(split)
        block = np.repeat((row if steered is None else steered)[None], len(values), axis=0)
        block[:, feature] = values
        blocks.append(block)
    return np.concatenate(blocks)


def _leaf_rows(paths: Sequence[ReferencePath], source: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return one row for every leaf that is reachable; the row reaches that leaf."""
    steered = [_steer(_source_rows(source, number), path.steps, {}) for number, path in enumerate(paths)]
    rows = [row for row in steered if row is not None]
    return np.array(rows) if rows else source[:0]


def _boundary_rows(
    paths: Sequence[ReferencePath], source: NDArray[np.float64], rows_max: int | None
) -> NDArray[np.float64]:
    """Return for every leaf and every threshold on its path a row that misses the leaf by one unit in the last place.

    If the threshold were moved, the row would reach the leaf. One row per split would not be enough: a wrong threshold leads
    this row to the neighbouring leaf, which can have the same value because of monotone constraints.
    """
    rows: list[NDArray[np.float64]] = []
    stride, number = _stride(sum(len(path.steps) for path in paths), rows_max), -1
    for path in paths:
        for depth, step in enumerate(path.steps):
            number += 1
            if number % stride:
                continue
            if step.split["decision_type"] == "==":
                continue
            threshold = float(step.split["threshold"])
            value = math.nextafter(threshold, math.inf) if step.left else threshold
            others = (*path.steps[:depth], *path.steps[depth + 1 :])
            row = _source_rows(source, len(rows))
            steered = _steer(row, others, {int(step.split["split_feature"]): value})
            if steered is not None:
                rows.append(steered)
    return np.array(rows) if rows else source[:0]


def _odd_value_rows(domains: Sequence[_Domain], source: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return source rows with one odd value each, for every feature."""
    placed = [
        (feature, value)
        for feature, domain in enumerate(domains)
        for value in (_ODD_CODES if isinstance(domain, _CodeList) else _ODD_NUMBERS)
    ]
    rows = _source_rows(source, np.arange(len(placed)))
    for row, (feature, value) in enumerate(placed):
        rows[row, feature] = value
    return rows


def _rows_with_missing_values(source: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    """Return source rows in which a random share of the values is missing; in the first row all values are missing."""
    rows = source[random.integers(0, len(source), _MISSING_ROW_COUNT)].copy()
    rows[random.random(rows.shape) < random.random((len(rows), 1))] = math.nan
    rows[0] = math.nan
    return rows


def _source_rows(source: NDArray[np.float64], number: "int | NDArray[np.int64]") -> NDArray[np.float64]:
    """Return a copy of the source row for probe `number`, or copies of the source rows for an array of probe numbers."""
    rows: NDArray[np.float64] = source[number * _SOURCE_STRIDE % len(source)].copy()
    return rows


def _splits_with_steps(paths: Sequence[ReferencePath]) -> Iterator[tuple[dict[str, Any], tuple[PathStep, ...]]]:
    """Return every split once, with the steps that lead to it."""
    seen: set[int] = set()
    for path in paths:
        for depth, step in enumerate(path.steps):
            if id(step.split) not in seen:
                seen.add(id(step.split))
                yield step.split, path.steps[:depth]


def _critical_values(split: Mapping[str, Any]) -> tuple[float, ...]:
    """Return the values at which a split can be wrong.

    For a threshold, they are the threshold, both neighbouring doubles, and NaN. For a set of codes, they are each code,
    a fraction above the code, and the next code.
    """
    if split["decision_type"] == "==":
        codes = [float(code) for code in str(split["threshold"]).split("||")]
        return tuple(value for code in codes for value in (code, code + 0.7, code + 1.0))
    threshold = float(split["threshold"])
    return (math.nextafter(threshold, -math.inf), threshold, math.nextafter(threshold, math.inf), math.nan)


def _steer(
    row: NDArray[np.float64], steps: Sequence[PathStep], fixed: Mapping[int, float]
) -> NDArray[np.float64] | None:
    """Return a copy of a row that is changed to take the given steps, or None if no row can take them.

    Args:
        row: Shape (features,).
        steps: Steps in any order.
        fixed: Values by feature that the row must have.
    """
    steered = row.copy()
    by_feature: dict[int, list[PathStep]] = {}
    for step in steps:
        by_feature.setdefault(int(step.split["split_feature"]), []).append(step)
    for feature, value in fixed.items():
        steered[feature] = value
    # Features are independent of each other. Each feature needs one value that takes all steps on this feature. The
    # value of the source row is preferred.
    for feature, found in by_feature.items():
        candidates = [fixed[feature]] if feature in fixed else [row[feature], *_candidate_values(found)]
        values = np.array(candidates)
        fits = np.logical_and.reduce([goes_left(step.split, values) == step.left for step in found])
        if not fits.any():
            return None
        steered[feature] = values[np.argmax(fits)]
    return steered


def _candidate_values(steps: Sequence[PathStep]) -> list[float]:
    """Return values of one feature; if any value takes all the steps, one of the returned values does.

    All values between two thresholds take the same steps, so one value of each interval is enough. For sets of codes, each
    code is returned.
    """
    values = [0.0, math.nan, _NO_CODE]
    for step in steps:
        if step.split["decision_type"] == "==":
            values += [float(code) for code in str(step.split["threshold"]).split("||")]
        else:
            threshold = float(step.split["threshold"])
            values += [threshold, math.nextafter(threshold, math.inf)]
    return values
