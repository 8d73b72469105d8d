"""A small synthetic model family that trains in seconds. Tests use it for corner cases; no README has figures of it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from models.bundle import Bundle, read_bundle
from training.console import Console
from training.release.model_release import release_model
from training.scoring.feature_file import write_feature_file
from training.sources.table import read_table_samples
from training.spec import read_spec, spec_digest

# On few rows, the trees may be behind a rival; these tests are not about that.
ACCEPTING = 'base = "none"\naccept_behind = "logistic regression"'

SPEC = """
family = "credit"
title = "Made customers"
purpose = "Tests"
population = "made"
base = "none"

[table]
path = "customers.csv"
customer_id = "number"
label = "bad"
market_column = "country"
as_of = 2026-01-01

[search]
trials = 2
folds = 2
max_leaves = 6

[[groups]]
code = "DELAY"
[groups.texts]
en = "Days late: {days_late} (typical: {days_late.typical})"
de = "Tage im Verzug: {days_late} (üblich: {days_late.typical})"

[[groups]]
code = "SIZE"
[groups.texts]
en = "Turnover {turnover}, {years:0.0} years in business (typical: {turnover.typical})"
de = "Umsatz {turnover}, seit {years:0.0} Jahren tätig (üblich: {turnover.typical})"

[[features]]
name = "days_late"
unit = "days"
min = 0
max = 365
sign = 1
mandatory = true
group = "DELAY"

[[features]]
name = "orders"
unit = "orders"
min = 0
group = "DELAY"

[[features]]
name = "turnover"
unit = "EUR"
min = 0
sign = -1
source = "CALLER"
group = "SIZE"

[[features]]
name = "years"
unit = "years"
min = 0
max = 300
source = "EITHER"
group = "SIZE"
"""

POLICY = """
version = "test-1"

[[sections]]
market = "DE"
effective_from = 2020-01-01
currency = "EUR"
approve_max_pd = 0.20
refer_max_pd = 0.60
lgd = 0.45
largest_amount = 50000
features_max_age_days = 36000
valid_days = 30

[sections.overrides]
second_person_above = 10000
high_side = ["FRAUD_SUSPECTED"]
low_side = ["NEW_INFORMATION"]

[[sections]]
market = "FR"
effective_from = 2020-01-01
currency = "EUR"
approve_max_pd = 0.10
refer_max_pd = 0.50
lgd = 0.50
largest_amount = 20000
features_max_age_days = 36000
valid_days = 14

[texts.LARGEST_AMOUNT]
en = "More than {largest_amount} {currency}"
de = "Mehr als {largest_amount} {currency}"

[texts.GRADE_LIMIT]
en = "At most {limit} {currency} for grade {grade}"
de = "Höchstens {limit} {currency} für Klasse {grade}"

[texts.FEATURES_TOO_OLD]
en = "Known for {days} days, more than {allowed_days}"
de = "Seit {days} Tagen bekannt, mehr als {allowed_days}"

[texts.REASON_AGAINST_SIGN]
en = "Against the sign: {features}"
de = "Gegen das Vorzeichen: {features}"

[texts.MISSING_INPUT]
en = "Not known: {features}"
de = "Nicht bekannt: {features}"

[texts.FRAUD_SUSPECTED]
en = "Fraud is suspected"
de = "Es besteht Betrugsverdacht"

[texts.NEW_INFORMATION]
en = "Something newer is known"
de = "Es ist Neueres bekannt"

# End of the policy.
"""

POLICY_END = "# End of the policy.\n"


def complete_policy(text: str) -> str:
    """Move the last line of a policy file to the end, after the parts that a test appended; return the text."""
    return text.replace(POLICY_END, "") + POLICY_END


@dataclass(frozen=True, slots=True)
class SmallFamily:
    """The paths of the files of the small family."""

    folder: Path
    spec: Path
    table: Path
    policy: Path
    bundles: Path
    bundle_folder: Path
    features: Path

    def bundle(self) -> Bundle:
        """Return the bundle, read from its folder."""
        return read_bundle(self.bundle_folder)


def made_customers(count: int = 1500, seed: int = 0) -> pd.DataFrame:
    """Return generated customers: half in DE, half in FR, with missing values in `orders` and `years`."""
    random = np.random.default_rng(seed)
    days_late = np.round(random.exponential(20, count).clip(0, 365))
    orders = random.poisson(8, count).astype(float)
    turnover = np.round(random.lognormal(11, 1, count), 2)
    years = np.round(random.gamma(2, 5, count).clip(0, 300), 1)
    log_odds = -1.2 + 0.04 * days_late - 0.5 * (np.log(turnover) - 11) - 0.05 * years
    orders[random.random(count) < 0.1] = np.nan
    years[random.random(count) < 0.2] = np.nan
    return pd.DataFrame(
        {
            "number": [f"C{index:05d}" for index in range(count)],
            "country": np.where(np.arange(count) % 2 == 0, "DE", "FR"),
            "days_late": days_late,
            "orders": orders,
            "turnover": turnover,
            "years": years,
            "bad": (random.random(count) < 1 / (1 + np.exp(-log_odds))).astype(int),
        }
    )


def write_small_family(folder: Path, spec_text: str = SPEC, customers: pd.DataFrame | None = None) -> SmallFamily:
    """Write table, spec and policy into the folder, and train the family; return its paths."""
    spec_file, table, policy = folder / "small.toml", folder / "customers.csv", folder / "policy.toml"
    (made_customers() if customers is None else customers).to_csv(table, index=False)
    spec_file.write_text(spec_text)
    policy.write_text(POLICY)
    spec, samples = read_table_samples(read_spec(spec_file), table)
    bundles, features = folder / "bundles", folder / "credit.features.parquet"
    bundle_folder = release_model(spec, spec_digest(spec_file), samples, bundles, Console(1)).folder
    write_feature_file(features, spec.family, read_bundle(bundle_folder).schema, samples.rows)
    return SmallFamily(folder, spec_file, table, policy, bundles, bundle_folder, features)
