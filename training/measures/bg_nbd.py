"""BG/NBD: how likely it is that a customer without a contract still buys, from three numbers of his history.

While alive he buys at random at his own rate; after each purchase he may leave for good. Rates are gamma
distributed over customers (r, alpha), chances to leave beta distributed (a, b).

Known hole of the model: a customer without a repeat purchase is alive with certainty, since he can leave only after
one. And purchases at regular distances (weekly orders) look more random to it than they are.

Source: Fader, Hardie and Lee 2005, "Counting Your Customers" the easy way, Marketing Science 24(2), 275-284.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import betaln, gammaln

from training.errors import DataInvalid

_FloatArray = NDArray[np.float64]

# The formula of the expectation has removable holes at a = 1 and at a + b = 1. So close to one, the mean of two
# points on both sides, twice as far off, stands in; that is right to about 1e-7.
# Parameters are sought between exp(-PARAMETER_LOG_MAX) and exp(PARAMETER_LOG_MAX), times in units of the mean age.
_PARAMETER_LOG_MAX = 12.0


@dataclass(frozen=True, slots=True, eq=False)
class PurchaseHistories:
    """Customers' purchases in short. All times in one unit, which is the unit of every result.

    Attributes:
        frequency: x, shape (n,): repeat purchases, so the first does not count; whole, 0 and up.
        recency: t_x, shape (n,): from the first to the last purchase; 0 exactly where there is no repeat.
        age: T, shape (n,): from the first purchase to today; above 0, at least the recency.
    """

    frequency: _FloatArray
    recency: _FloatArray
    age: _FloatArray

    def __post_init__(self) -> None:
        """Refuse histories that cannot have happened.

        Raises:
            DataInvalid: Says which of the rules above is broken.
        """
        x, recency, age = self.frequency, self.recency, self.age
        if np.ndim(x) != 1 or not np.shape(x) == np.shape(recency) == np.shape(age) or not len(x):
            raise DataInvalid("frequency, recency and age must have the same shape (n,), with at least one customer")
        if not (np.isfinite(x).all() and np.isfinite(recency).all() and np.isfinite(age).all()):
            raise DataInvalid("a frequency, recency or age is missing or infinite")
        if (x < 0.0).any() or (x != np.floor(x)).any():
            raise DataInvalid("a frequency is negative or not whole")
        if (age <= 0.0).any() or (recency < 0.0).any() or (recency > age).any():
            raise DataInvalid("an age is not above 0, or a recency lies outside 0 to the age")
        if ((x == 0.0) != (recency == 0.0)).any():
            raise DataInvalid("recency must be 0 exactly where the frequency is 0")


@dataclass(frozen=True, slots=True)
class BgNbd:
    """The four parameters, all above 0.

    Attributes:
        r: Shape of the gamma distribution of purchase rates.
        alpha: Its rate, in units of time.
        a: First parameter of the beta distribution of the chance to leave after a purchase.
        b: Second parameter.
    """

    r: float
    alpha: float
    a: float
    b: float

    def __post_init__(self) -> None:
        """Refuse parameters without a distribution.

        Raises:
            DataInvalid: One is not above 0.
        """
        if not min(self.r, self.alpha, self.a, self.b) > 0.0:
            raise DataInvalid(f"the parameters of BG/NBD must be above 0: {self}")

    def log_likelihoods(self, histories: PurchaseHistories) -> _FloatArray:
        """Give the log-likelihood of every history: shape (n,). Equation 6 of the source."""
        x, recency, age = histories.frequency, histories.recency, histories.age
        shared = gammaln(self.r + x) - gammaln(self.r) + self.r * np.log(self.alpha) - betaln(self.a, self.b)
        alive = betaln(self.a, self.b + x) - (self.r + x) * np.log(self.alpha + age)
        repeats = np.maximum(x, 1.0)  # keeps the unused side finite where there is no repeat
        left = betaln(self.a + 1.0, self.b + repeats - 1.0) - (self.r + x) * np.log(self.alpha + recency)
        found: _FloatArray = shared + np.where(x > 0.0, np.logaddexp(alive, left), alive)
        return found

    def alive_probabilities(self, histories: PurchaseHistories) -> _FloatArray:
        """Give P(alive today) of every customer: shape (n,), in (0, 1]; 1 where there is no repeat purchase."""
        x, recency, age = histories.frequency, histories.recency, histories.age
        repeats = np.maximum(x, 1.0)
        log_odds_left = (
            np.log(self.a)
            - np.log(self.b + repeats - 1.0)
            + (self.r + x) * (np.log(self.alpha + age) - np.log(self.alpha + recency))
        )
        return np.where(x > 0.0, np.exp(-np.logaddexp(0.0, log_odds_left)), 1.0)

    def no_purchase_probabilities(self, histories: PurchaseHistories, horizon: float) -> _FloatArray:
        """Give the probability of no purchase within the horizon: shape (n,), in [0, 1].

        Either he has left, or he is alive and his next purchase is later. Given that he is alive, his rate is gamma
        distributed with r + x and alpha + T, so the latter is ((alpha + T) / (alpha + T + horizon)) ** (r + x).

        Args:
            histories: Shape (n,) each.
            horizon: From today, 0 and up, in the unit of the histories.

        Raises:
            DataInvalid: A negative horizon.
        """
        _check_horizon(horizon)
        alive, start = self.alive_probabilities(histories), self.alpha + histories.age
        later = np.exp(-(self.r + histories.frequency) * np.log1p(horizon / start))
        found: _FloatArray = 1.0 - alive * (1.0 - later)
        return found


def fit_bg_nbd(histories: PurchaseHistories) -> BgNbd:
    """Fit the four parameters by maximum likelihood.

    Args:
        histories: Some of them with repeat purchases.

    Raises:
        DataInvalid: Nobody bought twice, or the likelihood has no maximum within reach: too few customers, or
            customers who all behave alike.
    """
    if not (histories.frequency > 0.0).any():
        raise DataInvalid("nobody bought a second time; there is nothing to fit")
    unit = float(np.mean(histories.age))  # so that days and weeks start from the same place
    scaled = PurchaseHistories(histories.frequency, histories.recency / unit, histories.age / unit)

    def loss(logs: _FloatArray) -> float:
        return -float(np.mean(BgNbd(*np.exp(logs).tolist()).log_likelihoods(scaled)))

    bounds = [(-_PARAMETER_LOG_MAX, _PARAMETER_LOG_MAX)] * 4
    found = minimize(
        loss, np.zeros(4), method="L-BFGS-B", jac="3-point", bounds=bounds, options={"ftol": 1e-14, "gtol": 1e-7}
    )
    logs: _FloatArray = found.x
    if not found.success or np.max(np.abs(logs)) > _PARAMETER_LOG_MAX - 1.0:
        raise DataInvalid(f"BG/NBD has no maximum here (parameters {np.exp(logs)}): {found.message}")
    r, alpha, a, b = np.exp(logs).tolist()
    return BgNbd(r, alpha * unit, a, b)


def _check_horizon(horizon: float) -> None:
    """Refuse a horizon that lies behind."""
    if not 0.0 <= horizon < np.inf:
        raise DataInvalid(f"a horizon of {horizon}; it must be finite and not negative")
