"""The data of a cycle are compared with the population of a bundle; chance and other markets raise no alarm."""

import datetime as dt
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from models.bundle import Bundle
from models.bundle_documents import BinnedValues, FeaturePopulation, PopulationDocument
from tests.small import SmallFamily
from training.cycle.comparison import compare_bundles
from training.cycle.data_checks import check_data
from training.cycle.flow import DataChecks
from training.cycle.journal import CycleJournal
from training.errors import DataInvalid
from training.release.population import bin_values
from training.sources.samples import Samples
from training.sources.table import read_table_samples
from training.spec import read_spec

LIMITS = DataChecks()


def population_of(small: SmallFamily, **features: FeaturePopulation) -> Bundle:
    """Return the small bundle with another population of 1,000 rows."""
    document = PopulationDocument(rows=1000, features=features, log_odds=BinnedValues(edges=(), counts=(1,)))
    return replace(small.bundle(), population=document)


def samples_of(levels: dict[str, tuple[str, ...]] | None = None, **columns: object) -> Samples:
    """Return samples whose rows are all in the fit part, in DE."""
    rows = pd.DataFrame(columns)
    rows = rows.assign(market="DE", customer_id=[f"C{number}" for number in range(len(rows))], sample="FIT")
    return Samples(rows, tuple(columns), (), "0" * 64, levels or {})


def list_failures(samples: Samples, earlier: Bundle) -> list[tuple[str, str]]:
    """Return the subject and the figure of each check that failed, apart from the number of rows."""
    checks = check_data(samples, earlier, LIMITS)
    return [(each.subject, each.figure) for each in checks if not each.is_passed and each.subject != "rows"]


def test_few_values_without_a_change_pass_and_their_checks_can_be_recorded(small: SmallFamily, tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(size=200)
    then = FeaturePopulation(missing=800, min=-9, max=9, bins=bin_values(values))
    column = np.concatenate([np.random.default_rng(2).normal(size=200), np.full(800, np.nan)])

    checks = check_data(samples_of(amount=column), population_of(small, amount=then), LIMITS)

    assert all(each.is_passed for each in checks)
    assert max(each.limit for each in checks if "index" in each.figure) > LIMITS.psi_max, "chance decides"
    journal = CycleJournal(tmp_path, dt.date(2026, 3, 1), "0" * 64)
    journal.complete("data", checks=[each.facts() for each in checks])
    assert json.loads((tmp_path / "2026-03-01" / "cycle.json").read_text())["steps"]["data"]["checks"]


def count_alarms(small: SmallFamily, size: int, exponent: float, draws: int) -> int:
    """Return in how many draws the index of a category is above what chance explains. The usual limit of 0.25 is left out.

    Args:
        small: The small family.
        size: The number of levels.
        exponent: The exponent of the Zipf frequencies of 500 new rows. Those of the 1,000 earlier rows have 1.
        draws: The number of draws; each is a feature of its own.
    """
    levels, ranks = tuple(f"L{number}" for number in range(size)), np.arange(1.0, size + 1.0)
    then, now = (weights / weights.sum() for weights in (1 / ranks, 1 / ranks**exponent))
    random, names = np.random.default_rng(7), [f"x{number}" for number in range(draws)]
    columns = dict(zip(names, random.choice(size, (draws, 500), p=now).astype(float), strict=True))
    counts = zip(names, random.multinomial(1_000, then, draws).tolist(), strict=True)
    earlier = {name: FeaturePopulation(missing=0, levels=dict(zip(levels, each, strict=True))) for name, each in counts}
    samples = samples_of(dict.fromkeys(names, levels), **columns)
    checks = check_data(samples, population_of(small, **earlier), DataChecks(psi_max=1e-9))
    indexes = [each for each in checks if "index" in each.figure]
    assert len(indexes) == draws
    return sum(not each.is_passed for each in indexes)


@pytest.mark.parametrize("size", [5, 50])
def test_levels_without_a_change_alarm_at_most_at_the_stated_rate(small: SmallFamily, size: int) -> None:
    """Chance exceeds the bound in one of a thousand simulations if the rate is 1 of 1,000, as stated.

    Of 50 levels, many have no rows. The limit is then higher than needed: the rate was 3 of 40,000.
    """
    draws = 2_000

    assert count_alarms(small, size, 1.0, draws) <= binom.ppf(0.999, draws, 0.001)


def test_a_change_of_levels_of_which_many_are_rare_is_an_alarm(small: SmallFamily) -> None:
    """The mean limit is 0.20. With the rare levels not merged it would be 0.42, and find 62 % of these changes."""
    assert count_alarms(small, 50, 0.6, 200) >= 0.85 * 200


def test_unknown_levels_and_a_column_that_is_now_empty_fail(small: SmallFamily) -> None:
    then = FeaturePopulation(missing=0, levels={"bar": 500, "hotel": 500})
    codes = np.array([0.0] * 50 + [1.0] * 50 + [-1.0] * 900)
    assert list_failures(samples_of({"trade": ("bar", "hotel")}, trade=codes), population_of(small, trade=then)) == [
        ("trade", "the population stability index")
    ]

    nearly_empty = FeaturePopulation(missing=990, min=0, max=9, bins=bin_values(np.arange(10.0)))
    empty, full = np.full(1000, np.nan), np.full(1000, 4.0)
    assert list_failures(samples_of(amount=empty), population_of(small, amount=nearly_empty)) == [
        ("amount", "the share of missing values")
    ]
    assert ("amount", "the change of the share of missing values") in list_failures(
        samples_of(amount=full), population_of(small, amount=nearly_empty)
    )


def test_only_the_markets_of_a_bundle_are_compared(small: SmallFamily) -> None:
    _, samples = read_table_samples(read_spec(small.spec), small.table)
    rows = samples.rows.copy()
    rows.loc[rows["market"] == "FR", "turnover"] *= 1000
    german = small.bundle().manifest.model_copy(update={"markets": ("DE",)})
    population = small.bundle().population
    assert population is not None
    half = population.model_copy(update={"rows": population.rows // 2})

    def subjects(earlier: Bundle) -> set[str]:
        return {subject for subject, _ in list_failures(replace(samples, rows=rows), earlier)}

    assert "turnover" in subjects(small.bundle())
    assert "turnover" not in subjects(replace(small.bundle(), manifest=german, population=half))


def test_two_models_are_compared_in_the_markets_that_the_first_one_serves(small: SmallFamily) -> None:
    _, samples = read_table_samples(read_spec(small.spec), small.table)
    held_out = samples.part("HOLD_OUT")

    found = compare_bundles(samples, small.bundle(), small.bundle(), markets={"FR"})

    assert found.rows == int((held_out["market"] == "FR").sum())
    assert not found.is_worse
    assert (found.auc_lead.estimate, found.pd_change) == (0.0, 0.0)


def with_record(bundle: Bundle, **changes: str | None) -> Bundle:
    """Return a bundle whose manifest records other values; None removes a value."""
    recorded = {**bundle.manifest.made_from, **{name.replace("__", "."): value for name, value in changes.items()}}
    known = {name: value for name, value in recorded.items() if value is not None}
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"made_from": known}))


def test_the_verdict_names_each_model_that_may_know_the_rows(small: SmallFamily) -> None:
    _, samples = read_table_samples(read_spec(small.spec), small.table)
    own = small.bundle()
    other, silent = with_record(own, split__hold_out="0, 1 of 10"), with_record(own, split__hold_out=None)
    elsewhere = with_record(own, model_sha256="0" * 64)

    def verdict(candidate: Bundle, champion: Bundle) -> str:
        return compare_bundles(samples, candidate, champion, markets={"FR"}).verdict()

    assert "perhaps on these rows" not in verdict(own, own)
    assert "; the serving bundle was fitted with another [split] (hold-out: 0, 1 of 10), perhaps" in verdict(own, other)
    assert "; the serving bundle was fitted with another [split] (hold-out: not recorded), perhaps" in verdict(
        own, silent
    )
    assert "; the serving bundle was fitted elsewhere, perhaps on these rows" in verdict(own, elsewhere)
    assert "; the candidate was fitted elsewhere, perhaps on these rows" in verdict(elsewhere, own)


@pytest.mark.parametrize(
    ("last_day", "doubt"),
    [
        ("2026-03-31", ""),
        ("2026-04-01", "; the serving bundle was fitted on days until 2026-04-01, perhaps on these rows"),
        (None, "; the serving bundle does not record the days on which it was fitted, perhaps on these rows"),
    ],
)
def test_a_bundle_of_a_log_may_know_the_rows_of_the_days_until_its_last_one(
    last_day: str | None, doubt: str, small: SmallFamily
) -> None:
    _, samples = read_table_samples(read_spec(small.spec), small.table)
    rows = samples.rows.assign(as_of=pd.Timestamp("2026-04-01", tz="UTC"))
    rows.loc[rows["sample"] != "HOLD_OUT", "as_of"] = pd.Timestamp("2026-03-01", tz="UTC")
    by_day = replace(samples, rows=rows, hold_out="")
    candidate = with_record(small.bundle(), snapshots__last_day="2026-03-01")

    found = compare_bundles(by_day, candidate, with_record(candidate, snapshots__last_day=last_day), markets={"FR"})

    assert found.verdict().partition("95 % intervals)")[2] == doubt
    assert by_day.parts_record() == {"snapshots.last_day": "2026-03-01"}


def test_a_feature_of_another_kind_is_refused_by_name(small: SmallFamily) -> None:
    _, samples = read_table_samples(read_spec(small.spec), small.table)
    with pytest.raises(DataInvalid, match=r"years: a number in one of the serving bundle .* and a category"):
        compare_bundles(replace(samples, levels={"years": ("1", "2")}), small.bundle(), small.bundle())


def test_two_models_without_a_market_in_common_are_not_compared(small: SmallFamily) -> None:
    _, samples = read_table_samples(read_spec(small.spec), small.table)
    austrian = small.bundle().manifest.model_copy(update={"markets": ("AT",)})

    with pytest.raises(DataInvalid, match=r"no row of the hold-out in common: .* is for AT, .* for DE, FR; compare"):
        compare_bundles(samples, small.bundle(), replace(small.bundle(), manifest=austrian))
