"""Fits LightGBM reproducibly: the same data produce the same bytes for any number of threads."""

from collections.abc import Sequence
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from training.fitting.base import Base, BaseKind, fit_base
from training.fitting.base_trees import append_base
from training.sources.samples import Samples, label_of, weight_of

TrainingData = tuple[NDArray[np.float64], NDArray[np.int64]]  # features of shape (n, n_features), labels of shape (n,)


def fixed_parameters(signs: tuple[int, ...], threads: int) -> dict[str, Any]:
    """Return every LightGBM parameter that the parameter search does not vary.

    Args:
        signs: Monotone constraint of every feature: 1, -1, or 0 for no constraint.
        threads: Number of threads of LightGBM; the model is identical for every number.
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
        # "advanced" of LightGBM 4.7.0 violates constraints if a feature has missing values or is a category (LightGBM
        # issue 5358): in 38 of 40 random models with missing values, against 0 of 40 with "intermediate".
        "monotone_constraints_method": "intermediate",
        "bagging_freq": 1,
        "verbose": -1,
    }


def fit_model(
    parameters: dict[str, Any], samples: Samples, data: TrainingData, weights: NDArray[np.float64] | None = None
) -> lightgbm.Booster:
    """Fit a model, and return it as one booster, whose last trees are the base if it has one.

    Args:
        parameters: Parameters of LightGBM, which must include num_iterations and monotone_constraints. In addition,
            `base` is the kind of the base, or missing. With a base, num_iterations = 0 means that the base is the model.
        samples: The samples, which state the category features.
        data: The features and the labels of the rows to fit on.
        weights: Weights of these rows; None if every row counts equally.
    """
    remaining = dict(parameters)
    rounds, kind = remaining.pop("num_iterations"), remaining.pop("base", None)
    if kind is None:
        return lightgbm.train(remaining, lightgbm_dataset(samples, data, weights), rounds)
    base = fit_sample_base(kind, remaining["monotone_constraints"], samples, data, weights)
    dataset = lightgbm_dataset(samples, data, weights, base.margins(data[0]))
    # A model that is the base alone still needs the header that LightGBM writes, so one tree is fitted and dropped.
    return append_base(lightgbm.train(remaining, dataset, max(rounds, 1)), base, keep_trees=rounds > 0)


def fit_sample_base(
    kind: BaseKind,
    signs: Sequence[int],
    samples: Samples,
    data: TrainingData,
    weights: NDArray[np.float64] | None,
) -> Base:
    """Fit a base to rows of the samples; `signs` has the monotone constraint of every feature."""
    return fit_base(kind, *data, signs, samples.category_positions(), weights)


def lightgbm_dataset(
    samples: Samples,
    data: TrainingData,
    weights: NDArray[np.float64] | None = None,
    base_margins: NDArray[np.float64] | None = None,
) -> lightgbm.Dataset:
    """Return a LightGBM data set with the names of the features, the category features, and the weights of the rows.

    Args:
        samples: The samples, which state the features.
        data: The features and the labels of the rows.
        weights: Weights of the rows; None if every row counts equally.
        base_margins: The margins of a base, to which the trees are added; None without a base.
    """
    matrix, labels = data
    if positions := samples.category_positions():
        # LightGBM treats a negative code as missing, but prints a warning; NaN avoids the warning.
        matrix = matrix.copy()
        matrix[:, positions] = np.where(matrix[:, positions] < 0, np.nan, matrix[:, positions])
    return lightgbm.Dataset(
        matrix,
        labels,
        weight=weights,
        init_score=base_margins,
        feature_name=list(samples.names),
        categorical_feature=positions,
    )


def cross_validated_auc(parameters: dict[str, Any], samples: Samples, folds: int) -> float:
    """Return the mean AUC over stratified folds of the fit, calibration and hold-out parts, shuffled with seed 0."""
    rows = samples.part("FIT", "CALIBRATION", "HOLD_OUT")
    matrix, labels, weights = samples.features(rows), label_of(rows), weight_of(rows)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=0)
    aucs = []
    for known, unseen in splitter.split(matrix, labels):
        known_weights = None if weights is None else weights[known]
        booster = fit_model(parameters, samples, (matrix[known], labels[known]), known_weights)
        aucs.append(roc_auc_score(labels[unseen], booster.predict(matrix[unseen], raw_score=True)))
    return float(np.mean(aucs))
