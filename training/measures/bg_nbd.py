"""BG/NBD: the probability that a customer without a contract is still active, from three numbers of the purchase history.

While alive, a customer buys at random at an individual rate. After each repeat purchase the customer may leave for good.
Purchase rates are gamma distributed over customers (r, alpha); probabilities of leaving are beta distributed (a, b).

Known limits of the model: A customer without a repeat purchase counts as alive with certainty, because in the model
customers only leave after a repeat purchase. The model assumes random purchase times, so it does not fit customers who
buy at regular intervals, such as every week.

Source: Fader, Hardie and Lee 2005, "Counting Your Customers" the easy way, Marketing Science 24(2), 275-284.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import betaln, gammaln

from training.errors import DataInvalid

_FloatArray = NDArray[np.float64]

# Parameters are searched between exp(-_PARAMETER_LOG_MAX) and exp(_PARAMETER_LOG_MAX), with times in units of the mean age.
_PARAMETER_LOG_MAX = 12.0


@dataclass(frozen=True, slots=True, eq=False)
class PurchaseHistories:
    """The purchase histories of n customers. All times have the same unit, such as days.

    Attributes:
        frequency: x, shape (n,): number of purchases after the first purchase; integers, 0 and up.
        recency: t_x, shape (n,): time from the first to the last purchase; 0 if and only if the customer has no repeat
            purchase.
        age: T, shape (n,): time from the first purchase to today; above 0, at least the recency.
    """

    frequency: _FloatArray
    recency: _FloatArray
    age: _FloatArray

    def __post_init__(self) -> None:
        """Check the histories.

        Raises:
            DataInvalid: A history is outside the ranges above.
        """
        x, recency, age = self.frequency, self.recency, self.age
        if np.ndim(x) != 1 or not np.shape(x) == np.shape(recency) == np.shape(age) or not len(x):
            raise DataInvalid(
                "frequency, recency and age must have the same shape (n,), with at least one customer; provide one value of each per customer"
            )
        if not (np.isfinite(x).all() and np.isfinite(recency).all() and np.isfinite(age).all()):
            raise DataInvalid("a frequency, recency or age is missing or infinite; remove or correct these customers")
        if (x < 0.0).any() or (x != np.floor(x)).any():
            raise DataInvalid("frequencies must be integers, 0 and up; correct the other values")
        if (age <= 0.0).any() or (recency < 0.0).any() or (recency > age).any():
            raise DataInvalid("ages must be above 0, and recencies from 0 to the age; correct the other values")
        if ((x == 0.0) != (recency == 0.0)).any():
            raise DataInvalid("recency must be 0 exactly where the frequency is 0; correct the other values")


@dataclass(frozen=True, slots=True)
class BgNbd:
    """A BG/NBD model: its four parameters, all above 0.

    Attributes:
        r: Shape of the gamma distribution of purchase rates.
        alpha: Rate parameter of that gamma distribution, in the time unit of the histories.
        a: First parameter of the beta distribution of the probability of leaving after a repeat purchase.
        b: Second parameter of that beta distribution.
    """

    r: float
    alpha: float
    a: float
    b: float

    def __post_init__(self) -> None:
        """Check the parameters.

        Raises:
            DataInvalid: A parameter is not above 0.
        """
        if not min(self.r, self.alpha, self.a, self.b) > 0.0:
            raise DataInvalid(f"the parameters of BG/NBD must be above 0, got {self}; correct them, or fit them again")

    def log_likelihoods(self, histories: PurchaseHistories) -> _FloatArray:
        """Return the log-likelihood of every history: shape (n,). This is equation 6 of Fader, Hardie and Lee."""
        x, recency, age = histories.frequency, histories.recency, histories.age
        shared = gammaln(self.r + x) - gammaln(self.r) + self.r * np.log(self.alpha) - betaln(self.a, self.b)
        alive = betaln(self.a, self.b + x) - (self.r + x) * np.log(self.alpha + age)
        repeats = np.maximum(x, 1.0)  # avoids infinities in the branch that np.where discards
        left = betaln(self.a + 1.0, self.b + repeats - 1.0) - (self.r + x) * np.log(self.alpha + recency)
        found: _FloatArray = shared + np.where(x > 0.0, np.logaddexp(alive, left), alive)
        return found

    def alive_probabilities(self, histories: PurchaseHistories) -> _FloatArray:
        """Return P(alive today) of every customer: shape (n,), in (0, 1]; 1 for a customer without a repeat purchase."""
        x, recency, age = histories.frequency, histories.recency, histories.age
        repeats = np.maximum(x, 1.0)
        log_odds_left = (
            np.log(self.a)
            - np.log(self.b + repeats - 1.0)
            + (self.r + x) * (np.log(self.alpha + age) - np.log(self.alpha + recency))
        )
        return np.where(x > 0.0, np.exp(-np.logaddexp(0.0, log_odds_left)), 1.0)

    def no_purchase_probabilities(self, histories: PurchaseHistories, horizon: float) -> _FloatArray:
        """Return the probability of no purchase within the horizon: shape (n,), in [0, 1].

        Either the customer has left, or the customer is alive and buys after the horizon. If the customer is alive, the
        purchase rate is gamma distributed with r + x and alpha + T. The probability that a living customer buys after
        the horizon is therefore ((alpha + T) / (alpha + T + horizon)) ** (r + x).

        Args:
            histories: The purchase histories of n customers.
            horizon: Length of the period from today, 0 and up, in the time unit of the histories.

        Raises:
            DataInvalid: The horizon is negative or infinite.
        """
        _check_horizon(horizon)
        alive, start = self.alive_probabilities(histories), self.alpha + histories.age
        later = np.exp(-(self.r + histories.frequency) * np.log1p(horizon / start))
        found: _FloatArray = 1.0 - alive * (1.0 - later)
        return found


def fit_bg_nbd(histories: PurchaseHistories) -> BgNbd:
    """Fit the four parameters by maximum likelihood.

    Args:
        histories: The purchase histories; at least one has a repeat purchase.

    Raises:
        DataInvalid: No customer bought twice, or no maximum of the likelihood was found because there are too few
            customers or all of them behave alike.
    """
    if not (histories.frequency > 0.0).any():
        raise DataInvalid("BG/NBD requires at least one repeat purchase, got none; add customers with a longer history")
    unit = float(np.mean(histories.age))  # makes the search independent of the time unit
    scaled = PurchaseHistories(histories.frequency, histories.recency / unit, histories.age / unit)

    # The parameters must be positive, so their logarithms are optimised.
    def loss(logs: _FloatArray) -> float:
        return -float(np.mean(BgNbd(*np.exp(logs).tolist()).log_likelihoods(scaled)))

    bounds = [(-_PARAMETER_LOG_MAX, _PARAMETER_LOG_MAX)] * 4
    found = minimize(
        loss, np.zeros(4), method="L-BFGS-B", jac="3-point", bounds=bounds, options={"ftol": 1e-14, "gtol": 1e-7}
    )
    logs: _FloatArray = found.x
    if not found.success or np.max(np.abs(logs)) > _PARAMETER_LOG_MAX - 1.0:
        raise DataInvalid(
            f"the likelihood of BG/NBD has no maximum (parameters {np.exp(logs)}): {found.message}; add customers or a longer history"
        )
    r, alpha, a, b = np.exp(logs).tolist()
    return BgNbd(r, alpha * unit, a, b)


def _check_horizon(horizon: float) -> None:
    """Raise DataInvalid if a horizon is negative or infinite."""
    if not 0.0 <= horizon < np.inf:
        raise DataInvalid(f"the horizon must be finite and not negative, got {horizon}; correct it")
