"""Simulated campaigns: a planted effect is within its interval, and no effect is found where there is none, at the stated rate."""

import datetime as dt
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom
from typer.testing import CliRunner

from tests.training.results.run_files import AS_OF, SPEC, Customer, is_held_out, write_lines, write_run
from training.__main__ import app
from training.results.campaign_effect import CampaignEffect, measure_effects
from training.results.measurement import CampaignResult
from training.results.statement import effect_sentence

CAMPAIGNS = 300
CUSTOMERS = [f"C{number}" for number in range(3000)]
SHARE = 0.1
# Of 300 intervals at 95 %, at least this many contain the truth in 999 of 1,000 series.
COVERED_MIN = int(binom.ppf(0.001, CAMPAIGNS, 0.95))


def simulate(number: int, retained: float, runs: int = 1) -> pd.DataFrame:
    """Return the rows of a campaign that retains a share of the customers who would leave.

    A customer who would leave after one run would leave after all, so the runs of a customer are far from independent.
    """
    generator = np.random.default_rng(number)
    risk = generator.beta(1.0, 4.0, len(CUSTOMERS))
    held_out = np.array([is_held_out(name, "DE", f"campaign {number}", SHARE) for name in CUSTOMERS])
    would_leave = generator.random(len(CUSTOMERS)) < risk
    rows = []
    for _ in range(runs):
        kept = ~held_out & (generator.random(len(CUSTOMERS)) < retained)
        bands = np.where(risk <= 0.25, "LOW", "HIGH")
        rows.append(
            pd.DataFrame(
                {
                    "market": "DE",
                    "customer_id": CUSTOMERS,
                    "pd": risk,
                    "band": bands,
                    "hold_out": held_out,
                    "is_eligible": True,
                    "churned": would_leave & ~kept,
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


def count_covering(effects: list[CampaignEffect], truth: float) -> int:
    """Return how many of the intervals contain the truth."""
    found = [one.effect for one in effects]
    assert all(one is not None for one in found)
    return sum(one.low <= truth <= one.high for one in found if one is not None)


@pytest.mark.parametrize("retained", [0.0, 0.4], ids=["no effect", "an effect of 8 of 100"])
@pytest.mark.parametrize("runs", [1, 3])
def test_the_interval_contains_the_planted_effect_at_the_stated_rate(retained: float, runs: int) -> None:
    """The mean risk is 0.2, so a campaign that retains 0.4 of the leaving customers retains 8 of 100."""
    effects = [measure_effects(simulate(number, retained, runs), ())[0] for number in range(CAMPAIGNS)]

    assert count_covering(effects, 0.2 * retained) >= COVERED_MIN


def test_a_planted_effect_is_also_within_the_interval_of_each_band() -> None:
    effects = [measure_effects(simulate(number, 0.4), ("LOW", "HIGH")) for number in range(CAMPAIGNS)]
    # The mean of a beta distribution with parameters 1 and 4 below and above a bound, from its density 4 (1 - x) ** 3.
    below, above = 1 - 0.75**4, 0.75**4
    mean_above = 0.25 * 0.75**4 + 0.75**5 / 5
    for position, mean in ((1, (0.2 - mean_above) / below), (2, mean_above / above)):
        assert count_covering([one[position] for one in effects], 0.4 * mean) >= COVERED_MIN


def test_three_runs_of_the_same_customers_are_no_evidence_of_three_times_as_many() -> None:
    """Intervals that take the rows as independent would miss too often; those of this test are hardly narrower than of one run."""
    one, three = (measure_effects(simulate(7, 0.0, runs), ())[0].effect for runs in (1, 3))

    assert one is not None
    assert three is not None
    assert three.high - three.low == pytest.approx(one.high - one.low, rel=0.02)


@pytest.mark.parametrize(
    ("retained", "customers", "sentence"),
    [
        (0.6, 3000, "The campaign retained customers; chance does not explain it"),
        (0.0, 3000, "Chance alone explains the difference, so no effect is shown"),
        (0.0, 60, "The groups are too small for a verdict, which requires 30 customers in each"),
        (0.0, 400, "The groups are too small for a verdict: "),
        (-0.8, 3000, "More of the customers who could be contacted left; chance does not explain it"),
        (0.0, 0, "no effect can be measured, because the hold-out group has no customer with a known outcome"),
    ],
)
def test_the_verdict_says_what_the_groups_can_show(retained: float, customers: int, sentence: str) -> None:
    rows = simulate(1, max(retained, 0.0)).head(max(customers, 1))
    if retained < 0.0:
        rows.loc[~rows["hold_out"] & (np.arange(len(rows)) % 5 == 0), "churned"] = True
    if customers == 400:  # a campaign cannot retain more customers than were expected to leave: here 1 of 10
        rows["pd"] /= 2
    if not customers:
        rows["hold_out"] = False

    said = effect_sentence(CampaignResult("spring", SHARE, 1, measure_effects(rows, ())))

    assert sentence in said


@pytest.mark.parametrize("retained", [0.0, 0.5])
def test_the_command_finds_a_planted_effect_in_a_log(retained: float, tmp_path: Path) -> None:
    """2,000 customers buy once a day with a probability that makes pd their churn rate; the campaign sends some to the shop."""
    generator = np.random.default_rng(3)
    found, lines = [], [("ANCHOR", "2025-03-03", 1.0), ("ANCHOR", "2025-03-12", 1.0)]
    for number in range(2000):
        customer = Customer(f"C{number}", float(np.clip(generator.beta(2.0, 4.0), 0.01, 0.99)))
        stays = generator.random() >= (customer.pd or 0.0)
        stays |= not is_held_out(customer.name) and generator.random() < retained
        found.append(customer)
        if stays:
            day = AS_OF + dt.timedelta(days=int(generator.integers(10)))
            lines.append((customer.name, f"{day} 10:00:00", 9.0))
    write_lines(tmp_path / "log.csv", lines)
    (tmp_path / "spec.toml").write_text(SPEC, encoding="utf-8")
    run = write_run(tmp_path / "run.parquet", found)

    done = CliRunner().invoke(app, ["results", str(tmp_path / "spec.toml"), str(run), "--json"])

    document = json.loads(done.stdout)
    effect = document["campaigns"][0]["effects"][0]["effect"]
    truth = retained * float(np.mean([one.pd for one in found if one.pd is not None]))
    assert effect["low"] <= truth <= effect["high"]
    assert ("The campaign retained customers" in document["statement"][1]) == (retained > 0.0)
    hold_out = document["campaigns"][0]["effects"][0]["hold_out"]["rate"]
    expected = document["campaigns"][0]["effects"][0]["hold_out"]["mean_pd"]
    assert hold_out["low"] <= expected <= hold_out["high"]
