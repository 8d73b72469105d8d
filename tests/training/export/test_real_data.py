"""Compares the bundles of both families, built by the real commands, with LightGBM and shap on the real data."""

import math
from dataclasses import dataclass
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
import pytest
import shap

from models.bundle import read_bundle
from models.explained_score import ExplainedScore
from models.model import Model, open_model
from models.onnx_scorer import EXPLAIN_OUTPUTS, open_session
from tests.conftest import ROOT, Released
from tests.oracles import FloatArray, margins, model_thresholds
from tests.training.export.example_models import threshold_rows
from training.export.explain import explain_onnx
from training.export.trees import read_ensemble
from training.sources.snapshots import read_log_samples
from training.sources.transaction_log import SourcePaths
from training.spec import read_spec

pytestmark = pytest.mark.timeout(600)  # the first test waits for both families to be trained
FAMILIES = ("credit", "churn")
SHAP_ROWS = 500
BACKGROUND_ROWS = 100
NEAR_SHARE_MAX = 0.05


@dataclass(frozen=True, slots=True)
class RealFamily:
    """One released family.

    Attributes:
        booster: The model that LightGBM reads from model.txt.
        rows: All rows of the family's data.
        answers: The bundle's explained score of every row.
    """

    family: str
    model: Model
    booster: lightgbm.Booster
    rows: FloatArray
    answers: list[ExplainedScore]


def data_path(family: str, released: Released) -> Path:
    """Return the path of the family's data: the table, or the feature file of the transaction log."""
    if family == "credit":
        return ROOT / "training/data/uci_default_of_credit_card_clients.parquet"
    return released.files / f"{family}.features.parquet"


@pytest.fixture(scope="module", params=FAMILIES)
def real(request: pytest.FixtureRequest, released: Released) -> RealFamily:
    """Open one released family and explain every row of its data."""
    folder = released.bundle_folder(request.param)
    model = open_model(read_bundle(folder))
    booster = lightgbm.Booster(model_str=(folder / "model.txt").read_text(encoding="utf-8"))
    table = pd.read_parquet(data_path(request.param, released))
    rows = np.ascontiguousarray(table[list(model.bundle.schema.names)].to_numpy(dtype=np.float64))
    return RealFamily(request.param, model, booster, rows, model.explain_rows(rows))


def rows_with_missing_values(rows: FloatArray) -> FloatArray:
    """Return rows with a random share of their values missing; in the first row all values are missing."""
    random = np.random.default_rng(11)
    gaps = rows[random.integers(0, len(rows), 3000)].copy()
    gaps[random.random(gaps.shape) < random.random((len(gaps), 1))] = np.nan
    gaps[0] = np.nan
    return gaps


def different_margin_count(real: RealFamily, rows: FloatArray) -> int:
    """Return the number of rows whose margin differs from LightGBM's margin in at least one bit."""
    return int((real.model.scorer.margins(rows) != margins(real.booster, rows)).sum())


def test_every_row_of_the_data_has_the_margin_of_lightgbm_to_the_bit(real: RealFamily) -> None:
    assert len(real.rows) == {"credit": 30_000, "churn": 2_323}[real.family]
    assert different_margin_count(real, real.rows) == 0
    assert [answer.margin for answer in real.answers] == margins(real.booster, real.rows).tolist()


def test_every_threshold_and_both_its_neighbours_have_the_margin_of_lightgbm_to_the_bit(real: RealFamily) -> None:
    """Each threshold and each of its neighbours is tested in ten different rows."""
    rows = np.concatenate([threshold_rows(real.booster, real.rows[first::10]) for first in range(10)])

    assert len(rows) == 10 * 3 * len(model_thresholds(real.booster)) > 5000
    assert different_margin_count(real, rows) == 0


def test_rows_with_missing_values_have_the_margin_of_lightgbm_to_the_bit(real: RealFamily) -> None:
    assert different_margin_count(real, rows_with_missing_values(real.rows)) == 0


@pytest.mark.long
def test_every_customer_of_every_snapshot_has_the_margin_of_lightgbm_to_the_bit(real: RealFamily) -> None:
    if real.family != "churn":
        pytest.skip("a table has no snapshots")
    samples, _ = read_log_samples(read_spec(ROOT / "training/churn.toml"), SourcePaths(), 1)

    assert len(samples.rows) > 15_000
    assert different_margin_count(real, samples.features(samples.rows)) == 0


def near_thresholds(booster: lightgbm.Booster, rows: FloatArray) -> FloatArray:
    """Return a mask of rows with a value within one float32 unit of a threshold, because shap computes in float32."""
    near = np.zeros(len(rows), dtype=np.bool_)
    for feature, threshold in model_thresholds(booster):
        values = rows[:, feature]
        unit = np.maximum(np.spacing(np.abs(values).astype(np.float32)), np.spacing(np.float32(abs(threshold))))
        near |= np.abs(values - threshold) <= unit
    return near


def test_contributions_equal_those_of_shap_away_from_thresholds(real: RealFamily) -> None:
    """Explain 500 rows with 100 background rows. All rows are rounded to float32 first, because shap rounds them."""
    order = np.random.default_rng(5).permutation(len(real.rows))
    rounded = real.rows.astype(np.float32).astype(np.float64)
    near = near_thresholds(real.booster, rounded)
    background = rounded[[index for index in order[SHAP_ROWS:] if not near[index]][:BACKGROUND_ROWS]]
    left_out = int(near[order[:SHAP_ROWS]].sum())
    rows = rounded[[index for index in order[:SHAP_ROWS] if not near[index]]]

    explainer = shap.TreeExplainer(
        real.booster,
        shap.maskers.Independent(background, max_samples=BACKGROUND_ROWS),
        feature_perturbation="interventional",
    )
    wanted = explainer.shap_values(rows)
    found = open_session(explain_onnx(read_ensemble(real.booster), background), EXPLAIN_OUTPUTS).run(
        None, {"rows": rows}
    )[0]

    assert left_out <= NEAR_SHARE_MAX * SHAP_ROWS
    assert explainer.data.shape == (BACKGROUND_ROWS, rows.shape[1])
    np.testing.assert_allclose(found, wanted, rtol=0.0, atol=1e-6)
    assert margins(real.booster, background).mean() == pytest.approx(explainer.expected_value, abs=1e-6)


def test_the_contributions_of_every_row_and_the_base_value_add_up_to_its_log_odds(real: RealFamily) -> None:
    residuals = [answer.log_odds - math.fsum([answer.base_value, *answer.contributions]) for answer in real.answers]

    assert max(map(abs, residuals)) <= 1e-9


def test_the_points_of_every_row_and_the_base_points_are_its_score(real: RealFamily) -> None:
    assert all(answer.base_points + sum(answer.points) == answer.score for answer in real.answers)
    assert len({answer.base_points for answer in real.answers}) == 1


def test_each_point_of_every_row_is_within_one_of_its_exact_value(real: RealFamily) -> None:
    points = np.array([answer.points for answer in real.answers])
    contributions = np.array([answer.contributions for answer in real.answers])
    exact = -real.model.bundle.scorecard.pdo / math.log(2.0) * contributions

    assert np.abs(points - exact).max() <= 1.0 + 1e-9
    assert not points[contributions == 0.0].any()


def test_the_base_value_is_the_calibrated_mean_margin_of_the_baseline(real: RealFamily) -> None:
    bundle = real.model.bundle
    baseline = np.array(bundle.baseline.rows, dtype=np.float64)

    mean = math.fsum(margins(real.booster, baseline)) / len(baseline)

    wanted = bundle.scorecard.slope * mean + bundle.scorecard.intercept
    assert [answer.base_value for answer in real.answers] == pytest.approx([wanted] * len(real.rows), abs=1e-12)


def test_every_score_is_the_published_scaling_of_its_pd(real: RealFamily) -> None:
    """A score of 600 points means odds of 50:1, and 20 more points double the odds."""
    pds = np.array([answer.pd for answer in real.answers])
    exact = 487.1229 + 28.8539 * np.log((1.0 - pds) / pds)

    assert np.abs(np.array([answer.score for answer in real.answers]) - exact).max() <= 0.5 + 1e-3


def test_one_customer_has_the_same_answer_alone_and_in_a_batch(real: RealFamily) -> None:
    for index in range(0, len(real.rows), 997):
        assert real.model.explain_rows(real.rows[index : index + 1]) == [real.answers[index]]
