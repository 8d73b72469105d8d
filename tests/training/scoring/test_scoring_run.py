"""Scoring runs on a synthetic log. Each prediction of a run equals the prediction for that customer alone."""

import datetime as dt
import hashlib
import json
from dataclasses import replace
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from models.catalog import activate
from models.reasons import principal_reasons
from models.scorecard import grade_from_pd
from models.stated_reasons import stated_reasons, stated_text
from tests.conftest import run
from tests.training.conftest import AT, Trained
from training.console import Console
from training.errors import DataInvalid, ModelRejected, SpecInvalid
from training.export.trees import read_ensemble
from training.release.model_release import (
    FittedModel,
    calibrated_scorecard,
    freeze_baseline,
    release_model,
    training_data,
)
from training.scoring.drivers import DriverTexts
from training.scoring.scoring_run import RunOptions, score_feature_file, score_transaction_log
from training.sources.snapshots import read_log_samples
from training.sources.transaction_log import SourcePaths
from training.spec import read_spec, spec_digest

NUMBERS = ["log_odds", "pd", "band", "rank", "decline_pd", "value_at_risk_minor", "expected_spend_minor"]


def manifest(path: Path) -> dict[str, Any]:
    """Return the manifest of a run file."""
    found: dict[str, Any] = json.loads(pq.read_schema(path).metadata[b"grounds"])
    return found


@pytest.fixture(scope="module")
def written(trained: Trained) -> Path:
    """Write a run file once, and return its path; tests must not change the file."""
    path = trained.made.folder / "first.run.parquet"
    trained.run(path, trained.extras())
    return path


def test_the_command_writes_the_same_bytes_with_any_number_of_threads(
    trained: Trained, written: Path, tmp_path: Path
) -> None:
    bundles = trained.made.folder / "bundles"
    for model in (trained.churn, trained.decline):
        activate(bundles, model.bundle.bundle_id)

    said = run(
        *("training", "score", str(trained.made.spec), "--at", "2025-11-01", "--bundles", str(bundles)),
        *("--to", str(tmp_path / "two.parquet"), "--threads", "2"),
    )

    assert "read the transaction log" in said
    assert "score: " in said
    one, two = manifest(written), manifest(tmp_path / "two.parquet")
    assert {name for name in one if one[name] != two[name]} == {"spec_sha256"}  # the fixture passes no digest
    trained.run(tmp_path / "one.parquet", trained.extras(threads=1, spec_sha256=spec_digest(trained.made.spec)))
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()


def test_every_number_of_a_run_equals_scoring_one_customer_to_the_bit(trained: Trained, written: Path) -> None:
    rows = pq.read_table(written).to_pylist()
    scored = [row for row in rows if row["status"] == "SCORED"]
    names = trained.churn.bundle.schema.names

    assert len(scored) > 100
    for row in scored:
        values = {name: value for name, value in zip(names, row["features"], strict=True) if value is not None}
        alone = trained.churn.explain(values)
        assert (row["pd"], row["log_odds"]) == (alone.pd, alone.log_odds)
        assert row["contributions"] == list(alone.contributions)
        assert row["band"] == grade_from_pd(trained.churn.bundle.scorecard, alone.pd)
        assert 0.0 < row["decline_pd"] < 1.0
    assert manifest(written)["base_value"] == alone.base_value


def test_drivers_of_a_run_equal_the_reasons_and_texts_of_each_customer(trained: Trained, written: Path) -> None:
    schema, typical = trained.churn.bundle.schema, trained.churn.bundle.baseline.typical
    driver_count = 0
    for row in pq.read_table(written).to_pylist():
        if row["status"] != "SCORED":
            continue
        values = {n: v for n, v in zip(schema.names, row["features"], strict=True) if v is not None}
        wanted = [
            {
                "code": reason.code,
                "log_odds": reason.log_odds,
                "features": list(reason.features),
                "texts": {"en": stated_text(schema, reason, "en", values, typical)},
            }
            for reason in stated_reasons(schema, row["contributions"], [0] * len(schema.names), values, typical, 3)
        ]
        assert json.loads(row["drivers"]) == wanted
        driver_count += len(wanted)
    assert driver_count > 100


def test_drivers_of_random_contributions_equal_the_reasons_of_one_row(trained: Trained) -> None:
    schema = trained.churn.bundle.schema
    random = np.random.default_rng(0)
    contributions = np.round(random.normal(0, 1, (500, len(schema.names))), 1) * random.integers(0, 2, (500, 1))

    ranked = DriverTexts(schema, trained.churn.bundle.baseline.typical).ranked_groups(contributions, 3)

    alone = [principal_reasons(schema, row, [0] * len(row), 3) for row in contributions.tolist()]
    assert ranked == alone


def test_ranks_and_values_follow_from_the_pds(trained: Trained, written: Path) -> None:
    rows = pq.read_table(written).to_pandas()
    spec = read_spec(trained.made.spec)
    customers = pd.read_parquet(trained.made.folder / "churn.parquet").set_index(["market", "customer_id"])
    spend_position = list(trained.churn.bundle.schema.names).index("spend_90")

    for _, market in rows[rows["status"] == "SCORED"].groupby("market"):
        wanted = sorted(zip(-market["pd"], market["customer_id"], strict=True))
        assert market.sort_values("rank")["customer_id"].tolist() == [customer for _, customer in wanted]
        assert sorted(market["rank"]) == list(range(1, len(market) + 1))
    scored = rows[rows["status"] == "SCORED"]
    assert set(zip(scored["market"], scored["customer_id"], strict=True)) == set(customers.index)
    for row in scored.itertuples():
        days = round(min(40, max(14, -(-4 * row.features[1] // 1)))) if not np.isnan(row.features[1]) else 40
        spend = Decimal(row.features[spend_position]) * Decimal(spec.value.factor) * days / 40  # type: ignore[union-attr]
        cents = [int((one * 100).quantize(Decimal(1), ROUND_HALF_EVEN)) for one in (spend, Decimal(row.pd) * spend)]
        assert [row.expected_spend_minor, row.value_at_risk_minor] == cents


def test_customers_who_are_not_scored_are_listed_without_a_prediction(trained: Trained, written: Path) -> None:
    rows = pq.read_table(written).to_pandas()
    others = rows[rows["status"] != "SCORED"]

    assert set(others["status"]) == {"NOT_ENOUGH_HISTORY", "CLOSED", "BLOCKED_BY_US", "MOVED_ENTITY"}
    assert others[NUMBERS].isna().all(axis=None)
    assert others["drivers"].eq("[]").all()
    assert {len(row) for name in ("features", "contributions") for row in others[name]} == {0}
    assert rows.loc[rows["status"] == "SCORED", NUMBERS].notna().all(axis=None)
    meant = {"geschlossen": "CLOSED", "gesperrt": "BLOCKED_BY_US", "verzogen": "MOVED_ENTITY"}
    ended = {(one.Land, one.Kunde): meant.get(one.Zustand) for one in trained.made.statuses.itertuples()}
    found = {(row.market, row.customer_id): row.status for row in rows.itertuples()}
    assert {found[key] == state for key, state in ended.items() if key in found and state} == {True}
    counts = manifest(written)["counts"]
    assert counts == rows["status"].value_counts().to_dict()


def test_the_hold_out_is_a_fifth_by_hash_and_suppressed_customers_are_scored(
    trained: Trained, written: Path, tmp_path: Path
) -> None:
    rows = pq.read_table(written).to_pandas()
    listed = rows.loc[rows["status"] == "SCORED", ["market", "customer_id"]].head(6)
    doubled = pd.concat([listed.assign(code="COMPLAINT_OPEN"), listed.head(2).assign(code="DO_NOT_CONTACT")])
    until = ["2025-10-31", "2025-11-01", None, None, None, None, None, None]
    doubled.assign(until=until).to_csv(tmp_path / "suppress.csv", index=False)

    again = trained.run(tmp_path / "run.parquet", trained.extras(suppression_list=tmp_path / "suppress.csv"))

    for row in rows.itertuples():
        number = int(hashlib.sha256(f"{row.market}|{row.customer_id}|herbst".encode()).hexdigest(), 16)
        assert row.hold_out == (number % 10_000 < 2000)
    assert 0.1 < rows["hold_out"].mean() < 0.3
    codes = {
        (row.market, row.customer_id): list(row.suppressions) for row in again.itertuples() if len(row.suppressions)
    }
    keys = list(listed.itertuples(index=False, name=None))
    both = ["COMPLAINT_OPEN", "DO_NOT_CONTACT"]
    assert codes == {key: ["COMPLAINT_OPEN"] for key in keys} | {keys[0]: ["DO_NOT_CONTACT"], keys[1]: both}
    assert again["pd"].equals(rows["pd"])
    assert manifest(tmp_path / "run.parquet")["suppressed_count"] == 6
    assert manifest(tmp_path / "run.parquet")["run_id"] != manifest(written)["run_id"]


def test_key_accounts_are_never_held_out_and_everyone_else_is_as_before(
    trained: Trained, written: Path, tmp_path: Path
) -> None:
    rows = pq.read_table(written).to_pandas()
    held = rows.loc[rows["hold_out"], ["market", "customer_id"]]
    keys = pd.concat([held.head(3), rows.loc[~rows["hold_out"], ["market", "customer_id"]].head(2)])
    stranger = pd.DataFrame({"market": ["DE"], "customer_id": ["nobody"]})
    pd.concat([keys, keys.head(1), stranger]).to_csv(tmp_path / "keys.csv", index=False)
    findings: list[str] = []

    again = trained.run(
        tmp_path / "run.parquet",
        trained.extras(key_accounts=tmp_path / "keys.csv", report_finding=findings.append),
    )

    exempt = set(keys.itertuples(index=False, name=None))
    expected = [row.hold_out and (row.market, row.customer_id) not in exempt for row in rows.itertuples()]
    assert again["hold_out"].tolist() == expected
    assert sum(expected) == rows["hold_out"].sum() - 3
    found = manifest(tmp_path / "run.parquet")
    assert (found["hold_out_count"], found["key_account_count"]) == (sum(expected), 5)
    assert found["run_id"] != manifest(written)["run_id"]
    assert any("1 key accounts do not occur in the data" in line and "DE nobody" in line for line in findings)


def test_an_invalid_suppression_code_is_rejected(trained: Trained, tmp_path: Path) -> None:
    pd.DataFrame({"market": ["DE"], "customer_id": ["K1"], "code": ["because"]}).to_csv(tmp_path / "s.csv", index=False)

    with pytest.raises(DataInvalid, match=r"every row must have a market, .* such as DO_NOT_CONTACT, got 1 other rows"):
        trained.run(tmp_path / "run.parquet", trained.extras(suppression_list=tmp_path / "s.csv"))


def test_a_feature_file_produces_the_same_numbers_as_the_log_and_no_decline_without_its_model(
    trained: Trained, written: Path, tmp_path: Path
) -> None:
    spec = read_spec(trained.made.spec)

    score_feature_file(spec, trained.churn, trained.made.folder / "churn.parquet", tmp_path / "run.parquet")

    rows, again = (pq.read_table(path).to_pandas() for path in (written, tmp_path / "run.parquet"))
    scored = rows[rows["status"] == "SCORED"].reset_index(drop=True)
    for name in ("market", "customer_id", "as_of", "log_odds", "pd", "band", "rank", "hold_out", "drivers"):
        assert again[name].tolist() == scored[name].tolist()
    assert again["decline_pd"].isna().all()
    assert manifest(tmp_path / "run.parquet")["decline_bundle_id"] == ""


def test_the_manifest_of_a_run_has_all_that_its_readers_need(trained: Trained, written: Path) -> None:
    found = manifest(written)

    assert found["format"] == 2
    assert found["kind"] == "run"
    assert found["model_markets"] == ["AT", "DE"]
    assert found["bands"][-1] == {"band": "CRITICAL", "max_pd": 1.0}
    assert (found["horizon_days"], found["valid_days"], found["band_margin_log_odds"]) == (40, 35, 0.1)
    assert (found["campaign"], found["hold_out_share"], found["currency"]) == ("herbst", 0.2, "EUR")
    assert found["rules"]["left out: FUTURE_DATED"] == -7
    assert found["decline_bundle_id"] == trained.decline.bundle.bundle_id


def test_a_model_without_the_required_lead_over_its_rivals_is_not_released(trained: Trained, tmp_path: Path) -> None:
    made = trained.made
    gate = 'figure = "hold_out.auc"\nnot_below = "rival.*.auc"\nahead_by = 0.2'
    text = made.spec.read_text(encoding="utf-8").replace('figure = "hold_out.auc"\nmin = 0.5', gate)
    (tmp_path / "spec.toml").write_text(text, encoding="utf-8")
    spec = read_spec(tmp_path / "spec.toml")
    samples, _ = read_log_samples(spec, SourcePaths(made.folder), 1)

    with pytest.raises(
        ModelRejected, match=r"the model is not released:\n.*0\.2000 above rival\.recency over own gap\.auc"
    ):
        release_model(spec, "0" * 64, samples, tmp_path / "bundles", Console(1))

    assert not (tmp_path / "bundles").exists()


def test_the_newest_of_two_calibration_snapshots_is_the_baseline(trained: Trained) -> None:
    """If the baseline used both snapshots, a customer could be in the baseline twice."""
    spec = read_spec(trained.made.spec)
    assert spec.snapshots is not None
    cuts = (dt.date(2025, 8, 1), dt.date(2025, 8, 20))
    spec = spec.model_copy(update={"snapshots": spec.snapshots.model_copy(update={"calibration": cuts})})
    samples, _ = read_log_samples(spec, SourcePaths(trained.made.folder), 1)
    settings = {"objective": "binary", "num_leaves": 4, "num_threads": 1, "verbose": -1}
    booster = lightgbm.train(settings, lightgbm.Dataset(*training_data(samples)), 3)

    fitted = FittedModel(booster, read_ensemble(booster), {})
    baseline = freeze_baseline(spec, fitted, calibrated_scorecard(spec, booster, samples), samples)

    assert baseline.row_count == len(samples.rows[samples.rows["period"] == "2025-08-20"]) > 50
    assert set(samples.part("CALIBRATION")["period"]) == {"2025-08-01", "2025-08-20"}


def test_a_rival_that_cannot_be_measured_fails_the_gate_and_is_listed(trained: Trained, tmp_path: Path) -> None:
    made = trained.made
    gate = 'figure = "hold_out.auc"\nnot_below = "rival.*.auc"\nahead_by = -1.0'
    text = made.spec.read_text(encoding="utf-8").replace('figure = "hold_out.auc"\nmin = 0.5', gate)
    (tmp_path / "spec.toml").write_text(text, encoding="utf-8")
    spec = read_spec(tmp_path / "spec.toml")
    samples, _ = read_log_samples(spec, SourcePaths(made.folder), 1)
    assert samples.histories is not None
    once = samples.histories.assign(purchase_days=1.0, recency_days=samples.histories["tenure_days"])

    with pytest.raises(
        ModelRejected, match=r"1 of 5 gates failed.*\n.*not below rival\.BG/NBD\.auc, which was not measured"
    ):
        release_model(spec, "0" * 64, replace(samples, histories=once), tmp_path / "bundles", Console(1))

    assert not (tmp_path / "bundles").exists()


def test_missing_features_are_rejected_before_any_customer_is_scored(trained: Trained, tmp_path: Path) -> None:
    spec, source = read_spec(trained.made.spec), trained.made.folder / "churn.parquet"
    assert spec.value is not None
    value = spec.value.model_copy(update={"feature": "tenure_days"})

    with pytest.raises(SpecInvalid, match=r"value\.feature: the data do not have the feature 'tenure_days'"):
        score_feature_file(spec.model_copy(update={"value": value}), trained.churn, source, tmp_path / "run.parquet")
    second, extras = trained.made.folder / "churn_decline.parquet", RunOptions(decline=trained.churn)
    with pytest.raises(DataInvalid, match="requires features that the data do not have: recency_over_gap_median"):
        score_feature_file(spec, trained.decline, second, tmp_path / "run.parquet", extras)


def test_a_run_of_another_market_does_not_replace_a_run_file_at_the_default_path(
    trained: Trained, tmp_path: Path
) -> None:
    lines = pd.read_csv(trained.made.folder / "belege.csv", dtype=str)
    lines[lines["Land"] == "AT"].to_csv(tmp_path / "at.csv", index=False)
    spec, sources = read_spec(trained.made.spec), SourcePaths(trained.made.folder, data=tmp_path / "at.csv")
    both = tmp_path / "churn.run.parquet"
    trained.run(both, trained.extras(keep_other_markets=True))
    before = both.read_bytes()

    with pytest.raises(DataInvalid, match=r"already has customers of market DE, .*set --to FILE to keep both files"):
        score_transaction_log(spec, trained.churn, sources, AT, both, trained.extras(keep_other_markets=True))

    assert both.read_bytes() == before
    trained.run(both, trained.extras(keep_other_markets=True))
