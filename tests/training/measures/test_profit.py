"""The EMPC equals brute force over all list lengths and acceptance rates, and values computed by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import beta

from training.errors import DataInvalid
from training.measures.profit import CampaignEconomics, empc

# The example of the R package EMP, which describes the campaign of a telephone company.
TELEPHONE = CampaignEconomics(clv=200, offer_cost=10, contact_cost=1, alpha=6, beta=14)


def brute_force_profit(
    labels: NDArray[np.int64], pds: NDArray[np.float64], campaign: CampaignEconomics
) -> tuple[float, float]:
    """Return profit and contacted share, from every list length at 4,000 equally probable acceptance rates."""
    n = len(labels)
    order = np.argsort(-pds, kind="stable")
    ends = [0, *[i + 1 for i in range(n) if i + 1 == n or pds[order[i]] != pds[order[i + 1]]]]
    churners = np.array([labels[order[:end]].sum() for end in ends])
    loyal = np.array(ends) - churners
    gammas = beta.ppf((np.arange(4000) + 0.5) / 4000, campaign.alpha, campaign.beta)[:, None]
    d, f = campaign.offer_cost, campaign.contact_cost
    # Every contact costs f. A churner who accepts stays, which is worth clv - d. A loyal customer always accepts.
    profits = (gammas * churners * (campaign.clv - d) - f * churners - (d + f) * loyal) / n
    best = profits.argmax(axis=1)
    return float(profits.max(axis=1).mean()), float(np.mean(np.array(ends)[best]) / n)


def make_sample(count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return generated customers with few distinct risks, of whom a fifth leave."""
    generator = np.random.default_rng(seed)
    labels = (np.arange(count) % 5 == 0).astype(np.int64)
    return labels, np.round(generator.normal(size=count) + labels, 1)


@settings(deadline=None, max_examples=30)
@given(
    st.integers(0, 10_000),
    st.floats(20, 500),
    st.floats(0, 19),
    st.floats(0, 10),
    st.tuples(st.floats(0.5, 10), st.floats(0.5, 20)),
)
def test_the_empc_equals_brute_force_over_list_lengths_and_acceptance_rates(
    seed: int, clv: float, offer: float, contact: float, acceptance: tuple[float, float]
) -> None:
    labels, pds = make_sample(60, seed)
    campaign = CampaignEconomics(clv, offer, contact, *acceptance)

    found = empc(labels, pds, campaign)

    profit, contacted = brute_force_profit(labels, pds, campaign)
    assert found.empc == pytest.approx(profit, rel=2e-3, abs=2e-4 * clv)
    assert found.contacted == pytest.approx(contacted, abs=2e-3)


def test_a_perfect_model_at_no_contact_cost_earns_every_churner_who_accepts() -> None:
    labels = np.array([1, 1, 0, 0, 0, 0, 0, 0, 0, 0])

    found = empc(labels, labels.astype(np.float64), CampaignEconomics(200, 10, 0, 6, 14))

    assert found.empc == pytest.approx(0.3 * 190 * 0.2)
    assert found.contacted == pytest.approx(0.2)


def test_a_random_model_earns_less_than_one_that_ranks() -> None:
    labels, pds = make_sample(1000, 1)

    ranked, blind = empc(labels, pds, TELEPHONE), empc(labels, np.zeros(1000), TELEPHONE)

    assert ranked.empc > blind.empc > 0
    assert empc(labels, -pds, TELEPHONE).empc < ranked.empc


def test_a_campaign_that_never_pays_contacts_nobody() -> None:
    labels, pds = make_sample(100, 2)

    found = empc(labels, pds, CampaignEconomics(clv=10, offer_cost=9, contact_cost=9, alpha=6, beta=14))

    assert (found.empc, found.contacted) == (0.0, 0.0)


def test_profit_grows_with_the_value_of_the_customer_and_falls_with_every_cost() -> None:
    labels, pds = make_sample(500, 3)
    now = empc(labels, pds, TELEPHONE).empc

    assert empc(labels, pds, CampaignEconomics(300, 10, 1, 6, 14)).empc > now
    assert empc(labels, pds, CampaignEconomics(200, 20, 1, 6, 14)).empc < now
    assert empc(labels, pds, CampaignEconomics(200, 10, 2, 6, 14)).empc < now


@pytest.mark.parametrize(
    "numbers", [(0, 0, 0, 1, 1), (100, 100, 0, 1, 1), (100, -1, 0, 1, 1), (100, 1, -1, 1, 1), (100, 1, 1, 0, 1)]
)
def test_impossible_campaigns_are_rejected(numbers: tuple[float, float, float, float, float]) -> None:
    with pytest.raises(DataInvalid):
        CampaignEconomics(*numbers)
