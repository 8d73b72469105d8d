"""Sensitivity of the model to the outcomes that rejected applicants would have had.

Nobody observed these outcomes, so no figure of this module is evidence. Each scenario assumes that a stated share of the
rejected applicants would have defaulted, the riskiest of them most often (parcelling). The model is then fitted and
calibrated again with these rows in addition. The released model never uses a rejected applicant.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.bundle_documents import Scorecard
from models.scorecard import grade_from_pd, log_odds_from_margin, pd_from_log_odds
from training.errors import DataInvalid, ModelRejected
from training.fitting.booster import fit_model, fixed_parameters
from training.fitting.calibration import fit_calibration
from training.measures.discrimination import auc
from training.sources.samples import Samples, label_of, weight_of
from training.spec import Spec
from training.validation.scored_sample import CandidateModel, ScoredSample

_FloatArray = NDArray[np.float64]
_BISECTIONS = 60
_LOG_ODDS_MAX = 40.0


@dataclass(frozen=True, slots=True)
class RejectScenario:
    """A model on the hold-out, and on the rejected applicants of the same part.

    Attributes:
        bad_share: Assumed share of bad outcomes among the rejected applicants; None for the released model.
        auc: AUC on the hold-out.
        mean_pd: Mean pd of the hold-out.
        rejected_mean_pd: Mean pd of the rejected applicants in the hold-out part; None if there are none.
        grade_changes: Share of the hold-out whose grade differs from the grade of the released model.
        approved: Share of the hold-out up to approve_max_pd; None without a reference policy.
        rejected_approved: The same share of the rejected applicants in the hold-out part; None if there are none, or
            without a reference policy.
    """

    bad_share: float | None
    auc: float
    mean_pd: float
    rejected_mean_pd: float | None
    grade_changes: float
    approved: float | None
    rejected_approved: float | None


@dataclass(frozen=True, slots=True)
class RejectFindings:
    """The result of the sensitivity run.

    Attributes:
        rows: Number of rejected applicants.
        mean_pd: Mean pd that the released model gives all rejected applicants.
        scenarios: The released model, and a scenario for each assumed share.
    """

    rows: int
    mean_pd: float
    scenarios: tuple[RejectScenario, ...]


def measure_reject_scenarios(
    spec: Spec, samples: Samples, model: CandidateModel, hold_out: ScoredSample, threads: int, remarks: list[str]
) -> RejectFindings | None:
    """Fit the model again for each assumed share of bad outcomes; return None if there are no rejected applicants.

    A scenario that cannot be fitted is left out, and its reason is appended to the remarks. If the spec has
    [table.reject] but no rejected applicant remains, a remark states this.
    """
    rejected = samples.rejected
    if rejected is None or spec.table is None or spec.table.reject is None:
        return None
    if rejected.empty:
        remarks.append(
            "rejected applicants: not measured: no row of [table.reject] is left, because all of them are in markets that were "
            "left out as too small"
        )
        return None
    own = _pds(model.card, model.scorer.margins(samples.features(rejected)))
    unseen = rejected["sample"].to_numpy() == "HOLD_OUT"
    found = [_describe_scenario(spec, None, hold_out, hold_out.pds, own[unseen])]
    for share in spec.table.reject.bad_shares:
        try:
            pds = _scenario_pds(spec, samples, rejected.assign(label=assume_outcomes(own, share)), model, threads)
        except (DataInvalid, ModelRejected) as error:
            remarks.append(f"rejected applicants with a bad share of {share:g}: not measured: {error}")
            continue
        known, refused = pds[: len(hold_out.labels)], pds[len(hold_out.labels) :]
        found.append(_describe_scenario(spec, share, hold_out, known, refused))
    return RejectFindings(len(rejected), float(own.mean()), tuple(found))


def assume_outcomes(pds: _FloatArray, share: float) -> NDArray[np.int64]:
    """Return assumed outcomes, shape (n,): a rounded share of the rows is bad, and riskier rows are bad more often.

    The log-odds of all pds are shifted by the same amount, so that the mean of the shifted pds is the share. In the order
    of the pds, a row is bad whenever the running sum of the shifted pds passes the next half integer. Therefore each band
    of risk has as many bad rows as its shifted pds add up to, and the result does not depend on random numbers.
    """
    log_odds = np.log(pds) - np.log1p(-pds)
    low, high = -_LOG_ODDS_MAX, _LOG_ODDS_MAX
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if (1 / (1 + np.exp(-(log_odds + middle)))).mean() < share else (low, middle)
    shifted = 1 / (1 + np.exp(-(log_odds + high)))
    order = np.argsort(shifted, kind="stable")
    passed = np.floor(np.cumsum(shifted[order]) + 0.5)
    labels = np.zeros(len(pds), dtype=np.int64)
    labels[order] = np.diff(passed, prepend=0.0) > 0
    return labels


def _scenario_pds(
    spec: Spec, samples: Samples, rejected: pd.DataFrame, model: CandidateModel, threads: int
) -> _FloatArray:
    """Return the pds of a model fitted with rejected applicants: those of the hold-out, then those of the rejected part."""
    scenario = replace(samples, rows=pd.concat([samples.rows, rejected], ignore_index=True))
    signs = tuple(feature.sign for feature in spec.features)
    fit, calibration = scenario.part("FIT"), scenario.part("CALIBRATION")
    parameters = fixed_parameters(signs, threads) | dict(model.parameters)
    booster = fit_model(parameters, scenario, (scenario.features(fit), label_of(fit)), weight_of(fit))

    def margins(rows: pd.DataFrame) -> _FloatArray:
        return np.asarray(booster.predict(samples.features(rows), raw_score=True, num_threads=1), dtype=np.float64)

    slope, intercept = fit_calibration(margins(calibration), label_of(calibration))
    card = Scorecard(slope=slope, intercept=intercept, **spec.score.model_dump())
    measured = pd.concat([samples.part("HOLD_OUT"), rejected[rejected["sample"] == "HOLD_OUT"]])
    return _pds(card, margins(measured))


def _pds(card: Scorecard, margins: _FloatArray) -> _FloatArray:
    """Return the pds of margins."""
    return np.array([pd_from_log_odds(log_odds_from_margin(card, margin)) for margin in margins], dtype=np.float64)


def _describe_scenario(
    spec: Spec, share: float | None, hold_out: ScoredSample, pds: _FloatArray, refused: _FloatArray
) -> RejectScenario:
    """Return the figures of a model from its pds of the hold-out and of rejected applicants."""
    card = Scorecard(slope=1.0, intercept=0.0, **spec.score.model_dump())
    grades = np.array([grade_from_pd(card, one) for one in pds])
    limit = spec.reference_policy.approve_max_pd if spec.reference_policy else None
    return RejectScenario(
        bad_share=share,
        auc=auc(hold_out.labels, pds),
        mean_pd=float(pds.mean()),
        rejected_mean_pd=float(refused.mean()) if len(refused) else None,
        grade_changes=float(np.mean(grades != hold_out.grades)),
        approved=None if limit is None else float(np.mean(pds <= limit)),
        rejected_approved=None if limit is None or not len(refused) else float(np.mean(refused <= limit)),
    )
