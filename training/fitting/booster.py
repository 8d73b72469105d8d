"""Fits LightGBM so that the same data give the same bytes."""

from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from training.sources.samples import Samples, label_of

TrainingData = tuple[NDArray[np.float64], NDArray[np.int64]]  # features, labels


def fixed_parameters(signs: tuple[int, ...], threads: int, samples: Samples) -> dict[str, Any]:
    """Give every parameter that the search does not choose. The same data give the same bytes.

    Column-wise histograms are summed by one thread each, so the number of threads changes no bit. Beside a category
    the "advanced" method of LightGBM 4.7.0 breaks signs (the gate's sweep found it), "intermediate" does not.
    """
    return {
        "objective": "binary",
        "boosting": "gbdt",
        "deterministic": True,
        "force_col_wise": True,
        "num_threads": threads,
        "seed": 0,
        "monotone_constraints": list(signs),
        "monotone_constraints_method": "intermediate" if samples.category_positions() else "advanced",
        "bagging_freq": 1,
        "verbose": -1,
    }


def fit_booster(parameters: dict[str, Any], samples: Samples, data: TrainingData) -> lightgbm.Booster:
    """Fit one model with complete parameters."""
    rounds = parameters["num_iterations"]
    others = {name: value for name, value in parameters.items() if name != "num_iterations"}
    return lightgbm.train(others, lightgbm_dataset(samples, data), rounds)


def lightgbm_dataset(samples: Samples, data: TrainingData) -> lightgbm.Dataset:
    """Give LightGBM the data under the features' names, categories as such; a code below 0 is missing to it."""
    matrix, labels = data
    if places := samples.category_positions():
        matrix = matrix.copy()
        matrix[:, places] = np.where(matrix[:, places] < 0, np.nan, matrix[:, places])
    return lightgbm.Dataset(matrix, labels, feature_name=list(samples.names), categorical_feature=places)


def cross_validated_auc(parameters: dict[str, Any], samples: Samples, folds: int) -> float:
    """Give the mean AUC over stratified folds of all rows but those out of time, shuffled with seed 0."""
    rows = samples.part("FIT", "CALIBRATION", "HOLD_OUT")
    matrix, labels = samples.features(rows), label_of(rows)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=0)
    aucs = []
    for known, unseen in splitter.split(matrix, labels):
        booster = fit_booster(parameters, samples, (matrix[known], labels[known]))
        aucs.append(roc_auc_score(labels[unseen], booster.predict(matrix[unseen], raw_score=True)))
    return float(np.mean(aucs))
