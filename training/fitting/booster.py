"""Fits LightGBM reproducibly: the same data produce the same bytes for any number of threads."""

from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from training.sources.samples import Samples, label_of, weight_of

TrainingData = tuple[NDArray[np.float64], NDArray[np.int64]]  # features of shape (n, n_features), labels of shape (n,)


def fixed_parameters(signs: tuple[int, ...], threads: int, samples: Samples) -> dict[str, Any]:
    """Return every LightGBM parameter that the parameter search does not vary.

    Args:
        signs: Monotone constraint of every feature: 1, -1, or 0 for no constraint.
        threads: Number of threads of LightGBM; the model is identical for every number.
        samples: The samples, which state the category features.
    """
    return {
        "objective": "binary",
        "boosting": "gbdt",
        "deterministic": True,
        # One thread adds up each histogram, so the order of the additions does not depend on the number of threads.
        "force_col_wise": True,
        "num_threads": threads,
        "seed": 0,
        "monotone_constraints": list(signs),
        # The monotonicity sweep found that "advanced" of LightGBM 4.7.0 violates constraints if a model has category features.
        "monotone_constraints_method": "intermediate" if samples.category_positions() else "advanced",
        "bagging_freq": 1,
        "verbose": -1,
    }


def fit_booster(
    parameters: dict[str, Any], samples: Samples, data: TrainingData, weights: NDArray[np.float64] | None = None
) -> lightgbm.Booster:
    """Fit a model; `parameters` must include num_iterations. Without weights, every row counts equally."""
    rounds = parameters["num_iterations"]
    remaining = {name: value for name, value in parameters.items() if name != "num_iterations"}
    return lightgbm.train(remaining, lightgbm_dataset(samples, data, weights), rounds)


def lightgbm_dataset(
    samples: Samples, data: TrainingData, weights: NDArray[np.float64] | None = None
) -> lightgbm.Dataset:
    """Return a LightGBM data set with the names of the features, the category features, and the weights of the rows."""
    matrix, labels = data
    if positions := samples.category_positions():
        # LightGBM treats a negative code as missing, but prints a warning; NaN avoids the warning.
        matrix = matrix.copy()
        matrix[:, positions] = np.where(matrix[:, positions] < 0, np.nan, matrix[:, positions])
    names = list(samples.names)
    return lightgbm.Dataset(matrix, labels, weight=weights, feature_name=names, categorical_feature=positions)


def cross_validated_auc(parameters: dict[str, Any], samples: Samples, folds: int) -> float:
    """Return the mean AUC over stratified folds of the fit, calibration and hold-out parts, shuffled with seed 0."""
    rows = samples.part("FIT", "CALIBRATION", "HOLD_OUT")
    matrix, labels, weights = samples.features(rows), label_of(rows), weight_of(rows)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=0)
    aucs = []
    for known, unseen in splitter.split(matrix, labels):
        known_weights = None if weights is None else weights[known]
        booster = fit_booster(parameters, samples, (matrix[known], labels[known]), known_weights)
        aucs.append(roc_auc_score(labels[unseen], booster.predict(matrix[unseen], raw_score=True)))
    return float(np.mean(aucs))
