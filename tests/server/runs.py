"""A small made churn family and its runs, written by training's own code."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from models.model import Model, open_model
from tests.small import SPEC, write_small_family
from training.files import write_features
from training.run import write_run
from training.spec import LogColumns, LogSpec, Spec, ValueSpec, read_spec
from training.tables import samples_of_table

FIRST, SECOND = (dt.datetime(2026, month, 1, tzinfo=dt.UTC) for month in (1, 2))
CHURN_SPEC = (
    SPEC.replace('family = "credit"', 'family = "churn"')
    + """
[[score.grades]]
grade = "LOW"
max_pd = 0.2

[[score.grades]]
grade = "MEDIUM"
max_pd = 0.4

[[score.grades]]
grade = "HIGH"
max_pd = 0.6

[[score.grades]]
grade = "CRITICAL"
max_pd = 1.0
"""
)
# Spend is so small that many a value at risk is the same number of cents.
VALUE = ValueSpec(feature="turnover", factor=0.00001)
LOG = LogSpec(currency="EUR", columns=LogColumns(customer_id="number", time="time", amount="amount"))


@dataclass(frozen=True, slots=True)
class ChurnFamily:
    """A churn bundle, its customers (1,010 in DE, 310 of them twins of others; 30 in FR), and two runs.

    The second run is one month younger and has 20 of them, twice as late.
    """

    folder: Path
    spec: Spec
    model: Model
    customers: pd.DataFrame
    first_run: Path
    second_run: Path


def write_churn_family(folder: Path) -> ChurnFamily:
    """Train, and write both runs."""
    family = write_small_family(folder, CHURN_SPEC)
    spec, samples = samples_of_table(read_spec(family.spec), family.table)
    spec = spec.model_copy(update={"log": LOG, "value": VALUE})
    model = open_model(family.bundle())
    singles = samples.rows.head(730).assign(market="DE", as_of=FIRST)
    singles.loc[singles.index[700:], "market"] = "FR"
    twins = singles.head(310).assign(customer_id=[f"B{index:05d}" for index in range(310)])
    customers = pd.concat([singles, twins], ignore_index=True)
    some = customers.head(20)
    later = some.assign(as_of=SECOND, days_late=(some["days_late"] * 2).clip(0, 365))
    runs = []
    for name, rows in (("first", customers), ("second", later)):
        features = folder / f"{name}.features.parquet"
        write_features(features, "churn", model.bundle.schema, rows)
        runs.append(folder / f"{name}.run.parquet")
        write_run(spec, model, features, runs[-1])
    return ChurnFamily(folder, spec, model, customers, *runs)
