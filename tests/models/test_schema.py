"""Values are encoded in the order of the model's columns, and all problems of the values are reported together."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from models.bundle_documents import FeatureSpec, GroupSpec, SchemaDocument
from models.schema import Schema

GROUP = GroupSpec(code="ALL", texts={"en": "All"})


def feature(name: str, **more: Any) -> FeatureSpec:
    """Return a feature with the fields that a test needs."""
    return FeatureSpec.model_validate({"name": name, "description": name, "group": "ALL", **more})


def schema(*features: FeatureSpec) -> Schema:
    """Return a schema of these features."""
    return Schema(SchemaDocument(features=features, groups=(GROUP,)))


FIVE = schema(
    feature("age", min=0, max=120, unit="years", mandatory=True, source="EITHER"),
    feature("income", min=0, unit="EUR", source="CALLER"),
    feature("balance", max=0, unit="EUR", mandatory=True),
    feature("ratio", source="CALLER"),
    feature("delay", unit="days", source="CALLER"),
)


@settings(deadline=None, derandomize=True)
@given(values=st.dictionaries(st.sampled_from(FIVE.names), st.floats(allow_nan=False)))
def test_a_row_has_each_value_in_the_column_of_its_feature_and_nan_for_absent_features(
    values: dict[str, float],
) -> None:
    row = FIVE.row(values)

    assert row.shape == (1, 5)
    assert row.dtype == np.float64
    for name, cell in zip(FIVE.names, row[0].tolist(), strict=True):
        assert cell == values[name] if name in values else math.isnan(cell)
    assert np.array_equal(FIVE.row(dict(reversed(values.items()))), row, equal_nan=True)


def test_0_is_a_value_and_not_missing() -> None:
    assert FIVE.row({"age": 0.0})[0, 0] == 0.0


def test_missing_mandatory_features_are_listed_in_the_order_of_the_schema() -> None:
    assert FIVE.missing_mandatory(["ratio"]) == ["age", "balance"]
    assert FIVE.missing_mandatory({"balance": -1.0}) == ["age"]
    assert FIVE.missing_mandatory(FIVE.names) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("age", 0.0), ("age", 120.0), ("income", 1e12), ("balance", -0.0), ("ratio", -1e300), ("income", 0.0)],
)
def test_a_value_on_its_bounds_has_no_problem(name: str, value: float) -> None:
    assert FIVE.problems({name: value}, decides=False) == []


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("age", math.nextafter(120.0, 121.0), "must be from 0 to 120 years"),
        ("age", -5e-324, "must be from 0 to 120 years"),
        ("income", -1.0, "must be at least 0 EUR"),
        ("balance", 1.0, "must be at most 0 EUR"),
        ("ratio", math.nan, "must be a finite number"),
        ("ratio", math.inf, "must be a finite number"),
        ("delay", -math.inf, "must be a finite number of days"),
        ("income", math.inf, "must be at least 0 EUR"),
        ("age", math.nan, "must be from 0 to 120 years"),
    ],
)
def test_a_value_out_of_range_is_reported_with_the_allowed_range(name: str, value: float, problem: str) -> None:
    (found,) = FIVE.problems({name: value}, decides=False)

    assert (found.feature, found.kind, found.problem) == (name, "OUT_OF_RANGE", problem)


def test_a_level_for_a_number_is_reported_as_the_wrong_kind() -> None:
    (found,) = FIVE.problems({"age": "old"}, decides=False)

    assert (found.feature, found.kind) == ("age", "WRONG_KIND")
    assert "old" not in found.problem


def test_an_unknown_feature_is_reported_with_the_known_ones() -> None:
    (found,) = FIVE.problems({"Age": 3.0}, decides=True)

    assert (found.feature, found.kind) == ("Age", "UNKNOWN_FEATURE")
    assert found.problem.endswith("the model has age, income, balance, ratio, delay")


def test_the_message_lists_only_the_first_twenty_known_features() -> None:
    many = schema(*(feature(f"f{number}") for number in range(21)))

    (found,) = many.problems({"other": 1.0}, decides=False)

    assert "f19, ..." in found.problem
    assert "f20" not in found.problem


def test_a_value_for_a_store_feature_is_rejected_only_in_a_decision() -> None:
    (found,) = FIVE.problems({"balance": -1.0}, decides=True)

    assert (found.feature, found.kind) == ("balance", "SOURCE_NOT_ALLOWED")
    assert FIVE.problems({"balance": -1.0}, decides=False) == []
    assert FIVE.problems({"age": 3.0, "income": 3.0}, decides=True) == []


def test_all_problems_are_reported_together_sorted_by_name() -> None:
    values: dict[str, float | str] = {"ratio": "x", "balance": 4.0, "nothing": 1.0, "age": -1.0, "income": 5.0}

    found = FIVE.problems(values, decides=True)

    assert [(problem.feature, problem.kind) for problem in found] == [
        ("age", "OUT_OF_RANGE"),
        ("balance", "SOURCE_NOT_ALLOWED"),
        ("balance", "OUT_OF_RANGE"),
        ("nothing", "UNKNOWN_FEATURE"),
        ("ratio", "WRONG_KIND"),
    ]


def test_no_problem_contains_the_value() -> None:
    for value in (987654.321, -987654.321):
        for problem in FIVE.problems(dict.fromkeys(FIVE.names, value), decides=True):
            assert "987" not in problem.problem


CHANGES_MEANING: dict[str, dict[str, Any]] = {
    "name": {"name": "b"},
    "unit": {"unit": "USD"},
    "min": {"min": 1},
    "max": {"max": 8},
}
KEEPS_MEANING: dict[str, dict[str, Any]] = {
    "description": {"description": "other words"},
    "sign": {"sign": 1},
    "source": {"source": "CALLER"},
    "mandatory": {"mandatory": True},
    "texts": {"texts": {"en": "{value}"}},
}
PLAIN: dict[str, Any] = {"name": "a", "unit": "EUR", "min": 0, "max": 9}


@pytest.mark.parametrize("change", CHANGES_MEANING)
def test_the_digest_of_a_feature_set_changes_if_the_meaning_of_a_stored_value_changes(change: str) -> None:
    other = schema(feature(**{**PLAIN, **CHANGES_MEANING[change]}))

    assert other.feature_set_digest != schema(feature(**PLAIN)).feature_set_digest


@pytest.mark.parametrize("change", KEEPS_MEANING)
def test_the_digest_of_a_feature_set_stays_if_the_meaning_of_a_stored_value_stays(change: str) -> None:
    other = schema(feature(**{**PLAIN, **KEEPS_MEANING[change]}))

    assert other.feature_set_digest == schema(feature(**PLAIN)).feature_set_digest


def test_the_same_features_in_a_different_order_are_a_different_feature_set() -> None:
    one, other = feature("a"), feature("b")

    assert schema(one, other).feature_set_digest != schema(other, one).feature_set_digest


@pytest.mark.parametrize(
    "more",
    [{"name": "a b"}, {"name": "{x}"}, {"name": ""}, {"sign": 2}, {"kind": "level"}, {"min": math.nan}, {"group": "a"}],
)
def test_an_invalid_feature_specification_is_rejected(more: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        feature(**{"name": "a", **more})


def test_a_level_is_found_in_any_spelling_and_with_white_space_around_it() -> None:
    """A caller may send the letter as two code points, and a model of an earlier release may have such a level."""
    composed, decomposed = "Café", "Cafe\u0301"
    for level in (composed, decomposed):
        cafe = schema(feature("kind", kind="category", levels=["Bar", level]))

        assert cafe.encode_value("kind", level) == 1.0
        assert {cafe.encode_value("kind", text) for text in (composed, decomposed, f" {decomposed} ")} == {1.0}
        assert cafe.encode_value("kind", "Cafe") == -1.0

    both = schema(feature("kind", kind="category", levels=[decomposed, composed]))
    assert [both.encode_value("kind", level) for level in (decomposed, composed)] == [0.0, 1.0]


def test_the_codes_of_a_missing_value_are_valid_and_absent_from_the_file_of_a_schema_without_codes() -> None:
    coded = schema(feature("late", max=95, missing=[96, 98], source="CALLER"))

    assert coded.problems({"late": 98.0}, decides=True) == []
    assert [problem.kind for problem in coded.problems({"late": 97.0}, decides=True)] == ["OUT_OF_RANGE"]
    assert coded.stands_for_missing("late", 96.0)
    assert not coded.stands_for_missing("late", 95.0)
    assert '"missing":[96.0,98.0]' in coded.document.model_dump_json()
    assert "missing" not in FIVE.document.model_dump_json()
