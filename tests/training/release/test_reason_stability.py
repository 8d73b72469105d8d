"""Reasons of declined applicants on the released credit model: deterministic and stable."""

from dataclasses import dataclass

import lightgbm
import numpy as np
import pyarrow.parquet as pq
import pytest

from models.bundle import read_bundle
from models.model import Model, _rows_array, open_model
from models.onnx_scorer import Scorer
from models.reasons import principal_reasons
from models.schema import Schema
from server.config import Settings
from server.decisions.policy import read_policy
from tests.conftest import Released
from tests.oracles import FloatArray
from training.export.explain import explain_onnx
from training.export.trees import Ensemble, read_ensemble

BOOTSTRAPS = 20
MONEY = ("LIMIT_BAL", "BILL_AMT", "PAY_AMT")
Codes = tuple[str, ...]


@dataclass(frozen=True)
class Declined:
    """The released model, its trees, and the hold-out applicants whom the policy declines."""

    model: Model
    ensemble: Ensemble
    rows: FloatArray

    @property
    def schema(self) -> Schema:
        """Return the model's schema."""
        return self.model.bundle.schema


@pytest.fixture(scope="module")
def declined(released: Released) -> Declined:
    """Return the declined applicants of the hold-out."""
    folder = next(path for path in (released.bundles / "credit").iterdir() if path.is_dir())
    model = open_model(read_bundle(folder))
    table = pq.read_table(released.files / "credit.features.parquet").to_pandas()
    table = table[table["sample"] == "HOLD_OUT"]
    rows = np.ascontiguousarray(table[list(model.bundle.schema.names)].to_numpy(dtype=np.float64))
    cut_off = read_policy(Settings().policy).document.sections[0].refer_max_pd
    pds = np.array([answer.pd for answer in model.explain_rows(rows)])
    booster = lightgbm.Booster(model_str=(folder / "model.txt").read_text(encoding="utf-8"))
    return Declined(model, read_ensemble(booster), rows[pds > cut_off])


def reasons_of(schema: Schema, contributions: FloatArray) -> list[Codes]:
    """Return the reason codes of each row, in their order."""
    nothing = [0] * contributions.shape[1]
    return [tuple(push.code for push in principal_reasons(schema, row, nothing)) for row in contributions.tolist()]


def test_reasons_are_deterministic_also_after_reopening_the_bundle(declined: Declined) -> None:
    model = declined.model
    first = reasons_of(declined.schema, model.scorer.contributions(declined.rows))
    again = open_model(model.bundle)

    for _ in range(100):
        assert reasons_of(declined.schema, model.scorer.contributions(declined.rows[:50])) == first[:50]
    assert reasons_of(declined.schema, again.scorer.contributions(declined.rows)) == first
    assert all(reasons for reasons in first)


def test_the_first_two_reasons_are_stable_under_a_bootstrap_of_the_baseline(declined: Declined) -> None:
    bundle = declined.model.bundle
    baseline = _rows_array(list(bundle.baseline.rows))
    expected = [codes[:2] for codes in reasons_of(declined.schema, declined.model.scorer.contributions(declined.rows))]
    agreeing = []
    for seed in range(BOOTSTRAPS):
        drawn = baseline[np.random.default_rng(seed).integers(0, len(baseline), len(baseline))]
        scorer = Scorer(bundle.score, explain_onnx(declined.ensemble, drawn))
        found = [codes[:2] for codes in reasons_of(declined.schema, scorer.contributions(declined.rows))]
        agreeing.append(np.mean([one == other for one, other in zip(found, expected, strict=True)]))

    assert np.mean(agreeing) >= 0.85


def test_rounded_amounts_keep_the_set_of_reasons(declined: Declined) -> None:
    # An amount of 0 stays 0: "no bill" and "nothing paid" are facts of their own, which no rounding makes or takes away.
    expected = [set(codes) for codes in reasons_of(declined.schema, declined.model.scorer.contributions(declined.rows))]
    money = [index for index, name in enumerate(declined.schema.names) if name.startswith(MONEY)]
    amounts = declined.rows[:, money]
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, amounts.shape)
    assert len(money) >= 12

    for rounded in (
        np.round(amounts / 100) * 100,
        np.where(amounts == 0, 0, amounts + noise),
        amounts * (1 + noise / 500),
    ):
        rows = declined.rows.copy()
        rows[:, money] = rounded
        found = [set(codes) for codes in reasons_of(declined.schema, declined.model.scorer.contributions(rows))]

        assert np.mean([one == other for one, other in zip(found, expected, strict=True)]) >= 0.95
