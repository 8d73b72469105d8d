"""Searches the model of a family on the fit part only: its base, and the parameters of its trees.

The parameters of LightGBM are searched with a seeded search of a fixed number of trials. The validation folds then decide
whether the base, the trees, or the trees on the base are released.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import lightgbm
import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from training.errors import DataInvalid
from training.fitting.base import BASE_KINDS, BaseKind
from training.fitting.booster import TrainingData, fit_sample_base, fixed_parameters, lightgbm_dataset
from training.sources.samples import Samples, customer_of, label_of, weight_of
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


@dataclass(frozen=True, slots=True)
class SearchCandidate:
    """A kind of model that the search compared on the validation folds.

    Attributes:
        name: "trees", "base" or "base + trees", with the kind of the base.
        log_loss: Mean log-loss over the folds; the candidate with the lowest log-loss is chosen.
        auc: Mean AUC over the folds; None if a fold has one outcome only.
        parameters: Parameters for `booster.fit_model`.
    """

    name: str
    log_loss: float
    auc: float | None
    parameters: Mapping[str, Any]


def search_steps(family: Spec) -> int:
    """Return the number of steps that `search_candidates` reports: the models that it fits to every fold."""
    kinds = _base_kinds(family)
    return family.search.trials + len(kinds) + (_refit_count(family.search) if kinds else 0)


def search_candidates(
    samples: Samples, family: Spec, signs: tuple[int, ...], threads: int, progress: _Progress
) -> tuple[SearchCandidate, ...]:
    """Return the candidates, the one with the lowest mean log-loss over the validation folds first.

    The trees alone get all trials of the search. The trees on a base get the best quarter of these parameters.

    Args:
        samples: The samples; the search uses only their fit part.
        family: The spec of the family.
        signs: Monotone constraint of every feature: 1, -1, or 0 for no constraint.
        threads: Number of folds to fit in parallel; no result depends on it.
        progress: Function that is called with (completed steps, all steps).

    Raises:
        DataInvalid: The only kind of base that the spec allows cannot be fitted.
    """
    rows = samples.part("FIT")
    search = _Search(samples, family, signs, validation_folds(rows, family), ThreadPoolExecutor(threads), progress)
    with search.workers:
        return tuple(sorted(search.candidates(), key=lambda candidate: candidate.log_loss))


def _base_kinds(family: Spec) -> tuple[BaseKind, ...]:
    """Return the kinds of base that the search tries."""
    if family.base == "none":
        return ()
    if family.base != "auto":
        return (family.base,)
    weighted = family.table is not None and family.table.weight is not None
    return ("logistic",) if weighted else BASE_KINDS  # a scorecard does not support weights


def _refit_count(spec: SearchSpec) -> int:
    """Return how many of the best parameters are tried again on a base."""
    return -(-spec.trials // 4)


@dataclass
class _Search:
    """One search over the folds of the fit part."""

    samples: Samples
    family: Spec
    signs: tuple[int, ...]
    folds: list[_Fold]
    workers: ThreadPoolExecutor
    progress: _Progress
    done: int = 0

    def candidates(self) -> Iterator[SearchCandidate]:
        """Yield every candidate that the spec allows."""
        trials = self._search_trees()
        if self.family.base in ("auto", "none"):
            yield trials[0]
        found: list[tuple[SearchCandidate, list[NDArray[np.float64]]]] = []
        problems = []
        for kind in _base_kinds(self.family):
            try:
                found.append(self._measure_base(kind))
            except DataInvalid as error:
                problems.append(str(error))
            self._report_step()
        if not found:
            if problems and self.family.base != "auto":
                raise DataInvalid(f"base: {problems[0]}; set base = 'none' to fit trees only")
            return
        best, margins = min(found, key=lambda pair: pair[0].log_loss)
        yield from (candidate for candidate, _ in found)
        on_base = []
        for trial in trials[: _refit_count(self.family.search)]:
            parameters = {**trial.parameters, "base": best.parameters["base"]}
            on_base.append(self._measure_trees(f"trees on a {best.name.removesuffix(' alone')}", parameters, margins))
            self._report_step()
        yield min(on_base, key=lambda candidate: candidate.log_loss)

    def _search_trees(self) -> list[SearchCandidate]:
        """Try the parameters of every trial, and return them in ascending order of the log-loss."""
        found = []

        def objective(trial: optuna.Trial) -> float:
            candidate = self._measure_trees("trees alone", _suggest_parameters(trial, self.family.search), None)
            found.append(candidate)
            self._report_step()
            return candidate.log_loss

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=self.family.search.seed))
        study.optimize(objective, n_trials=self.family.search.trials)
        return sorted(found, key=lambda candidate: candidate.log_loss)

    def _measure_trees(
        self, name: str, suggested: Mapping[str, Any], margins: Sequence[NDArray[np.float64]] | None
    ) -> SearchCandidate:
        """Fit trees on every fold; `margins` has the margins of the base in each fold, for all rows of the fit part."""
        searched = {key: value for key, value in suggested.items() if key not in ("base", "num_iterations")}
        # Each fold has one thread. Several threads would add up the log-loss in a varying order, and a different last
        # bit of the log-loss would change the search.
        parameters = fixed_parameters(self.signs, 1) | searched
        of_folds = [None] * len(self.folds) if margins is None else margins
        results = list(
            self.workers.map(lambda pair: self._fit_trees(parameters, *pair), zip(self.folds, of_folds, strict=True))
        )
        # Early stopping determines the number of rounds of each fold. The final fit has no validation rows, so it uses
        # the mean of these numbers.
        rounds = round(float(np.mean([one[0] for one in results])))
        losses, aucs = [one[1] for one in results], [one[2] for one in results]
        return SearchCandidate(name, float(np.mean(losses)), _mean_auc(aucs), {**suggested, "num_iterations": rounds})

    def _fit_trees(
        self, parameters: dict[str, Any], fold: _Fold, margins: NDArray[np.float64] | None
    ) -> tuple[int, float, float | None]:
        """Fit a fold; return the number of rounds with the lowest validation log-loss, this log-loss, and the AUC."""
        (matrix, labels), weights = self._fit_rows
        known, unseen = fold
        known_weights, unseen_weights = (None, None) if weights is None else (weights[known], weights[unseen])
        known_margins, unseen_margins = (None, None) if margins is None else (margins[known], margins[unseen])
        train = lightgbm_dataset(self.samples, (matrix[known], labels[known]), known_weights, known_margins)
        validation = lightgbm.Dataset(
            matrix[unseen], labels[unseen], weight=unseen_weights, init_score=unseen_margins, reference=train
        )
        stop = lightgbm.early_stopping(_EARLY_STOPPING_ROUNDS, verbose=False)
        booster = lightgbm.train(
            parameters | {"metric": "binary_logloss"}, train, _ROUNDS_MAX, valid_sets=[validation], callbacks=[stop]
        )
        raw = booster.predict(matrix[unseen], raw_score=True, num_threads=1)
        total = np.asarray(raw) if unseen_margins is None else np.asarray(raw) + unseen_margins
        loss = float(booster.best_score["valid_0"]["binary_logloss"])
        return booster.best_iteration, loss, _auc(labels[unseen], total)

    def _measure_base(self, kind: BaseKind) -> tuple[SearchCandidate, list[NDArray[np.float64]]]:
        """Fit a base alone on every fold; also return its margins in each fold, for all rows of the fit part."""
        (matrix, labels), weights = self._fit_rows
        margins, losses, aucs = [], [], []
        for known, unseen in self.folds:
            known_weights = None if weights is None else weights[known]
            data = (matrix[known], labels[known])
            base = fit_sample_base(kind, self.signs, self.samples, data, known_weights)
            margins.append(base.margins(matrix))
            of_unseen = margins[-1][unseen]
            each = np.logaddexp(0.0, of_unseen) - labels[unseen] * of_unseen
            losses.append(float(np.average(each, weights=None if weights is None else weights[unseen])))
            aucs.append(_auc(labels[unseen], of_unseen))
        parameters = {"base": kind, "num_iterations": 0}
        return SearchCandidate(f"{kind} base alone", float(np.mean(losses)), _mean_auc(aucs), parameters), margins

    @cached_property
    def _fit_rows(self) -> tuple[TrainingData, NDArray[np.float64] | None]:
        """Return the features, the labels and the weights of the fit part."""
        rows = self.samples.part("FIT")
        return (self.samples.features(rows), label_of(rows)), weight_of(rows)

    def _report_step(self) -> None:
        """Report one more completed step."""
        self.done += 1
        self.progress(self.done, search_steps(self.family))


def _auc(labels: NDArray[np.int64], margins: NDArray[np.float64]) -> float | None:
    """Return the AUC; None if all labels are equal."""
    return float(roc_auc_score(labels, margins)) if 0 < int(labels.sum()) < len(labels) else None


def _mean_auc(aucs: Sequence[float | None]) -> float | None:
    """Return the mean AUC of the folds; None if one of them is unknown."""
    known = [auc for auc in aucs if auc is not None]
    return float(np.mean(known)) if len(known) == len(aucs) else None


def validation_remarks(samples: Samples, family: Spec) -> tuple[str, ...]:
    """Return a sentence if forward validation is not possible and folds by customer replace it."""
    rows = samples.part("FIT")
    if family.search.validation == "folds" or _forward_folds(rows, family):
        return ()
    count = rows["period"].nunique()
    remark = (
        f"the fit part has {count} snapshots, too few to validate on later ones, so the search validates on folds of "
        "customers; more dates in snapshots.fit allow forward validation"
    )
    return (remark,)


def validation_folds(rows: pd.DataFrame, family: Spec) -> list[_Fold]:
    """Return the folds as row numbers: stratified folds, or folds for forward validation.

    If no forward fold is possible, the folds are stratified folds of customers instead, so that no customer is on both
    sides.
    """
    spec = family.search
    if spec.validation == "folds":
        splitter = StratifiedKFold(spec.folds, shuffle=True, random_state=spec.seed)
        return list(splitter.split(np.zeros(len(rows)), label_of(rows)))
    forward = _forward_folds(rows, family)
    if forward:
        return forward
    by_customer = StratifiedGroupKFold(spec.folds, shuffle=True, random_state=spec.seed)
    return list(by_customer.split(np.zeros(len(rows)), label_of(rows), customer_of(rows)))


def _forward_folds(rows: pd.DataFrame, family: Spec) -> list[_Fold]:
    """Return one fold for each of the last `folds` snapshots (periods) on which a model can be validated.

    The fold fits a model on earlier snapshots, and validates the model on this snapshot. An earlier snapshot is used only
    if its horizon ended by the cut date of this snapshot, because otherwise its labels were not yet known on that date.
    """
    horizon = pd.Timedelta(days=family.snapshots.horizon_days if family.snapshots else 0)
    periods = pd.to_datetime(rows["period"])
    pairs = [
        (np.flatnonzero(periods + horizon <= period), np.flatnonzero(periods == period))
        for period in sorted(periods.unique())[-family.search.folds :]
    ]
    return [(known, unseen) for known, unseen in pairs if len(known)]
