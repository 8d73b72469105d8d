"""What a campaign on the riskiest customers would find, for the model and every simpler rule, on the same rows."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.measures.bootstrap import Interval, auc_interval
from training.measures.discrimination import capture_at_capacity, lift_at_share, pr_auc
from training.measures.profit import CampaignEconomics, ExpectedProfit, empc
from training.measures.proportions import Estimate, proportion
from training.spec import CampaignSpec, ProfitSpec
from training.validation.ranking import RESAMPLING
from training.validation.scored_sample import ScoredSample, measure_or_remark

TOP = 0.1


@dataclass(frozen=True, slots=True)
class CampaignMetrics:
    """One rule on the hold-out.

    Attributes:
        auc: With its interval by customer.
        pr_auc: Average precision; the bad rate is chance.
        lift: In the top tenth; 1 is chance.
        captured: Of those who left, the share among the `capacity` riskiest of each snapshot; None without capacity.
        profit: EMPC; None without the campaign's parameters.
    """

    auc: Interval | None
    pr_auc: float
    lift: float
    capture_rate: float | None
    profit: ExpectedProfit | None


@dataclass(frozen=True, slots=True)
class SnapshotMetrics:
    """One snapshot; of development ones the outcome was known to the model, and `auc` is too good.

    Attributes:
        part: FIT, CALIBRATION or HOLD_OUT.
        left: Who left, with Wilson's interval at 95 %.
    """

    period: str
    part: str
    customers: int
    auc: Interval | None
    mean_pd: float
    bad_rate: Estimate


@dataclass(frozen=True, slots=True)
class CampaignFindings:
    """Attributes below.

    Attributes:
        model: This model.
        rules: The simpler rules by name.
        months: Every snapshot, in the order of time.
    """

    model: CampaignMetrics
    rivals: Mapping[str, CampaignMetrics]
    snapshots: tuple[SnapshotMetrics, ...]


def measure_campaign(
    campaign: CampaignSpec, whole: ScoredSample, rules: Mapping[str, NDArray[np.float64]], remarks: list[str]
) -> CampaignFindings:
    """Measure the model and the rules.

    Args:
        campaign: Capacity and money, as far as the spec states them.
        whole: All parts.
        rules: Pds of every simpler rule for the rows of the hold-out.
        remarks: Takes what could not be measured.
    """
    hold_out = whole.subset((whole.rows["sample"] == "HOLD_OUT").to_numpy())
    if campaign.profit is None:
        remarks.append("EMPC: not measured: the spec has no [campaign.profit], and nobody else's money says anything")
    if campaign.capacity is None:
        remarks.append("capture at the sales team's capacity: not measured: the spec has no campaign.capacity")
    found = {name: found_by(campaign, hold_out, pds, name, remarks) for name, pds in rules.items()}
    return CampaignFindings(
        model=found_by(campaign, hold_out, hold_out.pds, "this model", remarks),
        rivals=found,
        snapshots=months_of(whole),
    )


def found_by(
    campaign: CampaignSpec, hold_out: ScoredSample, pds: NDArray[np.float64], name: str, remarks: list[str]
) -> CampaignMetrics:
    """Measure one rule."""
    labels = hold_out.labels
    periods = hold_out.rows["period"].to_numpy()
    captured = None
    if campaign.capacity is not None:
        bads = [
            capture_of(labels[periods == one], pds[periods == one], campaign.capacity) for one in np.unique(periods)
        ]
        captured = sum(bads) / float(labels.sum())
    return CampaignMetrics(
        auc=measure_or_remark(
            remarks, f"interval of the AUC of {name}", lambda: auc_interval(labels, pds, hold_out.customers, RESAMPLING)
        ),
        pr_auc=pr_auc(labels, pds),
        lift=lift_at_share(labels, pds, TOP),
        capture_rate=captured,
        profit=None if campaign.profit is None else empc(labels, pds, money(campaign.profit)),
    )


def capture_of(labels: NDArray[np.int64], pds: NDArray[np.float64], capacity: int) -> float:
    """Count those who left among the riskiest of one snapshot; 0 where nobody left, all where nobody stayed."""
    if labels.all() or not labels.any():
        return float(min(capacity, int(labels.sum())))
    return capture_at_capacity(labels, pds, capacity).bads


def money(spec: ProfitSpec) -> CampaignEconomics:
    """Give the campaign of the spec."""
    return CampaignEconomics(spec.clv, spec.offer_cost, spec.contact_cost, spec.acceptance_alpha, spec.acceptance_beta)


def months_of(whole: ScoredSample) -> tuple[SnapshotMetrics, ...]:
    """Measure every snapshot by itself."""
    periods = whole.rows["period"].to_numpy()
    return tuple(month_of(str(one), whole.subset(periods == one)) for one in sorted(set(periods)))


def month_of(period: str, rows: ScoredSample) -> SnapshotMetrics:
    """Measure one snapshot; a remark about it would be one a month, so there is none."""
    return SnapshotMetrics(
        period=period,
        part=str(rows.rows["sample"].iloc[0]),
        customers=len(rows.labels),
        auc=measure_or_remark([], period, lambda: auc_interval(rows.labels, rows.pds, rows.customers, RESAMPLING)),
        mean_pd=float(rows.pds.mean()),
        bad_rate=proportion(int(rows.labels.sum()), len(rows.labels)),
    )
