"""Evaluates the exported model and the rivals on the hold-out, and returns all results that the report shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from training.equivalence.check import EquivalenceReport
from training.export.representatives import thresholds_by_feature
from training.fitting.booster import cross_validated_auc, fixed_parameters
from training.fitting.search import SearchCandidate
from training.measures.fairness import FairnessResult
from training.measures.quality import Quality, measure_quality
from training.measures.stability import StabilityIndex
from training.sources.samples import Sample, Samples
from training.spec import Spec
from training.validation.calibration import CalibrationFindings, measure_calibration
from training.validation.campaign import CampaignFindings, measure_campaign
from training.validation.contributions import ContributionSample, sample_contributions
from training.validation.drift import FeatureStatistics, measure_features, measure_score_shift
from training.validation.fairness import measure_fairness
from training.validation.monotonicity import MonotonicitySweep, sweep_features
from training.validation.ranking import RankingFindings, measure_ranking
from training.validation.reject_sensitivity import RejectFindings, measure_reject_scenarios
from training.validation.rivals import RivalResult, SwapComparison, compare_swap_sets, measure_rivals
from training.validation.scored_sample import CandidateModel, ScoredSample, score_sample

SAMPLE_PARTS: tuple[Sample, ...] = ("FIT", "CALIBRATION", "HOLD_OUT", "OUT_OF_TIME")


@dataclass(frozen=True, slots=True, eq=False)
class ModelEvaluation:
    """All results of the evaluation of one model.

    Attributes:
        parameters: Parameters that the search selected.
        gain: Share of each feature in the total gain of all splits.
        hold_out: The hold-out, scored with the exported files; for a log, the rows of all test snapshots.
        parts: Quality for each part that has rows.
        periods: Quality for each test snapshot; empty for a table.
        ranking: AUC, Gini and KS of the hold-out with intervals, for all rows and for each market.
        calibration: Agreement of pds and outcomes on the hold-out, for all rows and for each grade.
        rivals: Results of the rivals on the hold-out, by name.
        approve_max_pd: Cut-off of the reference policy; None if the spec has no reference policy.
        swap: Swap sets of the model and the scorecard; None without a scorecard or a reference policy.
        features: Information value and drift of every feature.
        score_shift: Shift of the score from the development rows to the hold-out; None if it cannot be measured.
        out_of_time_shift: Shift of the score from the development rows to the out-of-time rows; None without such rows.
        sweeps: Check of the monotone constraint of every feature with a sign.
        contributions: Explanations of a sample of the hold-out, from the exported files.
        fairness: Comparison of decisions between the groups of each protected attribute.
        rejects: How the model would differ with rejected applicants; None unless the spec has a [table.reject].
        cross_validation: Mean AUC with and without monotone constraints; empty unless the spec requests
            cross-validation.
        campaign: Results of a campaign that contacts the customers with the highest pds; None for a table.
        equivalence: Report of the check that the exported files equal the model.
        search: The kinds of model that the search compared on its folds, the chosen one first.
        remarks: Sentences on figures that could not be measured, and on groups that were pooled.
        fitted_elsewhere: Whether the model was fitted outside this package, possibly on rows of the hold-out.
    """

    parameters: Mapping[str, Any]
    gain: Mapping[str, float]
    hold_out: ScoredSample
    parts: Mapping[str, Quality]
    periods: Mapping[str, Quality]
    ranking: RankingFindings
    calibration: CalibrationFindings
    rivals: Mapping[str, RivalResult]
    approve_max_pd: float | None
    swap: SwapComparison | None
    features: Mapping[str, FeatureStatistics]
    score_shift: StabilityIndex | None
    out_of_time_shift: StabilityIndex | None
    sweeps: tuple[MonotonicitySweep, ...]
    contributions: ContributionSample
    fairness: Mapping[str, FairnessResult]
    rejects: RejectFindings | None
    cross_validation: Mapping[str, float]
    campaign: CampaignFindings | None
    equivalence: EquivalenceReport
    search: tuple[SearchCandidate, ...]
    remarks: tuple[str, ...]
    fitted_elsewhere: bool

    @property
    def test_quality(self) -> Quality:
        """Return the quality on the hold-out."""
        return self.parts["HOLD_OUT"]


def evaluate_model(spec: Spec, samples: Samples, exported: CandidateModel, threads: int) -> ModelEvaluation:
    """Measure the model and the rivals on the hold-out. The pds of the model come from the exported files."""
    remarks = list(exported.remarks)
    present = [part for part in SAMPLE_PARTS if len(samples.part(part))]
    scored = {part: score_sample(exported, samples, part) for part in present}
    hold_out, development = scored["HOLD_OUT"], score_sample(exported, samples, "FIT", "CALIBRATION")
    rivals = measure_rivals(spec, samples, hold_out, remarks)
    periods = hold_out.rows["period"].to_numpy()
    late = scored.get("OUT_OF_TIME")
    return ModelEvaluation(
        parameters=exported.parameters,
        gain=exported.gain,
        hold_out=hold_out,
        parts={part: measure_quality(sample.labels, sample.pds) for part, sample in scored.items()},
        periods={
            period: measure_quality(hold_out.labels[periods == period], hold_out.pds[periods == period])
            for period in sorted(set(periods))
            if period
        },
        ranking=measure_ranking(hold_out, remarks),
        calibration=measure_calibration(hold_out, development, exported.card.grades, remarks),
        rivals=rivals,
        approve_max_pd=spec.reference_policy.approve_max_pd if spec.reference_policy else None,
        swap=compare_swap_sets(spec, rivals, hold_out),
        features=measure_features(samples, development, hold_out, spec.leak_reasons, remarks),
        score_shift=measure_score_shift(development, hold_out, remarks),
        out_of_time_shift=None if late is None else measure_score_shift(development, late, remarks),
        sweeps=sweep_features(spec, samples, exported.scorer, thresholds_by_feature(exported.ensemble)),
        contributions=sample_contributions(exported, samples.features(hold_out.rows)),
        fairness=measure_fairness(spec, hold_out, remarks),
        rejects=measure_reject_scenarios(spec, samples, exported, hold_out, threads, remarks),
        cross_validation=_cross_validated_aucs(spec, samples, exported.parameters, threads),
        campaign=_evaluate_campaign(spec, samples, exported, rivals, remarks),
        equivalence=exported.equivalence,
        search=exported.search,
        remarks=tuple(remarks),
        fitted_elsewhere=exported.fitted_elsewhere,
    )


def _evaluate_campaign(
    spec: Spec, samples: Samples, exported: CandidateModel, rivals: Mapping[str, RivalResult], remarks: list[str]
) -> CampaignFindings | None:
    """Measure a campaign that contacts the customers with the highest pds; return None unless the spec has a [log]."""
    if spec.log is None:
        return None
    whole = score_sample(exported, samples, "FIT", "CALIBRATION", "HOLD_OUT")
    pds = {name: rival.pds for name, rival in rivals.items()}
    return measure_campaign(spec.campaign, whole, pds, remarks)


def _cross_validated_aucs(
    spec: Spec, samples: Samples, parameters: Mapping[str, Any], threads: int
) -> dict[str, float]:
    """Return the AUC with and without monotone constraints; empty unless the spec requests cross-validation."""
    if not spec.cross_validation_folds:
        return {}
    signs = tuple(feature.sign for feature in spec.features)
    return {
        name: cross_validated_auc(
            fixed_parameters(constraints, threads) | dict(parameters), samples, spec.cross_validation_folds
        )
        for name, constraints in (("signed", signs), ("unsigned", (0,) * len(signs)))
    }
