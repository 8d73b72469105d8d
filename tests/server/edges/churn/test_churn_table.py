"""A table of subscribers trains, scores, loads and serves as a transaction log does."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from grounds.churn.v1 import churn_pb2 as pb
from models.bundle import read_bundle
from models.model import Model, open_model
from server.stores.clock import utc_now
from tests.conftest import Serving
from tests.server.loading import load_file
from tests.server.requests import customer
from training.console import Console
from training.release.model_release import release_model
from training.scoring.feature_file import write_feature_file
from training.scoring.scoring_run import RunOptions, score_feature_file
from training.sources.table import read_table_samples
from training.spec import Spec, read_spec, spec_digest

SPEC = """
family = "subscriptions"
title = "Subscribers who cancel"
purpose = "Tests"
population = "made"
base = "none"
accept_behind = "logistic regression"

[table]
path = "subscribers.csv"
customer_id = "number"
label = "cancelled"
market = "DE"
as_of = 2026-01-01

[run]
horizon_days = 60
currency = "EUR"

[value]
feature = "monthly_fee"
factor = 2.0

[search]
trials = 2
folds = 2
"""


def subscribers() -> pd.DataFrame:
    """Return subscribers; who logged in long ago cancels more often."""
    random = np.random.default_rng(0)
    idle = random.integers(0, 60, 900)
    return pd.DataFrame(
        {
            "number": [f"S{number:04d}" for number in range(900)],
            "idle_days": idle,
            "monthly_fee": random.integers(5, 40, 900),
            "cancelled": (random.random(900) < 0.05 + idle / 80).astype(int),
        }
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Spec, Model]:
    """Train the model of the table, and write the run file of all its customers."""
    folder = tmp_path_factory.mktemp("subscriptions")
    subscribers().to_csv(folder / "subscribers.csv", index=False)
    (folder / "spec.toml").write_text(SPEC, encoding="utf-8")
    spec, samples = read_table_samples(read_spec(folder / "spec.toml"), folder / "subscribers.csv")
    released = release_model(spec, spec_digest(folder / "spec.toml"), samples, folder / "bundles", Console(1)).folder
    model = open_model(read_bundle(released))
    write_feature_file(folder / "features.parquet", spec.family, model.bundle.schema, samples.rows)
    findings: list[str] = []
    options = RunOptions(report_finding=findings.append)
    score_feature_file(spec, model, folder / "features.parquet", folder / "run.parquet", options)
    assert findings == []
    return folder, spec, model


async def test_a_customer_of_a_table_is_served_with_probability_band_and_value(
    serving: Serving, trained: tuple[Path, Spec, Model]
) -> None:
    folder, _, model = trained
    load_file(serving.application.database, folder / "run.parquet", utc_now())
    rows = pq.read_table(folder / "run.parquet").to_pandas().set_index("customer_id")
    fees = subscribers().set_index("number")["monthly_fee"]

    run = (await serving.churn.ListChurnRuns(pb.ListChurnRunsRequest())).runs[0]
    listed = (await serving.churn.ListChurnRisks(pb.ListChurnRisksRequest(market="DE", page_size=1000))).churn_risks
    request = pb.GetChurnRiskRequest(customer=customer("DE", listed[0].customer.customer_id))
    first = (await serving.churn.GetChurnRisk(request)).churn_risk

    assert (run.family, run.currency_code, run.horizon_days, run.customer_count) == ("subscriptions", "EUR", 60, 900)
    assert run.bundle_id == model.bundle.bundle_id
    assert len(listed) == 900 - rows["hold_out"].sum()
    for risk in listed:
        row = rows.loc[risk.customer.customer_id]
        assert risk.churn_probability == row["pd"]
        assert risk.expected_spend.units == 2 * fees[risk.customer.customer_id]
        bounds = {"LOW": 0.1, "MEDIUM": 0.25, "HIGH": 0.5, "CRITICAL": 1.0}
        band = next(band for band, bound in bounds.items() if row["pd"] <= bound)
        assert pb.RiskBand.Name(risk.risk_band) == f"RISK_BAND_{band}"
    assert first.explanation.contributions
    assert first.drivers.reasons[0].text.startswith("idle_days: ")
