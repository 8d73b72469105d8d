"""The reasons of declined applicants under the released credit model are deterministic and stable."""

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
class DeclinedApplicants:
    """The applicants whom the policy declines, and the model that scored them.

    Attributes:
        model: The released credit model.
        ensemble: The trees of the model.
        rows: Features of the declined applicants of the hold-out, shape (n, n_features).
    """

    model: Model
    ensemble: Ensemble
    rows: FloatArray

    @property
    def schema(self) -> Schema:
        """Return the schema of the model."""
        return self.model.bundle.schema


@pytest.fixture(scope="module")
def declined(released: Released) -> DeclinedApplicants:
    """Return the hold-out applicants whom the shipped policy declines."""
    folder = next(path for path in (released.bundles / "credit").iterdir() if path.is_dir())
    model = open_model(read_bundle(folder))
    table = pq.read_table(released.files / "credit.features.parquet").to_pandas()
    table = table[table["sample"] == "HOLD_OUT"]
    rows = np.ascontiguousarray(table[list(model.bundle.schema.names)].to_numpy(dtype=np.float64))
    cut_off = read_policy(Settings().policy).document.sections[0].refer_max_pd
    pds = np.array([answer.pd for answer in model.explain_rows(rows)])
    booster = lightgbm.Booster(model_str=(folder / "model.txt").read_text(encoding="utf-8"))
    return DeclinedApplicants(model, read_ensemble(booster), rows[pds > cut_off])


def reason_codes(schema: Schema, contributions: FloatArray) -> list[Codes]:
    """Return the reason codes of each row, in descending order of their contributions."""
    no_points = [0] * contributions.shape[1]
    return [
        tuple(reason.code for reason in principal_reasons(schema, row, no_points)) for row in contributions.tolist()
    ]


def test_reasons_are_equal_in_every_call_and_after_the_bundle_is_reopened(declined: DeclinedApplicants) -> None:
    model = declined.model
    first = reason_codes(declined.schema, model.scorer.contributions(declined.rows))
    reopened = open_model(model.bundle)

    for _ in range(100):
        assert reason_codes(declined.schema, model.scorer.contributions(declined.rows[:50])) == first[:50]
    assert reason_codes(declined.schema, reopened.scorer.contributions(declined.rows)) == first
    assert all(reasons for reasons in first)


@pytest.mark.timeout(300)
def test_the_first_two_reasons_are_stable_under_a_bootstrap_of_the_baseline(declined: DeclinedApplicants) -> None:
    bundle = declined.model.bundle
    baseline = _rows_array(list(bundle.baseline.rows))
    expected = [
        codes[:2] for codes in reason_codes(declined.schema, declined.model.scorer.contributions(declined.rows))
    ]
    agreeing = []
    for seed in range(BOOTSTRAPS):
        drawn = baseline[np.random.default_rng(seed).integers(0, len(baseline), len(baseline))]
        scorer = Scorer(bundle.score, explain_onnx(declined.ensemble, drawn))
        found = [codes[:2] for codes in reason_codes(declined.schema, scorer.contributions(declined.rows))]
        agreeing.append(np.mean([actual == wanted for actual, wanted in zip(found, expected, strict=True)]))

    assert np.mean(agreeing) >= 0.85


def test_rounding_the_amounts_of_money_does_not_change_the_set_of_reasons(declined: DeclinedApplicants) -> None:
    # An amount of 0 is not changed, because noise would turn "no bill" or "nothing paid" into a different fact.
    expected = [
        set(codes) for codes in reason_codes(declined.schema, declined.model.scorer.contributions(declined.rows))
    ]
    money = [index for index, name in enumerate(declined.schema.names) if name.startswith(MONEY)]
    amounts = declined.rows[:, money]
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, amounts.shape)
    assert len(money) >= 12

    for changed in (
        np.round(amounts / 100) * 100,
        np.where(amounts == 0, 0, amounts + noise),
        amounts * (1 + noise / 500),
    ):
        rows = declined.rows.copy()
        rows[:, money] = changed
        found = [set(codes) for codes in reason_codes(declined.schema, declined.model.scorer.contributions(rows))]

        assert np.mean([actual == wanted for actual, wanted in zip(found, expected, strict=True)]) >= 0.95
