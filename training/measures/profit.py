"""The expected maximum profit (EMPC) of a churn campaign.

A campaign contacts the customers with the highest pds and offers each an incentive. A churner accepts with probability
gamma and stays; a loyal customer accepts the incentive in any case. gamma is unknown, so the profit of the optimal
share is averaged over a beta distribution of it.

Source: Verbraken, Verbeke and Baesens 2013, A novel profit maximizing metric for measuring classification
performance of customer churn prediction models, IEEE TKDE 25(5), doi 10.1109/TKDE.2012.50. Its examples (alpha 6,
beta 14, CLV 200, offer 10, contact 1) are of a telephone company; there is no default here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc

from training.errors import DataInvalid
from training.measures.discrimination import roc_points
from training.measures.inputs import Labels, Pds


@dataclass(frozen=True, slots=True)
class CampaignEconomics:
    """Costs and acceptance of a campaign. All amounts have one currency.

    Attributes:
        clv: Value of a customer who stays, above 0.
        offer_cost: d, cost of an accepted incentive; 0 to below clv.
        contact_cost: f, of contacting one customer; 0 and up.
        alpha: First parameter of the beta distribution of acceptance, above 0.
        beta: Second parameter, above 0; the mean acceptance is alpha / (alpha + beta).
    """

    clv: float
    offer_cost: float
    contact_cost: float
    alpha: float
    beta: float

    def __post_init__(self) -> None:
        """Check the amounts.

        Raises:
            DataInvalid: A number is out of range, or the offer costs as much as the customer's value.
        """
        numbers = (self.clv, self.offer_cost, self.contact_cost, self.alpha, self.beta)
        if not np.isfinite(numbers).all() or min(self.clv, self.alpha, self.beta) <= 0.0:
            raise DataInvalid(f"clv, alpha and beta must be above 0, and all values finite, got {self}")
        if not 0.0 <= self.offer_cost < self.clv or self.contact_cost < 0.0:
            raise DataInvalid(f"costs must not be negative, and offer_cost must be below clv, got {self}")


@dataclass(frozen=True, slots=True)
class ExpectedProfit:
    """The expected maximum profit and the size of the campaign that earns it.

    Attributes:
        empc: Per customer of the whole base, contacted or not, in the campaign's currency; 0 and up.
        contacted: Expected share of customers in the best campaign, 0 to 1.
    """

    empc: float
    contacted: float


def empc(labels: Labels, pds: Pds, campaign: CampaignEconomics) -> ExpectedProfit:
    """Return the expected maximum profit of a churn model, in closed form over the convex hull of its ROC curve.

    For one gamma, the profit of contacting the share of churners y and of others x is, per customer of the base,
    clv * [(gamma * (1 - d/clv) - f/clv) * churners * y - (d + f)/clv * others * x]. Its best point is a corner of
    the hull, and moves to the next corner as gamma passes a bound; between two bounds the integral over the beta
    distribution is a difference of incomplete beta functions.

    Args:
        labels: Shape (n,); 1 where the customer left.
        pds: Shape (n,); higher is riskier. Only the order matters.
        campaign: Money and acceptance.

    Raises:
        DataInvalid: Shapes do not match, or only one outcome.
    """
    roc = roc_points(labels, pds)
    corners = _hull_corners(roc.x, roc.y)
    churners = float(np.mean(labels))
    left, others = churners * roc.y[corners], (1.0 - churners) * roc.x[corners]
    gain = left * (campaign.clv - campaign.offer_cost)  # times gamma
    cost = left * campaign.contact_cost + others * (campaign.offer_cost + campaign.contact_cost)
    # gamma at which the next corner becomes better: where its extra gain covers its extra cost.
    steps = np.diff(gain)
    bounds = np.divide(np.diff(cost), steps, out=np.full(len(steps), np.inf), where=steps > 0.0)
    bounds = np.concatenate([[0.0], np.minimum(bounds, 1.0), [1.0]])
    chance = np.diff(betainc(campaign.alpha, campaign.beta, bounds))
    mean = campaign.alpha / (campaign.alpha + campaign.beta)
    gamma = mean * np.diff(betainc(campaign.alpha + 1.0, campaign.beta, bounds))  # E[gamma; between the bounds]
    return ExpectedProfit(float(gain @ gamma - cost @ chance), float((left + others) @ chance))


def _hull_corners(x: NDArray[np.float64], y: NDArray[np.float64]) -> list[int]:
    """Return the positions of the corners of the upper convex hull, from (0, 0) to (1, 1) (Andrew 1979)."""
    corners: list[int] = []
    for place in range(len(x)):
        while len(corners) > 1:
            before, last = corners[-2], corners[-1]
            turn = (x[last] - x[before]) * (y[place] - y[before]) - (y[last] - y[before]) * (x[place] - x[before])
            if turn < 0.0:
                break
            corners.pop()
        corners.append(place)
    return corners
