"""The results of a campaign to the riskiest customers, who are selected by the model or by a benchmark model (rival).

All models are measured on the same rows.
"""

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

_LIFT_SHARE = 0.1  # lift is measured on the tenth of the rows with the highest risk


@dataclass(frozen=True, slots=True)
class CampaignMetrics:
    """The measures of one model on the hold-out.

    Attributes:
        auc: AUC with its bootstrap interval over customers; None if the interval cannot be measured.
        pr_auc: Average precision; about the bad rate for a random ranking.
        lift: Bad rate of the riskiest tenth divided by the bad rate of all rows; about 1 for a random ranking.
        capture_rate: Share of all bads who are among the `capacity` riskiest customers of their snapshot, from 0 to 1; None
            if the spec has no capacity.
        profit: Expected maximum profit (EMPC); None if the spec has no [campaign.profit].
    """

    auc: Interval | None
    pr_auc: float
    lift: float
    capture_rate: float | None
    profit: ExpectedProfit | None


@dataclass(frozen=True, slots=True)
class SnapshotMetrics:
    """The measures of one snapshot.

    The AUC of a development snapshot is too high, because the model was fitted on the outcomes of this snapshot.

    Attributes:
        period: Date of the snapshot.
        part: FIT, CALIBRATION or HOLD_OUT.
        customers: Number of rows.
        auc: AUC with its bootstrap interval over customers; None if it cannot be measured.
        mean_pd: Mean predicted probability.
        bad_rate: Bad rate with its 95 % Wilson interval.
    """

    period: str
    part: str
    customers: int
    auc: Interval | None
    mean_pd: float
    bad_rate: Estimate


@dataclass(frozen=True, slots=True)
class CampaignFindings:
    """The results of all models.

    Attributes:
        model: The measures of the candidate model.
        rivals: The measures of the rivals, by name.
        snapshots: The measures of the candidate model on each snapshot, in order of time.
    """

    model: CampaignMetrics
    rivals: Mapping[str, CampaignMetrics]
    snapshots: tuple[SnapshotMetrics, ...]


def measure_campaign(
    campaign: CampaignSpec, sample: ScoredSample, rivals: Mapping[str, NDArray[np.float64]], remarks: list[str]
) -> CampaignFindings:
    """Measure the candidate model and the rivals.

    Args:
        campaign: The spec's campaign section; capacity and economics are optional.
        sample: The rows of all parts.
        rivals: The probabilities of each rival for the rows of the hold-out, shape (n_hold_out,), by name.
        remarks: List to which a remark is appended for each measure that could not be computed.
    """
    hold_out = sample.subset((sample.rows["sample"] == "HOLD_OUT").to_numpy())
    if campaign.profit is None:
        remarks.append("EMPC: not measured: the spec has no [campaign.profit]")
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
    """Measure one model from its probabilities for the hold-out."""
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
    """Return the share of all bads who are among the `capacity` riskiest customers of their snapshot."""
    labels, periods = hold_out.labels, hold_out.rows["period"].to_numpy()
    captured = [
        _captured_bads(labels[periods == period], pds[periods == period], capacity) for period in np.unique(periods)
    ]
    return sum(captured) / float(labels.sum())


def _captured_bads(labels: NDArray[np.int64], pds: NDArray[np.float64], capacity: int) -> float:
    """Return the number of bads among the riskiest customers of a snapshot; ties can make it fractional."""
    # `capture_at_capacity` requires both outcomes. With only one outcome, the ranking has no effect on the result.
    if labels.all() or not labels.any():
        return float(min(capacity, int(labels.sum())))
    return capture_at_capacity(labels, pds, capacity).bads


def _economics(spec: ProfitSpec) -> CampaignEconomics:
    """Return the campaign economics of the spec."""
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
        # Remarks on single snapshots are discarded, because the table shows an empty cell for a missing AUC.
        auc=measure_or_remark([], period, lambda: auc_interval(labels, pds, customers, RESAMPLING)),
        mean_pd=float(pds.mean()),
        bad_rate=proportion(int(labels.sum()), len(labels)),
    )
