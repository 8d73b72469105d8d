"""Searches the parameters of LightGBM with a seeded search of a fixed number of trials, on the fit part only."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import lightgbm
import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from training.errors import DataInvalid
from training.fitting.booster import TrainingData, fixed_parameters, lightgbm_dataset
from training.sources.samples import Samples, label_of, weight_of
from training.spec import SearchSpec, Spec

_ROUNDS_MAX = 600
_EARLY_STOPPING_ROUNDS = 40
_LEARNING_RATE_MAX = 0.12
_Fold = tuple[NDArray[np.int64], NDArray[np.int64]]  # row numbers to fit on, row numbers to validate on
_Progress = Callable[[int, int], None]  # completed trials, all trials


def _suggest_parameters(trial: optuna.Trial, spec: SearchSpec) -> dict[str, Any]:
    """Return the parameters to try in a trial."""
    return {
        "num_leaves": trial.suggest_int("num_leaves", min(4, spec.max_leaves), spec.max_leaves),
        "learning_rate": trial.suggest_float("learning_rate", spec.learning_rate_min, _LEARNING_RATE_MAX, log=True),
        "min_data_in_leaf": trial.suggest_int("min_data_in_leaf", 20, 200, log=True),
        "feature_fraction": trial.suggest_float("feature_fraction", 0.3, 0.9),
        "bagging_fraction": trial.suggest_float("bagging_fraction", 0.6, 1.0),
        "lambda_l2": trial.suggest_float("lambda_l2", 0.1, 30.0, log=True),
    }


def search_parameters(
    samples: Samples, family: Spec, signs: tuple[int, ...], threads: int, progress: _Progress
) -> dict[str, Any]:
    """Return the parameters with the lowest mean log-loss over the validation folds, including num_iterations.

    Args:
        samples: The samples; the search uses only their fit part.
        family: The spec of the family.
        signs: Monotone constraint of every feature: 1, -1, or 0 for no constraint.
        threads: Number of folds to fit in parallel; no result depends on it.
        progress: Function that is called with (completed trials, all trials).

    Raises:
        DataInvalid: No fit snapshot is complete before the first validation snapshot.
    """
    spec, rows = family.search, samples.part("FIT")
    matrix, labels, weights = samples.features(rows), label_of(rows), weight_of(rows)
    folds = list(_folds(rows, spec, family.snapshots.horizon_days if family.snapshots else 0))
    workers = ThreadPoolExecutor(threads)

    def objective(trial: optuna.Trial) -> float:
        # Each fold has one thread. Several threads would add up the log-loss in a varying order, and a different last
        # bit of the log-loss would change the search.
        parameters = fixed_parameters(signs, 1, samples) | _suggest_parameters(trial, spec)
        results = list(workers.map(lambda fold: _fit_fold(parameters, samples, (matrix, labels), weights, fold), folds))
        # Early stopping determines the number of rounds of each fold. The final fit has no validation rows, so it uses
        # the mean of these numbers.
        trial.set_user_attr("num_iterations", round(float(np.mean([rounds for rounds, _ in results]))))
        progress(trial.number + 1, spec.trials)
        return float(np.mean([loss for _, loss in results]))

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=spec.seed))
    with workers:
        study.optimize(objective, n_trials=spec.trials)
    return {**study.best_params, "num_iterations": study.best_trial.user_attrs["num_iterations"]}


def _folds(rows: pd.DataFrame, spec: SearchSpec, horizon_days: int) -> Iterator[_Fold]:
    """Yield the folds as row numbers: stratified folds, or folds for forward validation.

    Forward validation has one fold for each of the last spec.folds snapshots (periods). The fold fits a model on
    earlier snapshots, and validates the model on this snapshot. An earlier snapshot is used only if its horizon ended
    by the cut date of this snapshot, because otherwise its labels were not yet known on that date.
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
            raise DataInvalid(
                f"search: no fit snapshot has a horizon that ends by {period:%Y-%m-%d}, so no model can be validated on that "
                "snapshot; decrease search.folds, or add earlier fit snapshots"
            )
        yield known, np.flatnonzero(periods == period)


def _fit_fold(
    parameters: dict[str, Any],
    samples: Samples,
    data: TrainingData,
    weights: NDArray[np.float64] | None,
    fold: _Fold,
) -> tuple[int, float]:
    """Fit a fold, and return the number of rounds with the lowest validation log-loss, and this log-loss."""
    (matrix, labels), (known, unseen) = data, fold
    known_weights, unseen_weights = (None, None) if weights is None else (weights[known], weights[unseen])
    train = lightgbm_dataset(samples, (matrix[known], labels[known]), known_weights)
    validation = lightgbm.Dataset(matrix[unseen], labels[unseen], weight=unseen_weights, reference=train)
    stop = lightgbm.early_stopping(_EARLY_STOPPING_ROUNDS, verbose=False)
    booster = lightgbm.train(
        parameters | {"metric": "binary_logloss"}, train, _ROUNDS_MAX, valid_sets=[validation], callbacks=[stop]
    )
    return booster.best_iteration, float(booster.best_score["valid_0"]["binary_logloss"])
