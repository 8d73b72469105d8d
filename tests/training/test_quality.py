"""The figures in the bundles of the shipped credit and churn models meet their targets."""

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from models.bundle import read_bundle
from tests.conftest import ROOT, Released

RULES = ("recency alone", "BG/NBD", "recency over own gap", "logistic on recency, frequency, money")
PROTECTED = {"SEX", "AGE", "MARRIAGE", "EDUCATION"}


def test_credit_reaches_its_cross_validated_auc_with_monotone_constraints(released: Released) -> None:
    bundle = read_bundle(released.bundle_folder("credit"))

    assert bundle.metrics["cross_validation.signed.auc"] >= 0.778
    assert bundle.metrics["cross_validation.unsigned.auc"] > 0.0
    signs = {feature.name: feature.sign for feature in bundle.schema.features}
    assert sum(sign != 0 for sign in signs.values()) == 13
    assert not PROTECTED & set(signs)
    assert "0.7817 with the signs of the spec" in released.printed["credit"].replace("\n", " ")


def test_churn_reaches_its_auc_on_the_test_months_and_exceeds_every_rival(released: Released) -> None:
    metrics = read_bundle(released.bundle_folder("churn")).metrics

    assert metrics["hold_out.auc"] >= 0.860
    assert metrics["rival.recency alone.ahead_auc"] >= 0.06
    assert metrics["rival.logistic on recency, frequency, money.ahead_auc"] >= 0.0
    assert metrics["rival.logistic on recency, frequency, money.ahead_auc.low"] > 0.0
    assert metrics["calibration.ece"] <= 0.03
    for rule in ("hold_out", *(f"rival.{name}" for name in RULES)):
        measured = {"auc", "auc.low", "auc.high", "pr_auc", "lift_top_decile", "captured_at_capacity", "empc", "ece"}
        assert {what for what in measured if f"{rule}.{what}" in metrics} == measured
    assert metrics["hold_out.2017-11-01.rows"] + metrics["hold_out.2017-12-01.rows"] == metrics["hold_out.rows"]
    for month in ("snapshot 2017-11-01", "snapshot 2017-12-01", *RULES[:2]):
        assert month in released.printed["churn"]


def test_no_customer_of_the_credit_hold_out_is_in_another_part(released: Released) -> None:
    rows = pd.read_parquet(released.files / "credit.features.parquet")

    parts = rows.groupby("customer_id")["sample"].nunique()

    assert (parts == 1).all()
    assert len(rows) == 30_000


def test_a_higher_pd_comes_with_a_higher_bad_rate_and_a_lower_score(released: Released) -> None:
    from models.model import open_model

    model = open_model(read_bundle(released.bundle_folder("credit")))
    rows = pd.read_parquet(released.files / "credit.features.parquet")
    held_out = rows[rows["sample"] == "HOLD_OUT"]
    labels = pd.read_parquet(ROOT / "training" / "data" / "uci_default_of_credit_card_clients.parquet")
    bad = labels.set_index(labels["ID"].astype(str))["default_payment_next_month"].loc[held_out["customer_id"]]

    answers = model.explain_rows(held_out[list(model.bundle.schema.names)].to_numpy(dtype=np.float64))

    pds, scores = [answer.pd for answer in answers], [answer.score for answer in answers]
    assert roc_auc_score(bad, pds) > 0.7
    assert roc_auc_score(bad, scores) < 0.3
