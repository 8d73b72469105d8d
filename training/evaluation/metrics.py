"""The names of all figures of an evaluation, for metrics.json and for the release gates.

A name has the form "part.figure", e.g. "hold_out.auc".
"""

import math
from collections.abc import Iterator
from dataclasses import asdict

from training.evaluation.model_evaluation import ModelEvaluation
from training.measures.bootstrap import Interval
from training.measures.proportions import Estimate
from training.measures.stability import StabilityIndex
from training.measures.swap import SwapSet

_Metric = tuple[str, float | None]
# Without the prefix "development.", the figures of the calibration part would have names such as "calibration.auc".
# They could be mistaken for "calibration.*", the figures that compare pds with outcomes on the hold-out.
_PART_NAMES = {
    "FIT": "development.fit",
    "CALIBRATION": "development.calibration",
    "HOLD_OUT": "hold_out",
    "OUT_OF_TIME": "out_of_time",
}


def named_metrics(evaluation: ModelEvaluation) -> dict[str, float]:
    """Return every figure by its name, except figures that were not measured or are not finite."""
    figures = [
        *_quality_metrics(evaluation),
        *_ranking_metrics(evaluation),
        *_calibration_metrics(evaluation),
        *_grade_metrics(evaluation),
        *_search_metrics(evaluation),
        *_rival_metrics(evaluation),
        *_drift_metrics(evaluation),
        *_monotonicity_metrics(evaluation),
        *_fairness_metrics(evaluation),
        *_campaign_metrics(evaluation),
        *_reject_metrics(evaluation),
        *((f"cross_validation.{name}.auc", auc) for name, auc in evaluation.cross_validation.items()),
        *((f"gate.{kind.kind}.rows".replace(" ", "_"), float(kind.rows)) for kind in evaluation.equivalence.kinds),
    ]
    names = [name for name, _ in figures]
    assert len(set(names)) == len(names), "two figures under one name"
    return {name: float(value) for name, value in figures if value is not None and math.isfinite(value)}


def _quality_metrics(evaluation: ModelEvaluation) -> Iterator[_Metric]:
    """Yield the main figures of every part, snapshot and rival."""
    qualities = {_PART_NAMES[part]: quality for part, quality in evaluation.parts.items()}
    qualities |= {f"hold_out.{period}": quality for period, quality in evaluation.periods.items()}
    qualities |= {f"rival.{name}": rival.quality for name, rival in evaluation.rivals.items()}
    for name, quality in qualities.items():
        yield from ((f"{name}.{figure}", value) for figure, value in asdict(quality).items())


def _ranking_metrics(evaluation: ModelEvaluation) -> Iterator[_Metric]:
    """Yield the intervals of AUC, Gini and KS, and the number of bads and the Gini (with interval) of every market."""
    ranking = evaluation.ranking
    for name, interval in (("auc", ranking.auc), ("gini", ranking.gini), ("ks", ranking.ks)):
        yield from _interval_metrics(f"hold_out.{name}", interval)
    for market in ranking.markets:
        yield f"market.{'+'.join(market.markets)}.bads", market.bads
        yield f"market.{'+'.join(market.markets)}.gini", market.gini.estimate if market.gini else None
        yield from _interval_metrics(f"market.{'+'.join(market.markets)}.gini", market.gini)


def _calibration_metrics(evaluation: ModelEvaluation) -> Iterator[_Metric]:
    """Yield the figures of the calibration."""
    found = evaluation.calibration
    if found.in_the_large:
        yield "calibration.difference", found.in_the_large.difference
        yield "calibration.z", found.in_the_large.z
    if found.recalibration:
        yield "calibration.slope", found.recalibration.slope
        yield "calibration.intercept", found.recalibration.intercept
    yield "calibration.ece", evaluation.test_quality.ece
    yield "calibration.ece_noise_mean", found.ece_noise.mean
    yield "calibration.ece_noise_highest_95", found.ece_noise.quantile_95
    yield from ((f"calibration.brier.{what}", value) for what, value in asdict(found.brier).items())
    if found.hosmer_lemeshow:
        yield "calibration.hosmer_lemeshow", found.hosmer_lemeshow.statistic
        yield "calibration.hosmer_lemeshow_p", found.hosmer_lemeshow.p_value


def _grade_metrics(evaluation: ModelEvaluation) -> Iterator[_Metric]:
    """Yield the figures of the master scale."""
    found = evaluation.calibration
    yield "grades.held", found.filled_grade_count
    yield "grades.order_violations", found.order_violations
    if found.concentration:
        yield "grades.hhi", found.concentration.hhi
        yield "grades.hhi_normalised", found.concentration.normalised
    if found.development_concentration:
        yield "grades.development_hhi", found.development_concentration.hhi
    for grade in found.grades:
        name = f"grade.{grade.test.grade}"
        yield f"{name}.share", grade.share
        yield f"{name}.development_share", grade.development_share
        if grade.test.rows:
            yield f"{name}.pd", grade.test.pd
            yield f"{name}.bad_rate", grade.test.bad_rate
            yield f"{name}.jeffreys_p", grade.test.jeffreys_p
            yield f"{name}.binomial_p", grade.test.binomial_p


def _search_metrics(evaluation: ModelEvaluation) -> Iterator[_Metric]:
    """Yield the log-loss and the AUC on the validation folds of every kind of model that the search compared."""
    for candidate in evaluation.search:
        yield f"search.{candidate.name}.log_loss", candidate.log_loss
        yield f"search.{candidate.name}.auc", candidate.auc


def _rival_metrics(evaluation: ModelEvaluation) -> Iterator[_Metric]:
    """Yield the difference in AUC between the model and every rival, and the swap sets."""
    for name, rival in evaluation.rivals.items():
        yield f"rival.{name}.ahead_auc", evaluation.test_quality.auc - rival.quality.auc
        yield from _interval_metrics(f"rival.{name}.ahead_auc", rival.auc_lead)
    if evaluation.swap:
        yield from _swap_metrics("swap.at_cut_off", evaluation.swap.at_cut_off)
        yield from _swap_metrics("swap.at_rate", evaluation.swap.at_rate)


def _swap_metrics(name: str, found: SwapSet) -> Iterator[_Metric]:
    """Yield the cells of a swap set."""
    for what in ("both_approved", "swapped_in", "swapped_out", "both_declined"):
        cell = getattr(found, what)
        yield f"{name}.{what}.rows", cell.rows
        yield f"{name}.{what}.bad_rate", cell.bad_rate
    yield f"{name}.approved", found.challenger_approved
    yield f"{name}.approved_bad_rate", found.challenger_bad_rate
    yield f"{name}.rival_approved", found.champion_approved
    yield f"{name}.rival_approved_bad_rate", found.champion_bad_rate


def _drift_metrics(evaluation: ModelEvaluation) -> Iterator[_Metric]:
    """Yield the number of leaks that are not acknowledged, the information values and the stability indices."""
    yield "iv.leaks_not_acknowledged", sum(feature.leak_alarm for feature in evaluation.features.values())
    for name, feature in evaluation.features.items():
        yield f"iv.{name}", feature.information.iv
        yield from _shift_metrics(f"csi.{name}", feature.shift)
    yield from _shift_metrics("psi.score", evaluation.score_shift)
    yield from _shift_metrics("psi.out_of_time.score", evaluation.out_of_time_shift)


def _shift_metrics(name: str, found: StabilityIndex | None) -> Iterator[_Metric]:
    """Yield a stability index with its critical value and number of rows; nothing if it was not measured."""
    if found:
        yield from ((name, found.psi), (f"{name}.critical", found.critical), (f"{name}.rows", found.current_rows))


def _monotonicity_metrics(evaluation: ModelEvaluation) -> Iterator[_Metric]:
    """Yield the number of checked features, the number of rows of each check, and the number of violations.

    A violation is a row in which a change of a feature moves the margin in the direction that the sign of the feature
    forbids.
    """
    yield "monotone.features", len(evaluation.sweeps)
    yield "monotone.rows", max((sweep.rows for sweep in evaluation.sweeps), default=0)
    yield "monotone.violations", sum(sweep.violations for sweep in evaluation.sweeps)


def _fairness_metrics(evaluation: ModelEvaluation) -> Iterator[_Metric]:
    """Yield the rates and gaps of every group that is large enough to be measured."""
    for attribute, found in evaluation.fairness.items():
        for group in found.groups:
            if group.small:
                continue
            name = f"fairness.{attribute}.{group.name}"
            yield from _estimate_metrics(f"{name}.selection_rate", group.selection_rate)
            for what in ("tpr_gap", "fpr_gap", "disparate_impact"):
                yield from _estimate_metrics(f"{name}.{what}", getattr(group, what))


def _reject_metrics(evaluation: ModelEvaluation) -> Iterator[_Metric]:
    """Yield the figures of the model for each assumed share of bad outcomes among rejected applicants."""
    if evaluation.rejects is None:
        return
    yield "reject.rows", evaluation.rejects.rows
    yield "reject.mean_pd", evaluation.rejects.mean_pd
    for scenario in evaluation.rejects.scenarios:
        figures = asdict(scenario)
        share = figures.pop("bad_share")
        if share is not None:
            yield from ((f"reject.{share:g}.{figure}", value) for figure, value in figures.items())


def _campaign_metrics(evaluation: ModelEvaluation) -> Iterator[_Metric]:
    """Yield the results of a campaign for the model and every rival, and the AUC of the model for every snapshot."""
    if evaluation.campaign is None:
        return
    named = {"hold_out": evaluation.campaign.model}
    named |= {f"rival.{name}": found for name, found in evaluation.campaign.rivals.items()}
    for name, found in named.items():
        yield f"{name}.pr_auc", found.pr_auc
        yield f"{name}.lift_top_decile", found.lift
        yield f"{name}.captured_at_capacity", found.capture_rate
        yield f"{name}.empc", found.profit.empc if found.profit else None
        if name != "hold_out":
            yield from _interval_metrics(f"{name}.auc", found.auc)
    for month in evaluation.campaign.snapshots:
        yield f"month.{month.period}.auc", month.auc.estimate if month.auc else None
        yield from _interval_metrics(f"month.{month.period}.auc", month.auc)


def _interval_metrics(name: str, found: Interval | None) -> Iterator[_Metric]:
    """Yield the bounds of an interval; nothing if it was not measured."""
    if found:
        yield from ((f"{name}.low", found.low), (f"{name}.high", found.high))


def _estimate_metrics(name: str, found: Estimate | None) -> Iterator[_Metric]:
    """Yield an estimate and the bounds of its interval; nothing if it was not measured."""
    if found:
        yield from ((name, found.value), (f"{name}.low", found.low), (f"{name}.high", found.high))
