"""Fits LightGBM reproducibly: the same data give the same bytes on any number of threads."""

from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from training.sources.samples import Samples, label_of

TrainingData = tuple[NDArray[np.float64], NDArray[np.int64]]  # features of shape (n, n_features), labels of shape (n,)


def fixed_parameters(signs: tuple[int, ...], threads: int, samples: Samples) -> dict[str, Any]:
    """Return every LightGBM parameter that the search does not choose.

    Args:
        signs: The monotone constraint of every feature: 1, -1 or 0.
        threads: Threads of LightGBM; no bit of the model depends on it.
        samples: Name the category features.
    """
    return {
        "objective": "binary",
        "boosting": "gbdt",
        "deterministic": True,
        # One thread sums each column's histogram, so the order of additions is the same for any number of threads.
        "force_col_wise": True,
        "num_threads": threads,
        "seed": 0,
        "monotone_constraints": list(signs),
        # With category features, "advanced" of LightGBM 4.7.0 violates signs (found by the monotonicity sweep).
        "monotone_constraints_method": "intermediate" if samples.category_positions() else "advanced",
        "bagging_freq": 1,
        "verbose": -1,
    }


def fit_booster(parameters: dict[str, Any], samples: Samples, data: TrainingData) -> lightgbm.Booster:
    """Fit one model; `parameters` include num_iterations."""
    rounds = parameters["num_iterations"]
    others = {name: value for name, value in parameters.items() if name != "num_iterations"}
    return lightgbm.train(others, lightgbm_dataset(samples, data), rounds)


def lightgbm_dataset(samples: Samples, data: TrainingData) -> lightgbm.Dataset:
    """Return a LightGBM data set with the features' names and categories."""
    matrix, labels = data
    if places := samples.category_positions():
        # LightGBM treats a negative code as missing; NaN says the same without a warning.
        matrix = matrix.copy()
        matrix[:, places] = np.where(matrix[:, places] < 0, np.nan, matrix[:, places])
    return lightgbm.Dataset(matrix, labels, feature_name=list(samples.names), categorical_feature=places)


def cross_validated_auc(parameters: dict[str, Any], samples: Samples, folds: int) -> float:
    """Return the mean AUC over stratified folds, shuffled with seed 0, of all rows except out-of-time rows."""
    rows = samples.part("FIT", "CALIBRATION", "HOLD_OUT")
    matrix, labels = samples.features(rows), label_of(rows)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=0)
    aucs = []
    for known, unseen in splitter.split(matrix, labels):
        booster = fit_booster(parameters, samples, (matrix[known], labels[known]))
        aucs.append(roc_auc_score(labels[unseen], booster.predict(matrix[unseen], raw_score=True)))
    return float(np.mean(aucs))
