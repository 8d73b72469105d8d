"""Recourse of 500 declined applicants who were not used in training, checked with LightGBM itself."""

import itertools
import json
from dataclasses import dataclass, replace
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
import pytest

from models.bundle import read_bundle
from models.counterfactual_search import _CORNERS_MAX
from models.model import Model, open_model
from models.onnx_scorer import FloatArray, Scorer
from models.recourse import ROWS_MAX, Recourse, RecourseResult
from models.schema import Schema
from models.sign_conflicts import best_baseline_values
from tests.conftest import Released
from tests.models.brute_force import smallest_by_brute_force, smallest_found
from tests.oracles import margins, model_thresholds

APPROVE_MAX_PD, REFER_MAX_PD = 0.15, 0.35  # the cut-offs of the shipped policy
ACTIONABLE = {"PAYMENT_DELAY", "REPAYMENTS"}


class CountingScorer(Scorer):
    """A scorer that counts the rows that it scores."""

    counted = 0

    def margins(self, rows: FloatArray) -> FloatArray:
        self.counted += len(rows)
        return super().margins(rows)

    def explain(self, rows: FloatArray) -> tuple[FloatArray, FloatArray]:
        self.counted += len(rows)
        return super().explain(rows)


@dataclass(frozen=True, slots=True)
class Declined:
    """The applicants, their counterfactuals, and the LightGBM model that checks them."""

    folder: Path
    booster: lightgbm.Booster
    recourse: Recourse
    rows: pd.DataFrame
    referred: pd.DataFrame
    found: list[RecourseResult]

    def pds(self, rows: pd.DataFrame) -> FloatArray:
        """Score rows with model.txt in LightGBM and the calibration of scorecard.json."""
        card = json.loads((self.folder / "scorecard.json").read_text())
        log_odds = card["slope"] * margins(self.booster, rows.to_numpy(dtype=np.float64)) + card["intercept"]
        return np.asarray(1.0 / (1.0 + np.exp(-log_odds)))

    def changed_rows(self) -> pd.DataFrame:
        """Return each applicant's row after each of the applicant's counterfactuals."""
        rows = []
        for index, found in enumerate(self.found):
            for answer in found.counterfactuals:
                row = self.rows.iloc[index].copy()
                row[[change.feature for change in answer.changes]] = [change.after for change in answer.changes]
                rows.append(row)
        return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def declined(released: Released) -> Declined:
    folder = released.bundle_folder("credit")
    recourse = Recourse(open_model(read_bundle(folder)))
    everyone = pd.read_parquet(released.files / "credit.features.parquet").query("sample == 'HOLD_OUT'")
    rows = everyone.sort_values("customer_id")[list(recourse.model.bundle.schema.names)].astype(float)
    judge = Declined(folder, lightgbm.Booster(model_file=folder / "model.txt"), recourse, rows, rows, [])
    pds = judge.pds(rows)
    referred, rows = rows[(pds > APPROVE_MAX_PD) & (pds <= REFER_MAX_PD)].head(500), rows[pds > REFER_MAX_PD].head(500)
    found = [recourse.search(row.to_dict(), APPROVE_MAX_PD) for _, row in rows.iterrows()]
    return Declined(folder, judge.booster, recourse, rows, referred, found)


def test_every_counterfactual_crosses_the_cut_off_when_lightgbm_scores_it_again(declined: Declined) -> None:
    pds = declined.pds(declined.changed_rows())

    assert len(declined.rows) == 500
    assert max(pds) <= APPROVE_MAX_PD + 1e-12
    given = [answer.pd for found in declined.found for answer in found.counterfactuals]
    assert np.abs(pds - given).max() < 1e-12


def test_most_declined_applicants_have_recourse_and_every_search_is_complete(declined: Declined) -> None:
    share = sum(bool(found.counterfactuals) for found in declined.found) / len(declined.found)
    rows = [found.rows_scored for found in declined.found]

    assert share > 0.5
    assert max(rows) <= ROWS_MAX / 2
    assert all(found.complete for found in declined.found)


def test_only_actionable_groups_change_toward_less_risk_within_bounds_and_to_whole_numbers(
    declined: Declined,
) -> None:
    schema = declined.recourse.model.bundle.schema
    assert {code for code, group in schema.group.items() if group.actionable} == ACTIONABLE
    features = {feature.name: feature for feature in schema.features}
    for found in declined.found:
        for change in [change for answer in found.counterfactuals for change in answer.changes]:
            feature = features[change.feature]
            assert feature.group in ACTIONABLE
            assert (change.after - change.before) * feature.sign < 0
            assert not schema._value_problems(change.feature, change.after, decides=False)
            assert change.after.is_integer()


def test_every_proposed_value_is_within_the_range_of_the_baseline(declined: Declined) -> None:
    bundle = declined.recourse.model.bundle
    baseline = np.array(bundle.baseline.rows, dtype=float)
    asked = model_thresholds(declined.booster)
    for found in declined.found:
        for change in [change for answer in found.counterfactuals for change in answer.changes]:
            column = bundle.schema.position[change.feature]
            thresholds = [threshold for feature, threshold in asked if feature == column]
            low, high = np.searchsorted(thresholds, [baseline[:, column].min(), baseline[:, column].max()])
            assert low <= np.searchsorted(thresholds, change.after) <= high


def test_no_change_can_be_left_out_and_no_counterfactual_contains_another(declined: Declined) -> None:
    rows = []
    for index, found in enumerate(declined.found):
        for answer in found.counterfactuals:
            for left_out in answer.changes:
                row = declined.rows.iloc[index].copy()
                for change in answer.changes:
                    row[change.feature] = change.before if change is left_out else change.after
                rows.append(row)
        sets = [answer.features for answer in found.counterfactuals]
        assert not any(one <= other for one, other in itertools.permutations(sets, 2))

    assert declined.pds(pd.DataFrame(rows)).min() > APPROVE_MAX_PD


@pytest.mark.parametrize(
    ("who", "target", "size", "applicants"),
    [
        # Many pairs of features cross here, so this case fails if the search returns a pair that is only nearly the
        # smallest.
        ("referred", 0.10, 2, 60),
        pytest.param("rows", APPROVE_MAX_PD, 2, 40, marks=pytest.mark.long),
        pytest.param("rows", APPROVE_MAX_PD, 3, 10, marks=pytest.mark.long),
    ],
)
def test_trying_every_combination_of_steps_finds_no_smaller_change(
    declined: Declined, who: str, target: float, size: int, applicants: int
) -> None:
    seen = 0
    for values in getattr(declined, who).to_dict("records"):
        found = smallest_found(declined.recourse, values, target)
        if seen == applicants:
            break
        if not found or len(found[0][0]) != size:
            continue
        seen += 1

        wanted = smallest_by_brute_force(declined.recourse, values, target, sizes=tuple(range(1, size + 1)))

        assert found[: len(wanted)] == wanted
    assert seen == applicants


def test_without_a_counterfactual_no_three_features_cross_even_at_their_safest_values(declined: Declined) -> None:
    without = declined.rows[[not found.counterfactuals for found in declined.found]]
    best = without.copy()
    for name, grid in declined.recourse._grids.items():
        ends = (None, grid.steps[0]) if grid.feature.sign > 0 else (grid.steps[-1], None)
        best[name] = without[name].clip(*ends)

    assert len(without)
    for names in itertools.combinations(sorted(declined.recourse._grids), 3):
        changed = without.assign(**{name: best[name] for name in names})
        assert declined.pds(changed).min() > APPROVE_MAX_PD


def test_the_number_of_scored_rows_is_bounded_and_an_incomplete_search_is_reported(declined: Declined) -> None:
    bundle = declined.recourse.model.bundle
    document = bundle.schema.document
    groups = tuple(group.model_copy(update={"actionable": True}) for group in document.groups)
    all_actionable = replace(bundle, schema=Schema(document.model_copy(update={"groups": groups})))
    scorer = CountingScorer(bundle.score, bundle.explain)
    wide = Recourse(Model(all_actionable, scorer, best_baseline_values(all_actionable)))
    for index in range(30):
        values = declined.rows.iloc[index].to_dict()
        scorer.counted = 0

        found = wide.search(values, APPROVE_MAX_PD)

        assert found.rows_scored == scorer.counted <= ROWS_MAX
        assert found == wide.search(values, APPROVE_MAX_PD)
        # The bills have no sign, so the search would have to combine every value of a bill with every value of the
        # others.
        assert found.complete == (found.rows_scored <= _CORNERS_MAX)
        assert all(answer.pd <= APPROVE_MAX_PD for answer in found.counterfactuals)
        if declined.found[index].counterfactuals:
            assert len(found.counterfactuals[0].changes) <= len(declined.found[index].counterfactuals[0].changes)
