"""The results of BG/NBD equal the results of simulations and of numerical integrals.

"The paper" is Fader, Hardie and Lee 2005 (see training/measures/bg_nbd.py). The numerical integrals are independent of
its formulas: they use only the assumption that a customer buys at random with a certain rate, and leaves with a certain
probability after each repeat purchase. Gaussian quadrature integrates over all rates and probabilities.
"""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import roots_genlaguerre, roots_jacobi
from scipy.stats import chi2

from training.errors import DataInvalid
from training.measures.bg_nbd import BgNbd, PurchaseHistories, fit_bg_nbd

CDNOW = BgNbd(r=0.243, alpha=4.414, a=0.793, b=2.426)  # estimates of the paper for its CDNOW data
MODELS = [
    CDNOW,
    BgNbd(2.0, 10.0, 1.0, 3.0),
    BgNbd(1.3, 20.0, 2.5, 1.5),
    BgNbd(0.8, 5.0, 1.00003, 2.0),
    BgNbd(0.7, 6.0, 0.4, 0.60003),
    BgNbd(0.7, 6.0, 0.3, 0.4),
]
CUSTOMERS = [(0, 0.0, 38.86), (1, 5.0, 30.0), (2, 30.43, 38.86), (4, 10.0, 39.0), (9, 38.0, 39.0)]
Story = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]


def one(customer: tuple[int, float, float]) -> PurchaseHistories:
    """Return the history of one customer."""
    return PurchaseHistories(*(np.array([float(number)]) for number in customer))


def integrate(model: BgNbd, customer: tuple[int, float, float], alive: Story, left: Story) -> float:
    """Integrate an outcome over all purchase rates and all probabilities of leaving, weighted by their density and likelihood.

    Args:
        model: The distributions of the purchase rate and of the probability of leaving.
        customer: Frequency, recency and age of the customer.
        alive: Outcome as a function of rate and probability of leaving, for a customer who is alive today.
        left: Outcome as a function of rate and probability of leaving, for a customer who left after the last purchase.
    """
    x, recency, age = customer
    rates, rate_weights = roots_genlaguerre(80, model.r + x - 1)
    nodes, chance_weights = roots_jacobi(80, model.b - 1, model.a - 1)
    chances = (nodes[None, :] + 1) / 2

    def worth(since: float, story: Story, likelihood: NDArray[np.float64]) -> float:
        # The gamma density times rate**x * exp(-rate * since) is, after scaling, the weight function of Gauss-Laguerre
        # quadrature.
        scale = model.alpha + since
        integrand = story(rates[:, None] / scale, chances) * likelihood * np.ones_like(rates[:, None])
        return float(rate_weights @ integrand @ chance_weights / scale ** (model.r + x))

    stays = (1 - chances) ** x
    leaves = chances * (1 - chances) ** (x - 1) if x else np.zeros_like(chances)
    return worth(age, alive, stays) + worth(recency, left, leaves)


def one_everywhere(rates: NDArray[np.float64], chances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 for every rate and probability: the outcome that always happens."""
    return np.ones(np.broadcast_shapes(rates.shape, chances.shape))


def zero_everywhere(rates: NDArray[np.float64], chances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 0 for every rate and probability: the outcome that never happens."""
    return np.zeros(np.broadcast_shapes(rates.shape, chances.shape))


@pytest.mark.parametrize("customer", CUSTOMERS)
@pytest.mark.parametrize("model", MODELS)
def test_every_figure_of_a_customer_is_the_integral_over_all_rates_and_probabilities(
    model: BgNbd, customer: tuple[int, float, float]
) -> None:
    horizon = 13.0
    whole = integrate(model, customer, one_everywhere, one_everywhere)
    alive = integrate(model, customer, one_everywhere, zero_everywhere) / whole
    silent = integrate(model, customer, lambda rate, _: np.exp(-rate * horizon), one_everywhere) / whole

    history = one(customer)

    assert model.alive_probabilities(history)[0] == pytest.approx(alive, rel=1e-6)
    assert model.no_purchase_probabilities(history, horizon)[0] == pytest.approx(silent, rel=1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_the_likelihoods_of_all_possible_histories_of_a_short_time_add_up_to_1(model: BgNbd) -> None:
    # The age is 1. More than 60 repeat purchases are so unlikely that they are left out. The likelihood does not depend
    # on the times of the x - 1 repeat purchases before the last one. If the last purchase is at time t, the integral over
    # these times is t ** (x - 1) / (x - 1)!.
    nodes, weights = np.polynomial.legendre.leggauss(40)
    times, weights = (nodes + 1) / 2, weights / 2
    total = float(np.exp(model.log_likelihoods(one((0, 0.0, 1.0))))[0])
    room = np.ones_like(times)
    for x in range(1, 61):
        likelihoods = np.exp(model.log_likelihoods(PurchaseHistories(np.full(40, float(x)), times, np.ones(40))))
        room = room if x == 1 else room * times / (x - 1)
        # The likelihood covers both cases: the customer is alive, or left after the last purchase at t.
        total += float(weights @ (likelihoods * room))

    assert total == pytest.approx(1.0, abs=1e-6)


def simulate(model: BgNbd, count: int, seed: int, after: float = 0.0) -> tuple[PurchaseHistories, NDArray[np.int64]]:
    """Simulate customers; return their histories, and how often each customer buys in the time `after` following the history."""
    generator = np.random.default_rng(seed)
    age = generator.uniform(27.0, 39.0, count)
    rates = np.maximum(generator.gamma(model.r, 1 / model.alpha, count), 1e-12)
    chances = generator.beta(model.a, model.b, count)
    frequency, recency, now = np.zeros(count), np.zeros(count), np.zeros(count)
    later, active = np.zeros(count, dtype=np.int64), np.ones(count, dtype=np.bool_)
    while active.any():
        now = now + generator.exponential(size=count) / rates
        before, since = active & (now <= age), active & (now > age) & (now <= age + after)
        frequency[before] += 1
        recency[before] = now[before]
        later[since] += 1
        active = (before | since) & (generator.random(count) >= chances)
    return PurchaseHistories(frequency, recency, age), later


def test_the_fit_recovers_the_parameters_of_simulated_customers() -> None:
    histories, _ = simulate(CDNOW, 20_000, seed=1)

    found = fit_bg_nbd(histories)

    assert found.r == pytest.approx(CDNOW.r, rel=0.06)
    assert found.alpha == pytest.approx(CDNOW.alpha, rel=0.08)
    assert found.a / (found.a + found.b) == pytest.approx(CDNOW.a / (CDNOW.a + CDNOW.b), rel=0.08)
    assert found.a == pytest.approx(CDNOW.a, rel=0.3)


@pytest.mark.parametrize("seed", range(3))
def test_the_likelihood_of_the_fit_exceeds_that_of_the_true_parameters_by_no_more_than_four_parameters_explain(
    seed: int,
) -> None:
    histories, _ = simulate(CDNOW, 2000, seed)

    found = fit_bg_nbd(histories)

    gain = 2 * (found.log_likelihoods(histories).sum() - CDNOW.log_likelihoods(histories).sum())
    assert 0 < gain < chi2.ppf(0.999, 4)


def test_predicted_inactivity_equals_simulated_inactivity() -> None:
    histories, later = simulate(CDNOW, 60_000, seed=2, after=13.0)

    predicted = CDNOW.no_purchase_probabilities(histories, 13.0)

    for part in np.array_split(np.argsort(predicted), 5):
        rate = float(np.mean(later[part] == 0))
        assert rate == pytest.approx(float(predicted[part].mean()), abs=0.012)


def test_a_customer_without_a_repeat_purchase_is_alive_with_certainty() -> None:
    assert CDNOW.alive_probabilities(one((0, 0.0, 500.0)))[0] == 1.0


def test_a_horizon_of_0_has_no_purchase_and_the_unit_of_time_does_not_matter() -> None:
    histories, _ = simulate(CDNOW, 500, seed=3)
    in_days = PurchaseHistories(histories.frequency, histories.recency * 7, histories.age * 7)

    weeks, days = fit_bg_nbd(histories), fit_bg_nbd(in_days)

    assert CDNOW.no_purchase_probabilities(histories, 0.0) == pytest.approx(1.0)
    assert days.no_purchase_probabilities(in_days, 91.0) == pytest.approx(
        weeks.no_purchase_probabilities(histories, 13.0), abs=1e-6
    )


def test_hundreds_of_purchases_do_not_overflow() -> None:
    often = PurchaseHistories(np.array([900.0, 900.0]), np.array([364.0, 10.0]), np.array([365.0, 365.0]))

    alive = CDNOW.alive_probabilities(often)

    assert alive[0] > 0.9
    assert 0.0 <= alive[1] < 1e-9
    assert np.isfinite(CDNOW.log_likelihoods(often)).all()
    assert CDNOW.no_purchase_probabilities(often, 90.0).tolist() == pytest.approx([1 - alive[0], 1.0], abs=1e-9)


@pytest.mark.parametrize(
    ("customer", "problem"),
    [
        ((1, 0.0, 10.0), "exactly"),
        ((0, 3.0, 10.0), "exactly"),
        ((1, 11.0, 10.0), "recencies"),
        ((-1, 1.0, 10.0), "integers, 0 and up"),
        ((1.5, 1.0, 10.0), "integers, 0 and up"),
        ((0, 0.0, 0.0), "age"),
        ((1, np.nan, 10.0), "missing"),
    ],
)
def test_impossible_histories_are_rejected(customer: tuple[int, float, float], problem: str) -> None:
    with pytest.raises(DataInvalid, match=problem):
        one(customer)


def test_no_repeat_purchase_a_negative_horizon_and_a_parameter_of_0_are_rejected() -> None:
    with pytest.raises(DataInvalid, match="repeat purchase"):
        fit_bg_nbd(one((0, 0.0, 10.0)))
    with pytest.raises(DataInvalid, match="no maximum"):
        fit_bg_nbd(PurchaseHistories(np.full(50, 5.0), np.full(50, 50.0), np.full(50, 52.0)))
    with pytest.raises(DataInvalid, match="horizon"):
        CDNOW.no_purchase_probabilities(one((1, 2.0, 10.0)), -1.0)
    with pytest.raises(DataInvalid, match="above 0"):
        BgNbd(0.0, 1.0, 1.0, 1.0)
