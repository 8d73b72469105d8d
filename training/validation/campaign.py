"""What a campaign to the riskiest customers would find, for the model and each rival, on the same rows."""

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

_LIFT_SHARE = 0.1  # lift is measured in the riskiest tenth


@dataclass(frozen=True, slots=True)
class CampaignMetrics:
    """One model on the hold-out.

    Attributes:
        auc: With its interval by customer; None if not measurable.
        pr_auc: Average precision; the bad rate is the value of a random order.
        lift: Bad rate of the riskiest tenth over the bad rate of all; 1 is the value of a random order.
        capture_rate: Share of all bads that are among the `capacity` riskiest customers of their snapshot, from 0 to 1;
            None if the spec has no capacity.
        profit: Expected maximum profit (EMPC); None if the spec has no [campaign.profit].
    """

    auc: Interval | None
    pr_auc: float
    lift: float
    capture_rate: float | None
    profit: ExpectedProfit | None


@dataclass(frozen=True, slots=True)
class SnapshotMetrics:
    """One snapshot. The AUC of a development snapshot is too good, because the model was fitted to its outcomes.

    Attributes:
        period: Date of the snapshot.
        part: FIT, CALIBRATION or HOLD_OUT.
        customers: Number of rows.
        auc: With its interval by customer; None if not measurable.
        mean_pd: Mean probability.
        bad_rate: With its Wilson interval at 95 %.
    """

    period: str
    part: str
    customers: int
    auc: Interval | None
    mean_pd: float
    bad_rate: Estimate


@dataclass(frozen=True, slots=True)
class CampaignFindings:
    """The campaign metrics of all models.

    Attributes:
        model: The candidate model.
        rivals: The rivals by name.
        snapshots: All snapshots in order of time, measured with the candidate model.
    """

    model: CampaignMetrics
    rivals: Mapping[str, CampaignMetrics]
    snapshots: tuple[SnapshotMetrics, ...]


def measure_campaign(
    campaign: CampaignSpec, sample: ScoredSample, rivals: Mapping[str, NDArray[np.float64]], remarks: list[str]
) -> CampaignFindings:
    """Measure the candidate model and the rivals.

    Args:
        campaign: Capacity and economics, as far as the spec states them.
        sample: The rows of all parts.
        rivals: For each rival its probabilities, shape (rows of the hold-out,).
        remarks: Receives what could not be measured.
    """
    hold_out = sample.subset((sample.rows["sample"] == "HOLD_OUT").to_numpy())
    if campaign.profit is None:
        remarks.append(
            "EMPC: not measured: the spec has no [campaign.profit], and amounts of others would mean nothing"
        )
    if campaign.capacity is None:
        remarks.append("capture at the sales team's capacity: not measured: the spec has no campaign.capacity")
    measured = {name: _measure_model(campaign, hold_out, pds, name, remarks) for name, pds in rivals.items()}
    return CampaignFindings(
        model=_measure_model(campaign, hold_out, hold_out.pds, "this model", remarks),
        rivals=measured,
        snapshots=_measure_snapshots(sample),
    )


def _measure_model(
    campaign: CampaignSpec, hold_out: ScoredSample, pds: NDArray[np.float64], name: str, remarks: list[str]
) -> CampaignMetrics:
    """Measure one model by its probabilities for the hold-out."""
    labels = hold_out.labels
    auc = measure_or_remark(
        remarks, f"interval of the AUC of {name}", lambda: auc_interval(labels, pds, hold_out.customers, RESAMPLING)
    )
    return CampaignMetrics(
        auc=auc,
        pr_auc=pr_auc(labels, pds),
        lift=lift_at_share(labels, pds, _LIFT_SHARE),
        capture_rate=None if campaign.capacity is None else _capture_rate(hold_out, pds, campaign.capacity),
        profit=None if campaign.profit is None else empc(labels, pds, _economics(campaign.profit)),
    )


def _capture_rate(hold_out: ScoredSample, pds: NDArray[np.float64], capacity: int) -> float:
    """Return the share of all bads that are among the `capacity` riskiest customers of their snapshot."""
    labels, periods = hold_out.labels, hold_out.rows["period"].to_numpy()
    captured = [
        _captured_bads(labels[periods == period], pds[periods == period], capacity) for period in np.unique(periods)
    ]
    return sum(captured) / float(labels.sum())


def _captured_bads(labels: NDArray[np.int64], pds: NDArray[np.float64], capacity: int) -> float:
    """Return the number of bads among the riskiest customers of one snapshot; a fraction where pds are tied."""
    # The measure needs both outcomes; with only one, the order of the customers has no effect.
    if labels.all() or not labels.any():
        return float(min(capacity, int(labels.sum())))
    return capture_at_capacity(labels, pds, capacity).bads


def _economics(spec: ProfitSpec) -> CampaignEconomics:
    """Return the economics of the spec."""
    return CampaignEconomics(spec.clv, spec.offer_cost, spec.contact_cost, spec.acceptance_alpha, spec.acceptance_beta)


def _measure_snapshots(sample: ScoredSample) -> tuple[SnapshotMetrics, ...]:
    """Measure each snapshot separately."""
    periods = sample.rows["period"].to_numpy()
    return tuple(_measure_snapshot(str(period), sample.subset(periods == period)) for period in sorted(set(periods)))


def _measure_snapshot(period: str, snapshot: ScoredSample) -> SnapshotMetrics:
    """Measure one snapshot."""
    labels, pds, customers = snapshot.labels, snapshot.pds, snapshot.customers
    return SnapshotMetrics(
        period=period,
        part=str(snapshot.rows["sample"].iloc[0]),
        customers=len(labels),
        # One remark for each snapshot would flood the report; the table shows an empty cell instead.
        auc=measure_or_remark([], period, lambda: auc_interval(labels, pds, customers, RESAMPLING)),
        mean_pd=float(pds.mean()),
        bad_rate=proportion(int(labels.sum()), len(labels)),
    )
