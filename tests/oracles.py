"""Expected results computed independently: from LightGBM's own predictions and its own model text.

Nothing here imports `training.export` or `models`.
"""

import itertools
import math

import lightgbm
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def margins(booster: lightgbm.Booster, rows: FloatArray) -> FloatArray:
    """Return LightGBM's own margins, shape (n,), in log-odds."""
    return np.asarray(booster.predict(rows, raw_score=True, num_threads=1))


def brute_force_shap(booster: lightgbm.Booster, rows: FloatArray, baseline: FloatArray) -> FloatArray:
    """Return interventional Shapley values by their definition: all coalitions, all baseline rows.

    The worth of a coalition is the mean margin of the baseline rows in which the coalition's values are replaced by
    those of the explained row. Sources: Shapley 1953; Janzing et al. 2020, arXiv:1910.13413.

    Args:
        booster: A model of up to 8 features; each row needs 2**features * n_baseline predictions.
        rows: Shape (n, features).
        baseline: Shape (n_baseline, features).

    Returns:
        Shape (n, features), log-odds.
    """
    width = rows.shape[1]
    assert width <= 8, "2**features coalitions: small models only"
    coalitions = np.array(list(itertools.product((False, True), repeat=width)))
    weights = _shapley_weights(coalitions)
    return np.array([weights @ _coalition_worths(booster, row, baseline, coalitions) for row in rows])


def _coalition_worths(
    booster: lightgbm.Booster, row: FloatArray, baseline: FloatArray, coalitions: NDArray[np.bool_]
) -> FloatArray:
    """Return the worth of each coalition for one row, shape (coalitions,)."""
    mixed = np.where(coalitions[:, None, :], row, baseline[None, :, :])
    predicted = margins(booster, mixed.reshape(-1, len(row)))
    return predicted.reshape(len(coalitions), len(baseline)).mean(axis=1)


def _shapley_weights(coalitions: NDArray[np.bool_]) -> FloatArray:
    """Return the weight of each coalition's worth in each feature's value, shape (features, coalitions)."""
    width = coalitions.shape[1]
    sizes = coalitions.sum(axis=1)
    orders = [math.factorial(size) * math.factorial(width - 1 - size) / math.factorial(width) for size in range(width)]
    joined = np.array([orders[size - 1] if size else 0.0 for size in sizes])
    absent = np.array([orders[size] if size < width else 0.0 for size in sizes])
    return np.where(coalitions, joined[:, None], -absent[:, None]).T


def model_thresholds(booster: lightgbm.Booster) -> list[tuple[int, float]]:
    """Return each distinct (feature, threshold) of the model, read from its text."""
    lines = booster.model_to_string().splitlines()
    features = [int(word) for line in lines if line.startswith("split_feature=") for word in line[14:].split()]
    thresholds = [float(word) for line in lines if line.startswith("threshold=") for word in line[10:].split()]
    return sorted(set(zip(features, thresholds, strict=True)))
