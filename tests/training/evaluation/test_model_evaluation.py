"""The evaluation of the real families reproduces the metrics that training stored in the bundles."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models.bundle import read_bundle
from tests.conftest import Released
from tests.small import SPEC, SmallFamily, made_customers
from tests.training.candidates import credit_family, evaluate_candidate, read_candidate
from training.errors import SpecInvalid
from training.evaluation.metrics import named_metrics
from training.measures.bootstrap import Resampling, auc_interval
from training.sources.samples import hash_bucket
from training.sources.table import read_table_samples
from training.spec import read_spec

GRADES = "ABCDEFG"
FORMS = ["csv", "parquet"]
OUT_OF_TIME = "[out_of_time]\nfirst_day = 2026-01-01\n"
FAIR = """
[reference_policy]
approve_max_pd = 0.2
refer_max_pd = 0.5
[[fairness.attributes]]
column = "country"
names = { DE = "Germany" }
[[fairness.attributes]]
column = "age"
bands = [30, 50]
"""


def test_credit_reaches_its_targets_on_the_hold_out(released: Released) -> None:
    metrics = read_bundle(released.bundle_folder("credit")).metrics

    assert metrics["hold_out.rows"] == 6066
    assert metrics["development.fit.rows"] + metrics["development.calibration.rows"] == 30_000 - 6066
    assert metrics["hold_out.auc"] >= max(0.775, metrics["rival.WOE scorecard.auc"])
    assert metrics["calibration.ece"] <= 0.020
    assert 0.011 < metrics["calibration.ece_noise_mean"] < 0.014
    assert 0.9 <= metrics["calibration.slope"] <= 1.1
    rates = [metrics[f"grade.{grade}.bad_rate"] for grade in GRADES]
    assert all(low < high for low, high in pairwise(rates))
    assert all(metrics[f"grade.{grade}.share"] >= 0.03 for grade in GRADES)
    assert (metrics["monotone.violations"], metrics["monotone.features"], metrics["monotone.rows"]) == (0, 13, 1000)
    assert metrics["hold_out.auc.low"] < metrics["hold_out.auc"] < metrics["hold_out.auc.high"]


def test_the_credit_spec_has_its_targets_as_gates(released: Released) -> None:
    spec, _ = credit_family()

    gates = {gate.figure: gate for gate in spec.gates}

    assert gates["hold_out.auc"].min == 0.775
    assert gates["hold_out.auc"].not_below == "rival.WOE scorecard.auc"
    assert gates["calibration.ece"].max == 0.020
    assert (gates["calibration.slope"].min, gates["calibration.slope"].max) == (0.9, 1.1)
    assert gates["grades.held"].min == 7
    assert (gates["grades.order_violations"].max, gates["monotone.violations"].max) == (0, 0)
    assert spec.split.model_dump() == {"buckets": 5, "hold_out": (0,), "calibration": (1,)}
    for line in ("calibration.slope", "grades.held", "monotone.violations", "not below rival.WOE scorecard.auc"):
        assert line in released.printed["credit"]


def test_churn_passes_its_gates(released: Released) -> None:
    metrics = read_bundle(released.bundle_folder("churn")).metrics

    rivals = [value for name, value in metrics.items() if name.startswith("rival.") and name.endswith(".auc")]

    assert len(rivals) == 5
    assert metrics["hold_out.auc"] >= max(rivals)
    assert metrics["calibration.ece"] <= 0.03


def test_measuring_the_exported_files_again_reproduces_the_stored_metrics(released: Released) -> None:
    folder = released.bundle_folder("credit")
    spec, samples = credit_family()

    findings = evaluate_candidate(spec, samples, read_candidate(folder))

    stored = read_bundle(folder)
    again = named_metrics(findings)
    assert again == {
        name: value for name, value in stored.metrics.items() if not name.startswith(("cross_validation.", "search."))
    }
    assert stored.scorecard.master_scale_version == spec.score.master_scale_version == "tw-2005.1"
    assert [cell.rows for cell in cells(findings)] == [
        again[f"swap.at_cut_off.{what}.rows"]
        for what in ("both_approved", "swapped_in", "swapped_out", "both_declined")
    ]
    assert sum(cell.rows for cell in cells(findings)) == 6066
    assert sum(grade.test.rows for grade in findings.calibration.grades) == 6066


def cells(findings: Any) -> list[Any]:
    """Return the four cells of the swap set at the cut-off."""
    swap = findings.swap.at_cut_off
    return [swap.both_approved, swap.swapped_in, swap.swapped_out, swap.both_declined]


def test_a_suspected_leak_is_reported_with_the_acknowledged_reason(released: Released) -> None:
    metrics = read_bundle(released.bundle_folder("credit")).metrics
    card = (released.bundle_folder("credit") / "card.md").read_text()

    assert {name for name, iv in metrics.items() if name.startswith("iv.P") and iv > 0.5} == {"iv.PAY_0", "iv.PAY_2"}
    assert metrics["iv.leaks_not_acknowledged"] == 0
    assert "information value above 0.5: PAY_0 0.85, PAY_2 0.53: delays of September" in card
    assert "known before the month of the outcome" in card
    assert "leak alarm, information value above 0.5: recency_days" in " ".join(released.printed["churn"].split())


def test_fairness_is_measured_over_attributes_that_the_model_does_not_use(released: Released) -> None:
    bundle = read_bundle(released.bundle_folder("credit"))

    for attribute in ("SEX", "EDUCATION", "MARRIAGE", "AGE"):
        assert attribute not in bundle.schema.names
        assert any(name.startswith(f"fairness.{attribute}.") for name in bundle.metrics)
    assert "fairness.AGE.60 and above.disparate_impact.low" in bundle.metrics


def test_a_protected_attribute_is_never_a_default_feature(tmp_path: Path) -> None:
    table = made_customers(300).assign(age=np.arange(300) % 50 + 20)
    table.loc[0, "age"] = np.nan
    table.to_csv(tmp_path / "customers.csv", index=False)
    (tmp_path / "spec.toml").write_text(SPEC.split("[[groups]]", maxsplit=1)[0] + FAIR)

    spec, samples = read_table_samples(read_spec(tmp_path / "spec.toml"), tmp_path / "customers.csv")

    assert "age" not in samples.names
    assert {"attribute:country", "attribute:age"} <= set(samples.rows.columns)
    assert spec.reference_policy is not None
    ages = samples.rows["attribute:age"].tolist()
    assert ages[0] is None
    assert ages[9:11] == ["below 30", "30 to below 50"]
    assert set(ages[1:]) == {"below 30", "30 to below 50", "50 and above"}
    assert set(samples.rows["attribute:country"]) == {"Germany", "FR"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda spec: spec.replace('"age"', '"turnover"'), "turnover must not also be features"),
        (lambda spec: spec.replace('"age"', '"gone"'), "fairness.attributes.gone"),
        (
            lambda spec: spec.replace("[reference_policy]\napprove_max_pd = 0.2\nrefer_max_pd = 0.5", ""),
            "reference_pol",
        ),
        (lambda spec: spec.replace("[30, 50]", "[50, 30]"), "bands must ascend"),
        (
            lambda spec: spec + '[[leaks_acknowledged]]\nfeatures = ["gone"]\nreason = "no"\n',
            "lists unknown features: gone",
        ),
    ],
)
def test_invalid_validation_settings_are_rejected_by_name(tmp_path: Path, change: object, message: str) -> None:
    made_customers(300).assign(age=40).to_csv(tmp_path / "customers.csv", index=False)
    (tmp_path / "spec.toml").write_text(change(SPEC + FAIR))
    with pytest.raises(SpecInvalid, match=message):
        read_table_samples(read_spec(tmp_path / "spec.toml"), tmp_path / "customers.csv")


def store(table: pd.DataFrame, folder: Path, form: str) -> Path:
    """Write the customers as CSV or as Parquet, where the days have the type of a day; return the path."""
    path = folder / f"customers.{form}"
    if form == "csv":
        table.to_csv(path, index=False)
    else:
        table.assign(day=pd.to_datetime(table["day"]).dt.date).to_parquet(path, index=False)
    return path


@pytest.mark.parametrize("form", FORMS)
def test_the_waterfall_adds_up_and_excludes_later_rows_of_known_customers(form: str, tmp_path: Path) -> None:
    customers = made_customers(400)
    table = pd.concat([customers.assign(day="2025-06-01"), customers.assign(day="2026-02-01")])
    path = store(table, tmp_path, form)
    exclude = '[[table.exclude]]\ncode = "TINY"\nwhere = "turnover < 20000"\n'
    spec_text = SPEC.replace("as_of = 2026-01-01", 'as_of_column = "day"').replace("[search]", exclude + "[search]")
    (tmp_path / "spec.toml").write_text(spec_text + OUT_OF_TIME)

    _, samples = read_table_samples(read_spec(tmp_path / "spec.toml"), path)

    counts = dict(samples.waterfall)
    left_out = sum(count for what, count in counts.items() if what.startswith("left out: "))
    parts = {part: len(samples.part(part)) for part in ("FIT", "CALIBRATION", "HOLD_OUT", "OUT_OF_TIME")}
    assert counts["rows read"] + left_out == counts["rows used"] == sum(parts.values())
    assert len(samples.rows) == counts["rows used"] - counts["left out: OUT_OF_TIME_OF_A_KNOWN_CUSTOMER"]
    assert counts["left out: OUT_OF_TIME_OF_A_KNOWN_CUSTOMER"] < 0
    late = samples.part("OUT_OF_TIME")
    assert all(hash_bucket(customer, 5) == 0 for customer in late["customer_id"])
    assert set(late["as_of"].dt.year) == {2026}
    assert set(samples.part("FIT", "CALIBRATION", "HOLD_OUT")["as_of"].dt.year) == {2025}


@pytest.mark.parametrize("form", FORMS)
def test_a_late_row_is_out_of_time_if_no_earlier_row_of_the_customer_was_used_to_fit(form: str, tmp_path: Path) -> None:
    """Every customer occurs once; half of them are late. Two late customers also have an early row."""
    customers = made_customers(400)
    late = customers.index % 2 == 1
    table = customers.assign(day=np.where(late, "2026-02-01", "2025-06-01"))
    returning = table[late].head(2).assign(day="2025-06-01")
    path = store(pd.concat([table, returning]), tmp_path, form)
    (tmp_path / "spec.toml").write_text(SPEC.replace("as_of = 2026-01-01", 'as_of_column = "day"') + OUT_OF_TIME)

    _, samples = read_table_samples(read_spec(tmp_path / "spec.toml"), path)

    in_fit = [customer for customer in returning["number"] if hash_bucket(customer, 5) != 0]
    assert dict(samples.waterfall)["left out: OUT_OF_TIME_OF_A_KNOWN_CUSTOMER"] == -len(in_fit) < 0
    assert sorted(samples.part("OUT_OF_TIME")["customer_id"]) == sorted(set(table.loc[late, "number"]) - set(in_fit))


def test_out_of_time_rows_are_measured_separately(small: SmallFamily) -> None:
    spec, samples = read_table_samples(read_spec(small.spec), small.table)
    late = samples.rows["sample"].eq("HOLD_OUT") & (np.arange(len(samples.rows)) % 2 == 0)
    rows = samples.rows.assign(sample=samples.rows["sample"].where(~late, "OUT_OF_TIME"))
    samples = type(samples)(rows, samples.names, samples.waterfall, samples.data_sha256, samples.levels)

    findings = evaluate_candidate(spec, samples, read_candidate(small.bundle_folder))

    metrics = named_metrics(findings)
    assert metrics["out_of_time.rows"] == late.sum()
    assert metrics["hold_out.rows"] == (samples.rows["sample"] == "HOLD_OUT").sum()
    assert metrics["psi.out_of_time.score.rows"] == late.sum()
    assert metrics["out_of_time.auc"] != metrics["hold_out.auc"]


def test_markets_with_too_few_bads_are_pooled_with_a_remark(small: SmallFamily) -> None:
    spec, samples = read_table_samples(read_spec(small.spec), small.table)
    rows = samples.rows.assign(market=np.where(np.arange(len(samples.rows)) % 20 == 0, "FR", "DE"))
    rows.loc[np.arange(len(rows)) % 20 == 1, "market"] = "AT"
    samples = type(samples)(rows, samples.names, samples.waterfall, samples.data_sha256, samples.levels)

    findings = evaluate_candidate(spec, samples, read_candidate(small.bundle_folder))

    markets = {found.markets: found for found in findings.ranking.markets}
    assert set(markets) == {("DE",), ("AT", "FR")} or set(markets) == {("DE",), ("FR", "AT")}
    assert markets[("DE",)].gini is not None
    assert any("fewer than 50 bads are pooled" in remark for remark in findings.remarks)
    assert any("Gini of " in remark and "bads in total" in remark for remark in findings.remarks)


def test_the_auc_interval_is_bootstrapped_by_customer(small: SmallFamily) -> None:
    spec, samples = read_table_samples(read_spec(small.spec), small.table)
    findings = evaluate_candidate(spec, samples, read_candidate(small.bundle_folder))
    hold_out = findings.hold_out

    expected = auc_interval(hold_out.labels, hold_out.pds, hold_out.customers, Resampling(seed=0))

    assert findings.ranking.auc == expected
    assert expected.draws == 1000
    stored = json.loads((small.bundle_folder / "metrics.json").read_text())["metrics"]
    assert stored["hold_out.auc.low"] == expected.low
