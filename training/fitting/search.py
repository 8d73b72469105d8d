"""Fits LightGBM, and finds its parameters by a seeded search on the fit part alone."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import lightgbm
import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from training.errors import DataRefused
from training.fitting.booster import Data, dataset, fixed_parameters
from training.sources.samples import Samples, label_of
from training.spec import SearchSpec, Spec

ROUNDS_MAX = 600
ROUNDS_WITHOUT_GAIN = 40
LEARNING_RATE_MAX = 0.12
Fold = tuple[NDArray[np.int64], NDArray[np.int64]]
Progress = Callable[[int, int], None]


def suggest(trial: optuna.Trial, spec: SearchSpec) -> dict[str, Any]:
    """Choose one set of parameters. Speed is no criterion."""
    return {
        "num_leaves": trial.suggest_int("num_leaves", min(4, spec.max_leaves), spec.max_leaves),
        "learning_rate": trial.suggest_float("learning_rate", spec.learning_rate_min, LEARNING_RATE_MAX, log=True),
        "min_data_in_leaf": trial.suggest_int("min_data_in_leaf", 20, 200, log=True),
        "feature_fraction": trial.suggest_float("feature_fraction", 0.3, 0.9),
        "bagging_fraction": trial.suggest_float("bagging_fraction", 0.6, 1.0),
        "lambda_l2": trial.suggest_float("lambda_l2", 0.1, 30.0, log=True),
    }


def search(samples: Samples, family: Spec, signs: tuple[int, ...], threads: int, progress: Progress) -> dict[str, Any]:
    """Find parameters, num_iterations included, by mean log-loss on validation folds of the fit part."""
    spec, rows = family.search, samples.part("FIT")
    matrix, labels = samples.features(rows), label_of(rows)
    folds = list(folds_of(rows, spec, family.snapshots.horizon_days if family.snapshots else 0))
    workers = ThreadPoolExecutor(threads)

    def objective(trial: optuna.Trial) -> float:
        # One thread a fold: a log-loss that several threads sum differs in its last bits, and would steer the search.
        parameters = fixed_parameters(signs, 1, samples) | suggest(trial, spec)
        results = list(workers.map(lambda fold: fit_fold(parameters, samples, (matrix, labels), fold), folds))
        trial.set_user_attr("num_iterations", round(float(np.mean([rounds for rounds, _ in results]))))
        progress(trial.number + 1, spec.trials)
        return float(np.mean([loss for _, loss in results]))

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=spec.seed))
    with workers:
        study.optimize(objective, n_trials=spec.trials)
    return {**study.best_params, "num_iterations": study.best_trial.user_attrs["num_iterations"]}


def folds_of(rows: pd.DataFrame, spec: SearchSpec, horizon_days: int) -> Iterator[Fold]:
    """Give the folds as row numbers: stratified, or forward in time.

    Forward: each of the last periods is validated on those whose labels were known when it began.
    """
    if spec.validation == "folds":
        splitter = StratifiedKFold(spec.folds, shuffle=True, random_state=spec.seed)
        yield from splitter.split(np.zeros(len(rows)), label_of(rows))
        return
    periods = pd.to_datetime(rows["period"])
    horizon = pd.Timedelta(days=horizon_days)
    for period in sorted(periods.unique())[-spec.folds :]:
        known = np.flatnonzero(periods + horizon <= period)
        if not len(known):
            raise DataRefused(f"search: no fit snapshot is over by {period:%Y-%m-%d}; lower search.folds")
        yield known, np.flatnonzero(periods == period)


def fit_fold(parameters: dict[str, Any], samples: Samples, data: Data, fold: Fold) -> tuple[int, float]:
    """Fit on one side of a fold and give the best number of rounds and its log-loss on the other."""
    (matrix, labels), (known, unseen) = data, fold
    train = dataset(samples, (matrix[known], labels[known]))
    validation = lightgbm.Dataset(matrix[unseen], labels[unseen], reference=train)
    stop = lightgbm.early_stopping(ROUNDS_WITHOUT_GAIN, verbose=False)
    booster = lightgbm.train(
        parameters | {"metric": "binary_logloss"}, train, ROUNDS_MAX, valid_sets=[validation], callbacks=[stop]
    )
    return booster.best_iteration, float(booster.best_score["valid_0"]["binary_logloss"])
