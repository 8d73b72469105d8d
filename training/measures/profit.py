"""The expected maximum profit (EMPC) of a churn campaign.

A campaign contacts the customers with the highest pds and offers each an incentive. A churner accepts with probability
gamma and stays. A loyal customer always accepts the incentive. gamma is unknown, so the maximum profit is averaged over a
beta distribution of gamma.

Source: Verbraken, Verbeke and Baesens 2013, A novel profit maximizing metric for measuring classification
performance of customer churn prediction models, IEEE TKDE 25(5), doi 10.1109/TKDE.2012.50. The amounts in that paper
(alpha 6, beta 14, CLV 200, offer 10, contact 1) describe a telephone company, so they are not defaults here.
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
    """Costs and acceptance of a campaign. All amounts have the same currency.

    Attributes:
        clv: Customer lifetime value: the value of a customer who stays, above 0.
        offer_cost: d, the cost of an accepted incentive; at least 0 and below clv.
        contact_cost: f, the cost of contacting one customer; 0 and up.
        alpha: First parameter of the beta distribution of gamma, above 0.
        beta: Second parameter of the beta distribution of gamma, above 0. The mean of gamma is alpha / (alpha + beta).
    """

    clv: float
    offer_cost: float
    contact_cost: float
    alpha: float
    beta: float

    def __post_init__(self) -> None:
        """Check the amounts.

        Raises:
            DataInvalid: A number is out of range, or offer_cost is not below clv.
        """
        numbers = (self.clv, self.offer_cost, self.contact_cost, self.alpha, self.beta)
        if not np.isfinite(numbers).all() or min(self.clv, self.alpha, self.beta) <= 0.0:
            raise DataInvalid(f"clv, alpha and beta must be above 0, and all values finite, got {self}; correct them")
        if not 0.0 <= self.offer_cost < self.clv or self.contact_cost < 0.0:
            raise DataInvalid(f"costs must not be negative, and offer_cost must be below clv, got {self}; correct them")


@dataclass(frozen=True, slots=True)
class ExpectedProfit:
    """The expected maximum profit and the size of the campaign that earns it.

    Attributes:
        empc: Expected maximum profit per customer of the whole customer base, contacted or not, in the currency of the
            campaign; 0 and up.
        contacted: Expected share of the customer base that the most profitable campaign contacts, 0 to 1.
    """

    empc: float
    contacted: float


def empc(labels: Labels, pds: Pds, campaign: CampaignEconomics) -> ExpectedProfit:
    """Return the expected maximum profit of a churn model, in closed form over the convex hull of its ROC curve.

    Let a campaign contact the share y of the churners and the share x of the other customers. For a fixed gamma, its
    profit per customer of the base is

        clv * [(gamma * (1 - d/clv) - f/clv) * churners * y - (d + f)/clv * others * x]

    where `churners` and `others` are the shares of both kinds in the base. The most profitable point (x, y) is a corner
    of the hull. For each corner there is a bound: when gamma rises above the bound, the next corner is more profitable.
    Between two bounds, the integral over the beta distribution is a difference of incomplete beta functions.

    Args:
        labels: Shape (n,); 1 for a customer who left.
        pds: Shape (n,); higher is riskier. Only the order matters.
        campaign: Costs and acceptance of the campaign.

    Raises:
        DataInvalid: Shapes do not match, or only one outcome occurs.
    """
    roc = roc_points(labels, pds)
    corners = _hull_corners(roc.x, roc.y)
    churners = float(np.mean(labels))
    left, others = churners * roc.y[corners], (1.0 - churners) * roc.x[corners]
    gain = left * (campaign.clv - campaign.offer_cost)  # the gain per unit of gamma
    cost = left * campaign.contact_cost + others * (campaign.offer_cost + campaign.contact_cost)
    # A bound is the gamma at which the extra gain of the next corner equals the extra cost of that corner.
    steps = np.diff(gain)
    bounds = np.divide(np.diff(cost), steps, out=np.full(len(steps), np.inf), where=steps > 0.0)
    bounds = np.concatenate([[0.0], np.minimum(bounds, 1.0), [1.0]])
    chance = np.diff(betainc(campaign.alpha, campaign.beta, bounds))
    mean = campaign.alpha / (campaign.alpha + campaign.beta)
    gamma = mean * np.diff(betainc(campaign.alpha + 1.0, campaign.beta, bounds))  # E[gamma; between the bounds]
    return ExpectedProfit(float(gain @ gamma - cost @ chance), float((left + others) @ chance))


def _hull_corners(x: NDArray[np.float64], y: NDArray[np.float64]) -> list[int]:
    """Return the indices of the corners of the upper convex hull, from (0, 0) to (1, 1) (Andrew 1979)."""
    corners: list[int] = []
    for index in range(len(x)):
        while len(corners) > 1:
            before, last = corners[-2], corners[-1]
            turn = (x[last] - x[before]) * (y[index] - y[before]) - (y[last] - y[before]) * (x[index] - x[before])
            if turn < 0.0:
                break
            corners.pop()
        corners.append(index)
    return corners
