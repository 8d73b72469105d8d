"""What training finds out about a model, on rows that nothing before has looked at."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from training.equivalence.check import EquivalenceReport
from training.evaluation.quality import Quality, measure_quality
from training.export.representatives import thresholds_by_feature
from training.fitting.booster import cross_validated_auc, fixed_parameters
from training.measures.fairness import FairnessResult
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
from training.validation.rivals import RivalResult, SwapComparison, compare_swap_sets, measure_rivals
from training.validation.scored_sample import CandidateModel, ScoredSample, score_sample

SAMPLE_PARTS: tuple[Sample, ...] = ("FIT", "CALIBRATION", "HOLD_OUT", "OUT_OF_TIME")


@dataclass(frozen=True, slots=True, eq=False)
class ModelEvaluation:
    """What training found out, for people.

    Attributes:
        parameters: The search's choice.
        gain: By feature, the share of the loss that its splits took away in the fit.
        hold_out: The rows that most figures are of, as the exported files answered them; of a log, the pooled test
            snapshots.
        parts: Quality by part of the split; those with rows.
        periods: Quality on the hold-out by snapshot; empty for a table.
        rivals: The simpler rules on the hold-out.
        approve_max_pd: Cut-off of the reference policy, if the spec has one.
        swap: None without a scorecard among the rivals, or without a reference policy.
        features: What each knows and how it moved.
        score_shift: Hold-out against development; None where nothing can shift.
        out_of_time_shift: The same of the out-of-time rows; None where there are none.
        sweeps: Of every feature with a sign.
        attributions: The exported explanations of some rows of the hold-out.
        fairness: By attribute.
        cross_validation: Mean AUC with and without the sign table; empty where the spec asks for none.
        campaign: What the riskiest customers would bring; None for a table.
        verdict: What the release gate examined.
        remarks: What could not be measured, and why; what was pooled.
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
    cross_validation: Mapping[str, float]
    campaign: CampaignFindings | None
    equivalence: EquivalenceReport
    remarks: tuple[str, ...]

    @property
    def test_quality(self) -> Quality:
        """Give the quality on the hold-out."""
        return self.parts["HOLD_OUT"]


def evaluate_model(spec: Spec, samples: Samples, exported: CandidateModel, threads: int) -> ModelEvaluation:
    """Judge the exported files, not the booster, on the hold-out, and the rivals on the same rows."""
    remarks: list[str] = []
    present = [part for part in SAMPLE_PARTS if len(samples.part(part))]
    answered = {part: score_sample(exported, samples, part) for part in present}
    hold_out, development = answered["HOLD_OUT"], score_sample(exported, samples, "FIT", "CALIBRATION")
    rivals = measure_rivals(spec, samples, hold_out, remarks)
    periods = hold_out.rows["period"].to_numpy()
    late = answered.get("OUT_OF_TIME")
    reasons = {name: one.reason for one in spec.leaks_acknowledged for name in one.features}
    return ModelEvaluation(
        parameters=exported.parameters,
        gain=exported.gain,
        hold_out=hold_out,
        parts={part: measure_quality(found.labels, found.pds) for part, found in answered.items()},
        periods={
            p: measure_quality(hold_out.labels[periods == p], hold_out.pds[periods == p])
            for p in sorted(set(periods))
            if p
        },
        ranking=measure_ranking(hold_out, remarks),
        calibration=measure_calibration(hold_out, development, exported.card.grades, remarks),
        rivals=rivals,
        approve_max_pd=spec.reference_policy.approve_max_pd if spec.reference_policy else None,
        swap=compare_swap_sets(spec, rivals, hold_out),
        features=measure_features(samples, development, hold_out, reasons, remarks),
        score_shift=measure_score_shift(development, hold_out, remarks),
        out_of_time_shift=None if late is None else measure_score_shift(development, late, remarks),
        sweeps=sweep_features(spec, samples, exported.scorer, thresholds_by_feature(exported.ensemble)),
        contributions=sample_contributions(exported, samples.features(hold_out.rows)),
        fairness=measure_fairness(spec, hold_out, remarks),
        cross_validation=_cross_validated_aucs(spec, samples, exported.parameters, threads),
        campaign=_evaluate_campaign(spec, samples, exported, rivals, remarks),
        equivalence=exported.equivalence,
        remarks=tuple(remarks),
    )


def _evaluate_campaign(
    spec: Spec, samples: Samples, exported: CandidateModel, rivals: Mapping[str, RivalResult], remarks: list[str]
) -> CampaignFindings | None:
    """Measure what a campaign would find; of a log alone."""
    if spec.log is None:
        return None
    whole = score_sample(exported, samples, "FIT", "CALIBRATION", "HOLD_OUT")
    pds = {name: rival.pds for name, rival in rivals.items()}
    return measure_campaign(spec.campaign, whole, pds, remarks)


def _cross_validated_aucs(
    spec: Spec, samples: Samples, parameters: Mapping[str, Any], threads: int
) -> dict[str, float]:
    """Give the cross-validated AUC with the sign table and without it; nothing where the spec asks for none."""
    if not spec.cross_validation_folds:
        return {}
    signs = tuple(feature.sign for feature in spec.features)
    return {
        name: cross_validated_auc(
            fixed_parameters(constraints, threads, samples) | dict(parameters), samples, spec.cross_validation_folds
        )
        for name, constraints in (("signed", signs), ("unsigned", (0,) * len(signs)))
    }
