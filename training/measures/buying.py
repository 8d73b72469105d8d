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

from training.errors import DataRefused

Figures = NDArray[np.float64]

# The formula of the expectation has removable holes at a = 1 and at a + b = 1. So close to one, the mean of two
# points on both sides, twice as far off, stands in; that is right to about 1e-7.
# Parameters are sought between exp(-PARAMETER_LOG_MAX) and exp(PARAMETER_LOG_MAX), times in units of the mean age.
PARAMETER_LOG_MAX = 12.0


@dataclass(frozen=True, slots=True, eq=False)
class Histories:
    """Customers' purchases in short. All times in one unit, which is the unit of every result.

    Attributes:
        frequency: x, shape (n,): repeat purchases, so the first does not count; whole, 0 and up.
        recency: t_x, shape (n,): from the first to the last purchase; 0 exactly where there is no repeat.
        age: T, shape (n,): from the first purchase to today; above 0, at least the recency.
    """

    frequency: Figures
    recency: Figures
    age: Figures

    def __post_init__(self) -> None:
        """Refuse histories that cannot have happened.

        Raises:
            DataRefused: Says which of the rules above is broken.
        """
        x, recency, age = self.frequency, self.recency, self.age
        if np.ndim(x) != 1 or not np.shape(x) == np.shape(recency) == np.shape(age) or not len(x):
            raise DataRefused("frequency, recency and age must have the same shape (n,), with at least one customer")
        if not (np.isfinite(x).all() and np.isfinite(recency).all() and np.isfinite(age).all()):
            raise DataRefused("a frequency, recency or age is missing or infinite")
        if (x < 0.0).any() or (x != np.floor(x)).any():
            raise DataRefused("a frequency is negative or not whole")
        if (age <= 0.0).any() or (recency < 0.0).any() or (recency > age).any():
            raise DataRefused("an age is not above 0, or a recency lies outside 0 to the age")
        if ((x == 0.0) != (recency == 0.0)).any():
            raise DataRefused("recency must be 0 exactly where the frequency is 0")


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
            DataRefused: One is not above 0.
        """
        if not min(self.r, self.alpha, self.a, self.b) > 0.0:
            raise DataRefused(f"the parameters of BG/NBD must be above 0: {self}")

    def log_likelihoods(self, histories: Histories) -> Figures:
        """Give the log-likelihood of every history: shape (n,). Equation 6 of the source."""
        x, recency, age = histories.frequency, histories.recency, histories.age
        shared = gammaln(self.r + x) - gammaln(self.r) + self.r * np.log(self.alpha) - betaln(self.a, self.b)
        alive = betaln(self.a, self.b + x) - (self.r + x) * np.log(self.alpha + age)
        repeats = np.maximum(x, 1.0)  # keeps the unused side finite where there is no repeat
        left = betaln(self.a + 1.0, self.b + repeats - 1.0) - (self.r + x) * np.log(self.alpha + recency)
        found: Figures = shared + np.where(x > 0.0, np.logaddexp(alive, left), alive)
        return found

    def alive(self, histories: Histories) -> Figures:
        """Give P(alive today) of every customer: shape (n,), in (0, 1]; 1 where there is no repeat purchase."""
        x, recency, age = histories.frequency, histories.recency, histories.age
        repeats = np.maximum(x, 1.0)
        log_odds_left = (
            np.log(self.a)
            - np.log(self.b + repeats - 1.0)
            + (self.r + x) * (np.log(self.alpha + age) - np.log(self.alpha + recency))
        )
        return np.where(x > 0.0, np.exp(-np.logaddexp(0.0, log_odds_left)), 1.0)

    def no_purchase(self, histories: Histories, horizon: float) -> Figures:
        """Give the probability of no purchase within the horizon: shape (n,), in [0, 1].

        Either he has left, or he is alive and his next purchase is later. Given that he is alive, his rate is gamma
        distributed with r + x and alpha + T, so the latter is ((alpha + T) / (alpha + T + horizon)) ** (r + x).

        Args:
            histories: Shape (n,) each.
            horizon: From today, 0 and up, in the unit of the histories.

        Raises:
            DataRefused: A negative horizon.
        """
        _refuse_past(horizon)
        alive, start = self.alive(histories), self.alpha + histories.age
        later = np.exp(-(self.r + histories.frequency) * np.log1p(horizon / start))
        found: Figures = 1.0 - alive * (1.0 - later)
        return found


def fit_bgnbd(histories: Histories) -> BgNbd:
    """Fit the four parameters by maximum likelihood.

    Args:
        histories: Some of them with repeat purchases.

    Raises:
        DataRefused: Nobody bought twice, or the likelihood has no maximum within reach: too few customers, or
            customers who all behave alike.
    """
    if not (histories.frequency > 0.0).any():
        raise DataRefused("nobody bought a second time; there is nothing to fit")
    unit = float(np.mean(histories.age))  # so that days and weeks start from the same place
    scaled = Histories(histories.frequency, histories.recency / unit, histories.age / unit)

    def loss(logs: Figures) -> float:
        return -float(np.mean(BgNbd(*np.exp(logs).tolist()).log_likelihoods(scaled)))

    bounds = [(-PARAMETER_LOG_MAX, PARAMETER_LOG_MAX)] * 4
    found = minimize(
        loss, np.zeros(4), method="L-BFGS-B", jac="3-point", bounds=bounds, options={"ftol": 1e-14, "gtol": 1e-7}
    )
    logs: Figures = found.x
    if not found.success or np.max(np.abs(logs)) > PARAMETER_LOG_MAX - 1.0:
        raise DataRefused(f"BG/NBD has no maximum here (parameters {np.exp(logs)}): {found.message}")
    r, alpha, a, b = np.exp(logs).tolist()
    return BgNbd(r, alpha * unit, a, b)


def _refuse_past(horizon: float) -> None:
    """Refuse a horizon that lies behind."""
    if not 0.0 <= horizon < np.inf:
        raise DataRefused(f"a horizon of {horizon}; it must be finite and not negative")
