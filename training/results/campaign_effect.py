"""Measures the effect of a campaign: the churn rate of the hold-out group against that of the other eligible customers.

A hash assigns customers to the hold-out group, so both groups differ only in what the campaign did. The comparison is by
intention to treat: it contains every customer whom the campaign could contact, whether or not somebody did.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.measures.proportions import Estimate, clustered_proportion, detectable_difference, proportion_difference
from training.sources.samples import customer_of

ALL = "all"
CUSTOMERS_MIN = 30  # with fewer customers in a group, an interval of 95 % may miss the truth more often


@dataclass(frozen=True, slots=True)
class CampaignGroup:
    """The eligible customers of the hold-out group, or the other ones.

    Attributes:
        predictions: Number of predictions; a customer in several runs has several.
        customers: Number of customers.
        mean_pd: Mean predicted probability.
        churned: Number of predictions whose customer churned.
        rate: Churn rate with its 95 % interval.
        contacted: Number of predictions whose customer was contacted; None if it is unknown who was contacted.
    """

    predictions: int
    customers: int
    mean_pd: float
    churned: int
    rate: Estimate
    contacted: int | None

    @property
    def contacted_share(self) -> float:
        """Return the share of the predictions whose customer was contacted; 0 if this is unknown."""
        return (self.contacted or 0) / self.predictions


@dataclass(frozen=True, slots=True)
class CampaignEffect:
    """The effect of a campaign on some of its customers.

    Attributes:
        name: The customers: "all", a band, or a market.
        hold_out: The hold-out group; None if it is empty.
        others: The other eligible customers; None if there are none.
        effect: Churn rate of the hold-out group minus that of the others, with Newcombe's 95 % interval; positive if the
            campaign retained customers. None if a group is empty.
        detectable: The effect that groups of this size show in 80 of 100 campaigns; None if a group is empty.
        per_contact: The effect divided by the difference of the contacted shares (Bloom 1984), which is the effect on a
            contacted customer if nobody else was affected; None if it is unknown who was contacted, or if the others were
            not contacted more often.
    """

    name: str
    hold_out: CampaignGroup | None
    others: CampaignGroup | None
    effect: Estimate | None
    detectable: float | None
    per_contact: Estimate | None

    @property
    def has_few_customers(self) -> bool:
        """Return whether a group has so few customers that there is no verdict, for any interval."""
        return any(group is None or group.customers < CUSTOMERS_MIN for group in (self.hold_out, self.others))

    @property
    def is_too_small(self) -> bool:
        """Return whether groups of this size would not even show a campaign that retains everybody."""
        if self.has_few_customers or self.detectable is None or self.hold_out is None:
            return True
        return self.detectable > self.hold_out.mean_pd


def measure_effects(
    rows: pd.DataFrame, bands: Sequence[str], markets: Sequence[str] = ()
) -> tuple[CampaignEffect, ...]:
    """Measure the effect on all eligible customers, on those of each band, and on those of each market.

    Args:
        rows: Rows of one or more runs of a campaign, with the columns of `ObservedRun.rows` and, if it is known,
            is_contacted.
        bands: The bands in ascending order of risk.
        markets: The markets to measure separately.
    """
    eligible = rows[rows["is_eligible"]]
    parts = [(ALL, eligible)]
    parts += [(band, eligible[eligible["band"] == band]) for band in bands]
    parts += [(market, eligible[eligible["market"] == market]) for market in markets]
    return tuple(_measure_effect(name, part) for name, part in parts)


def _measure_effect(name: str, eligible: pd.DataFrame) -> CampaignEffect:
    """Measure the effect on some eligible customers."""
    is_held_out = eligible["hold_out"].to_numpy(dtype=np.bool_)
    hold_out, others = _measure_group(eligible[is_held_out]), _measure_group(eligible[~is_held_out])
    if hold_out is None or others is None:
        return CampaignEffect(name, hold_out, others, None, None, None)
    effect = proportion_difference(hold_out.rate, others.rate)
    share = others.contacted_share - hold_out.contacted_share
    return CampaignEffect(
        name=name,
        hold_out=hold_out,
        others=others,
        effect=effect,
        # A customer in several runs counts once, which is cautious: the detectable effect is rather too large.
        detectable=detectable_difference(float(eligible["pd"].mean()), hold_out.customers, others.customers),
        per_contact=Estimate(effect.value / share, effect.low / share, effect.high / share) if share > 0.0 else None,
    )


def _measure_group(rows: pd.DataFrame) -> CampaignGroup | None:
    """Measure one group; return None if it is empty."""
    if rows.empty:
        return None
    churned: NDArray[np.bool_] = rows["churned"].to_numpy(dtype=np.bool_)
    customers = customer_of(rows)
    return CampaignGroup(
        predictions=len(rows),
        customers=len(np.unique(customers)),
        mean_pd=float(rows["pd"].mean()),
        churned=int(churned.sum()),
        rate=clustered_proportion(churned, customers),
        contacted=int(rows["is_contacted"].sum()) if "is_contacted" in rows else None,
    )
