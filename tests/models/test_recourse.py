"""Recourse finds the smallest changes of actionable features that cross the target."""

import itertools
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pandas as pd
import pytest

from models.bundle import Bundle
from models.counterfactual_search import TrialScorer, cheapest_points, crossing_boxes, scored_spans
from models.model import Model, open_model
from models.recourse import ROWS_MAX, Counterfactual, Recourse, RecourseResult
from models.schema import Schema
from tests.models.brute_force import smallest_by_brute_force, smallest_found
from tests.small import SmallFamily, made_customers

TARGET = 0.20
FEATURES = ("days_late", "orders", "turnover", "years")


def with_schema(bundle: Bundle, features: Mapping[str, Mapping[str, object]], actionable: set[str]) -> Bundle:
    """Return the bundle with some fields of some features changed, and with these groups actionable."""
    document = bundle.schema.document
    changed = document.model_copy(
        update={
            "features": tuple(f.model_copy(update=dict(features.get(f.name, {}))) for f in document.features),
            "groups": tuple(g.model_copy(update={"actionable": g.code in actionable}) for g in document.groups),
        }
    )
    return replace(bundle, schema=Schema(changed))


def recourse_of(small: SmallFamily, **features: Mapping[str, object]) -> Recourse:
    """Return recourse for the small family; all of its groups are actionable."""
    return Recourse(open_model(with_schema(small.bundle(), features, {"DELAY", "SIZE"})))


@pytest.fixture(scope="module")
def recourse(small: SmallFamily) -> Recourse:
    return recourse_of(small)


def values_of(row: pd.Series) -> dict[str, float]:
    """Return one customer's values without the missing ones."""
    return {str(name): float(value) for name, value in row.dropna().items()}


def rejected_customers(model: Model, count: int, seed: int = 5) -> list[dict[str, float]]:
    """Return customers whose pd is above the target."""
    made = made_customers(count * 4, seed=seed)[list(FEATURES)]
    everyone = [values_of(row) for _, row in made.iterrows()]
    return [values for values in everyone if model.explain(values).pd > TARGET][:count]


def after(values: Mapping[str, float], answer: Counterfactual) -> dict[str, float]:
    """Return the customer's values after the changes."""
    return {**values, **{change.feature: change.after for change in answer.changes}}


# --- the counterfactuals ---------------------------------------------------------------------------------------------


def test_every_counterfactual_crosses_the_target_and_has_the_resulting_pd_and_score(recourse: Recourse) -> None:
    answered = 0
    for values in rejected_customers(recourse.model, 100):
        for answer in recourse.search(values, TARGET).counterfactuals:
            scored = recourse.model.explain(after(values, answer))
            assert scored.pd <= TARGET
            assert (answer.pd, answer.score) == (scored.pd, scored.score)
            assert all(change.before == values[change.feature] != change.after for change in answer.changes)
            answered += 1
    assert answered > 100


def test_no_change_of_a_counterfactual_can_be_left_out(recourse: Recourse) -> None:
    for values in rejected_customers(recourse.model, 100):
        for answer in recourse.search(values, TARGET).counterfactuals:
            for change in answer.changes:
                without = {**after(values, answer), change.feature: change.before}
                assert recourse.model.explain(without).pd > TARGET


def test_changes_obey_signs_and_bounds_and_keep_whole_and_missing_values(recourse: Recourse) -> None:
    features = {feature.name: feature for feature in recourse.model.bundle.schema.features}
    touched = set()
    for values in rejected_customers(recourse.model, 100):
        for change in [
            change for answer in recourse.search(values, TARGET).counterfactuals for change in answer.changes
        ]:
            feature = features[change.feature]
            assert change.feature in values
            assert (change.after - change.before) * feature.sign <= 0
            assert not recourse.model.bundle.schema._value_problems(change.feature, change.after, decides=False)
            assert change.feature in {"turnover", "years"} or change.after.is_integer()
            touched.add(change.feature)
    assert touched == set(FEATURES)


def test_only_actionable_groups_change(small: SmallFamily) -> None:
    one = Recourse(open_model(with_schema(small.bundle(), {}, {"DELAY"})))
    none = Recourse(open_model(small.bundle()))
    customers = rejected_customers(one.model, 60)

    changed = {
        name
        for values in customers
        for answer in one.search(values, TARGET).counterfactuals
        for name in answer.features
    }

    assert changed == {"days_late", "orders"}
    assert all(none.search(values, TARGET) == RecourseResult((), 1, complete=True) for values in customers)


def test_a_narrower_bound_is_obeyed(small: SmallFamily) -> None:
    narrow = recourse_of(small, days_late={"min": 12.0}, turnover={"max": 90_000.0})

    for values in rejected_customers(narrow.model, 60):
        for change in [change for answer in narrow.search(values, TARGET).counterfactuals for change in answer.changes]:
            assert change.feature != "days_late" or change.after >= 12
            assert change.feature != "turnover" or change.after <= 90_000


def test_a_customer_at_the_target_needs_no_change(recourse: Recourse) -> None:
    values = {"days_late": 0.0, "turnover": 500_000.0, "years": 30.0}
    pd_now = recourse.model.explain(values).pd

    assert recourse.search(values, pd_now) == RecourseResult((), 1, complete=True)
    assert recourse.search(values, math.nextafter(pd_now, 0.0)).rows_scored > 1


def test_the_target_is_inclusive_to_the_last_bit(recourse: Recourse) -> None:
    values = rejected_customers(recourse.model, 1)[0]
    best = recourse.search(values, TARGET).counterfactuals[0]

    assert best in recourse.search(values, best.pd).counterfactuals


def test_an_unreachable_target_has_no_counterfactuals(recourse: Recourse) -> None:
    found = recourse.search(rejected_customers(recourse.model, 1)[0], 1e-9)

    assert (found.counterfactuals, found.complete) == ((), True)


def test_every_counterfactual_crosses_even_if_the_model_violates_a_sign(small: SmallFamily) -> None:
    wrong = recourse_of(small, days_late={"sign": -1}, years={"sign": 1}, orders={"sign": 1})

    for values in rejected_customers(wrong.model, 60):
        for answer in wrong.search(values, TARGET).counterfactuals:
            assert wrong.model.explain(after(values, answer)).pd <= TARGET


# --- the smallest changes --------------------------------------------------------------------------------------------


def test_trying_every_combination_finds_no_smaller_set_and_no_smaller_change(recourse: Recourse) -> None:
    sizes = set()
    for values, target in itertools.product(rejected_customers(recourse.model, 25, seed=9), (TARGET, 0.08, 0.04)):
        wanted = smallest_by_brute_force(recourse, values, target)

        assert smallest_found(recourse, values, target) == wanted

        found = recourse.search(values, target)
        assert found.complete
        # Shrinking to fine steps can only shorten a distance, but may change the order of sets of the same size.
        distances = {tuple(sorted(answer.features)): answer.distance for answer in found.counterfactuals}
        assert set(distances) == {names for names, _ in wanted}
        assert all(distances[names] <= distance + 1e-12 for names, distance in wanted)
        ordered = [(len(answer.changes), answer.distance) for answer in found.counterfactuals]
        assert ordered == sorted(ordered)
        sizes |= {size for size, _ in ordered} or {0}
    assert sizes == {0, 1, 2, 3}


def test_a_search_that_runs_out_of_rows_returns_known_crossings_as_inexact(
    recourse: Recourse,
) -> None:
    short_of = 0
    for values in rejected_customers(recourse.model, 30):
        row = recourse.model.bundle.schema.row(values)
        ample, scant = TrialScorer(recourse.model, row, TARGET, ROWS_MAX), TrialScorer(recourse.model, row, TARGET, 20)
        offers = [grid.candidates(float(row[0, grid.position])) for grid in recourse._grids.values()]
        boxes, _ = crossing_boxes(scored_spans(offers, ample)[0], 1, [], ample)

        found, exact = cheapest_points(boxes, 3, scant, rows_reserved=10)

        assert scant.rows_left >= 0
        assert all(box.is_point for box in found)
        assert all(ample.are_crossing([box.far_corner for box in found]))
        assert [box.names for box in found] == list(dict.fromkeys(box.names for box in found))
        short_of += not exact
    assert short_of > 10


# --- equal answers, and a bounded search -----------------------------------------------------------------------------


def test_equal_requests_have_equal_answers_across_repeats_models_and_threads(
    small: SmallFamily, recourse: Recourse
) -> None:
    customers = rejected_customers(recourse.model, 40)
    once = [recourse.search(values, TARGET) for values in customers]

    assert [recourse.search(dict(reversed(values.items())), TARGET) for values in customers] == once
    assert [recourse_of(small).search(values, TARGET) for values in customers[:3]] == once[:3]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda values: recourse.search(values, TARGET), customers * 4)) == once * 4
