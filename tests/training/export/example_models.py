"""Small models of every supported kind, and rows for which exports tend to be wrong."""

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import lightgbm
import numpy as np

from tests.oracles import FloatArray, model_thresholds

COLUMNS = 6
ROUNDS = 12
ZERO_MAX = float(np.float32(1e-35))  # LightGBM replaces every x with |x| up to this value by 0
SPECIAL_VALUES = (
    *(math.nan, 0.0, -0.0, math.inf, -math.inf, 1e300, -1e300),
    *(5e-324, -5e-324, 1e-310, -1e-310, 1e-35, -1e-35, 1e-34, -1e-34),
    *(sign * value for sign in (1.0, -1.0) for value in (ZERO_MAX, math.nextafter(ZERO_MAX, 0.0))),
    *(sign * math.nextafter(ZERO_MAX, 1.0) for sign in (1.0, -1.0)),
)


def example_rows(count: int = 1200, columns: int = COLUMNS, *, seed: int = 0, gaps: float = 0.0) -> FloatArray:
    """Return rows: even columns are continuous, odd columns are counts with many zeros, the last column is constant."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=(count, columns))
    rows[:, 1::2] = random.poisson(1.0, size=rows[:, 1::2].shape) - 1.0
    rows[:, -1] = 7.0
    rows[random.random(rows.shape) < gaps] = np.nan
    return rows


def example_labels(rows: FloatArray, seed: int = 1) -> FloatArray:
    """Return labels that depend nonlinearly on every column but the last."""
    known = np.nan_to_num(rows, nan=0.5)
    bent = (
        np.abs(known[:, 0]) + known[:, 1] * known[:, 2] + np.sin(3.0 * known[:, -2]) + 0.3 * known[:, :-1].sum(axis=1)
    )
    noise = np.random.default_rng(seed).logistic(size=len(rows))
    return (bent - np.median(bent) + 0.5 * noise > 0.0).astype(np.float64)


def fit(
    rows: FloatArray, parameters: Mapping[str, Any] | None = None, rounds: int = ROUNDS, **more: Any
) -> lightgbm.Booster:
    """Fit a small binary model on one thread."""
    fixed = {"objective": "binary", "num_leaves": 8, "min_data_in_leaf": 5, "learning_rate": 0.2, "seed": 0}
    quiet = {"num_threads": 1, "verbose": -1, "deterministic": True, "force_col_wise": True}
    weight = more.pop("weight", None)
    data = lightgbm.Dataset(rows, example_labels(rows), weight=weight)
    return lightgbm.train({**fixed, **quiet, **(parameters or {})}, data, rounds, **more)


def early_stopped_model() -> lightgbm.Booster:
    """Return a model with more trees than its best iteration."""
    known, unseen = example_rows(400, seed=2), example_rows(300, seed=3)
    validation = lightgbm.Dataset(unseen, example_labels(unseen, seed=9))
    stop = lightgbm.early_stopping(5, verbose=False)
    more = {"valid_sets": [validation], "callbacks": [stop], "keep_training_booster": True}
    booster = fit(known, {"learning_rate": 0.6}, 200, **more)
    assert 0 < booster.best_iteration < booster.current_iteration()
    return booster


def constant_model() -> lightgbm.Booster:
    """Return a model whose only tree is a single leaf."""
    return fit(example_rows(), {"min_data_in_leaf": 5000})


def leaf_first_model() -> lightgbm.Booster:
    """Return a model whose first tree is a single leaf and whose other trees have splits."""
    return fit(example_rows(), rounds=4, init_model=constant_model())


def mixed_missing_types_model() -> lightgbm.Booster:
    """Return a model whose first trees saw no missing values in training and whose later trees saw some."""
    return fit(example_rows(gaps=0.2), rounds=6, init_model=fit(example_rows(), rounds=6))


def missingness_model() -> lightgbm.Booster:
    """Return a model with splits that only separate missing values, whose thresholds are infinite."""
    rows = example_rows()
    rows[:, 2] = np.where(np.random.default_rng(1).random(len(rows)) < 0.3, np.nan, rows[:, 2])
    labels = (np.isnan(rows[:, 2]) | (rows[:, 0] > 1.0)).astype(np.float64)
    parameters = {"objective": "binary", "num_leaves": 4, "num_threads": 1, "verbose": -1}
    booster = lightgbm.train(parameters, lightgbm.Dataset(rows, labels), ROUNDS)
    assert any(math.isinf(threshold) for _, threshold in model_thresholds(booster))
    return booster


def tiny_values_model() -> lightgbm.Booster:
    """Return a model of values on both sides of the zero threshold of LightGBM."""
    choice = np.array([0.0, 1e-36, -1e-36, 2e-35, -2e-35, 1.1e-35, -1.1e-35, 1e-30, -1e-30, 3.0, -3.0])
    rows = choice[np.random.default_rng(5).integers(0, len(choice), size=(1500, COLUMNS))]
    rows[:, 0] = np.random.default_rng(6).normal(size=len(rows))
    labels = (rows[:, 1] > 0).astype(float) + (rows[:, 2] >= 0) + (rows[:, 3] < 0) + rows[:, 0] > 1.5
    data = lightgbm.Dataset(rows, labels.astype(float), params={"min_data_in_bin": 1})
    parameters = {"objective": "binary", "num_leaves": 8, "num_threads": 1, "verbose": -1, "min_data_in_bin": 1}
    return lightgbm.train(parameters, data, ROUNDS)


def large_integers_model() -> lightgbm.Booster:
    """Return a model of times in seconds and amounts in cents, whose neighbours are equal in float32."""
    rows = example_rows()
    rows[:, 0] = np.round(1.7e9 + 40.0 * rows[:, 0])
    rows[:, 2] = np.round(2.0**24 + 3.0 * rows[:, 2]) / 100.0
    return fit(rows)


MODELS: dict[str, Callable[[], lightgbm.Booster]] = {
    "missing type None": lambda: fit(example_rows()),
    "missing type NaN": lambda: fit(example_rows(gaps=0.2)),
    "missing type Zero": lambda: fit(example_rows(), {"zero_as_missing": True}),
    "missing type Zero with gaps": lambda: fit(example_rows(gaps=0.2), {"zero_as_missing": True}),
    "trained without missing values by choice": lambda: fit(example_rows(gaps=0.2), {"use_missing": False}),
    "being missing counts": missingness_model,
    "missing types None and NaN in one model": mixed_missing_types_model,
    "features repeated on a path": lambda: fit(example_rows(columns=3), {"num_leaves": 24}),
    "deep trees": lambda: fit(example_rows(gaps=0.1), {"num_leaves": 31}),
    "a constant": constant_model,
    "a leaf among trees": leaf_first_model,
    "stumps": lambda: fit(example_rows(gaps=0.1), {"num_leaves": 2}),
    "one tree": lambda: fit(example_rows(gaps=0.1), rounds=1),
    "unused features": lambda: fit(example_rows(columns=12), {"num_leaves": 3}, 3),
    "early stopping": early_stopped_model,
    "weights": lambda: fit(example_rows(), weight=np.random.default_rng(3).gamma(1.0, size=1200)),
    "bagging": lambda: fit(example_rows(gaps=0.1), {"bagging_fraction": 0.5, "bagging_freq": 1}),
    "goss": lambda: fit(example_rows(gaps=0.1), {"data_sample_strategy": "goss", "learning_rate": 0.3}, 25),
    "dart": lambda: fit(example_rows(gaps=0.1), {"boosting": "dart", "drop_rate": 0.5}, 25),
    "monotone constraints": lambda: fit(example_rows(), {"monotone_constraints": [1, 1, 0, -1, 1, 0]}),
    "sigmoid 0.5": lambda: fit(example_rows(), {"sigmoid": 0.5}),
    "no boost from average": lambda: fit(example_rows(), {"boost_from_average": False}),
    "unbalanced weights": lambda: fit(example_rows(), {"is_unbalance": True}),
    "extra trees": lambda: fit(example_rows(gaps=0.1), {"extra_trees": True}),
    "values about 1e-35": tiny_values_model,
    "large integers": large_integers_model,
}


@cache
def example_model(name: str) -> lightgbm.Booster:
    """Return one of MODELS; each model is fitted only once."""
    return MODELS[name]()


def edge_case_rows(booster: lightgbm.Booster, rows: FloatArray, seed: int = 0) -> FloatArray:
    """Return ordinary rows, and rows with values at and next to thresholds, special values, and missing values."""
    random = np.random.default_rng(seed)
    gaps = rows[random.integers(0, len(rows), 100)].copy()
    gaps[random.random(gaps.shape) < 0.5] = np.nan
    special = np.array(SPECIAL_VALUES)[random.integers(0, len(SPECIAL_VALUES), size=(200, rows.shape[1]))]
    single = [
        row_with_value(rows, number, feature, value)
        for feature in range(rows.shape[1])
        for number, value in enumerate(SPECIAL_VALUES)
    ]
    everywhere = np.array([[value] * rows.shape[1] for value in SPECIAL_VALUES])
    return np.concatenate([rows[:200], threshold_rows(booster, rows), gaps, special, np.array(single), everywhere])


def threshold_rows(booster: lightgbm.Booster, rows: FloatArray) -> FloatArray:
    """Return rows whose values are the thresholds of the model and both floating-point neighbours of each threshold."""
    placed = [
        row_with_value(rows, number, feature, value)
        for number, (feature, threshold) in enumerate(model_thresholds(booster))
        for value in (math.nextafter(threshold, -math.inf), threshold, math.nextafter(threshold, math.inf))
    ]
    return np.array(placed).reshape(-1, rows.shape[1])


def row_with_value(rows: FloatArray, number: int, feature: int, value: float) -> FloatArray:
    """Return one of the rows with one value replaced."""
    row: FloatArray = rows[number % len(rows)].copy()
    row[feature] = value
    return row
