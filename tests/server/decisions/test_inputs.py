"""Tests, without a server, how a credit decision gets its inputs: the policy section, the facts, and the feature values.

A feature value comes from the caller or from the feature store.
"""

import datetime as dt
from dataclasses import replace
from decimal import Decimal

import pytest

from models.bundle import read_bundle
from models.schema import FeatureInput, Schema
from server.decisions.inputs import (
    CreditApplication,
    applicable_section,
    check_fact_sources,
    check_facts,
    compatible_inputs,
    features_without_record,
    merge_inputs,
)
from server.decisions.policy import STANDARD, HardRule, Policy, read_policy
from server.decisions.sourced_values import SourcedValue
from server.errors import CurrencyNotSupported, FeaturesInvalid, NoPolicy
from tests.small import SmallFamily

NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
APPLICATION = CreditApplication("DE", STANDARD, Decimal(500), "EUR", {}, {}, "en")


@pytest.fixture(scope="module")
def policy(small: SmallFamily) -> Policy:
    """Return the policy of the small family."""
    return read_policy(small.policy)


@pytest.fixture(scope="module")
def schema(small: SmallFamily) -> Schema:
    """Return the schema of the small family."""
    return read_bundle(small.bundle_folder).schema


def test_a_value_of_the_caller_replaces_the_stored_value(schema: Schema) -> None:
    stored = {"turnover": 10.0, "years": 3.0}

    inputs = merge_inputs(schema, stored, NOON, {"turnover": 20.0})

    assert inputs == {"turnover": SourcedValue(20.0, "CALLER", None), "years": SourcedValue(3.0, "STORE", NOON)}


def test_without_stored_values_the_model_gets_only_the_values_of_the_caller(schema: Schema) -> None:
    assert merge_inputs(schema, {}, None, {"years": 1.0}) == {"years": SourcedValue(1.0, "CALLER", None)}


def test_a_code_for_a_missing_value_is_left_out_whether_it_is_stored_or_from_the_caller(schema: Schema) -> None:
    document = schema.document
    years = next(one for one in document.features if one.name == "years").model_copy(update={"missing": (98.0,)})
    others = tuple(one for one in document.features if one.name != "years")
    coded = Schema(document.model_copy(update={"features": (*others, years)}))

    assert merge_inputs(coded, {"years": 98.0}, NOON, {}) == {}
    assert merge_inputs(coded, {"years": 3.0}, NOON, {"years": 98.0}) == {}
    assert merge_inputs(coded, {"years": 3.0}, NOON, {}) == {"years": SourcedValue(3.0, "STORE", NOON)}


def test_another_model_gets_the_values_whose_feature_it_has_with_the_same_kind(schema: Schema) -> None:
    inputs = {
        name: SourcedValue(value, "STORE", NOON) for name, value in (("years", 3.0), ("turnover", "a lot"), ("x", 1.0))
    }

    assert set(compatible_inputs(schema, inputs)) == {"years"}


def test_another_model_does_not_get_its_code_for_a_missing_value_as_a_number_and_the_value_counts_as_recorded(
    schema: Schema,
) -> None:
    document = schema.document
    years = next(one for one in document.features if one.name == "years").model_copy(update={"missing": (98.0,)})
    others = tuple(one for one in document.features if one.name != "years")
    coded = Schema(document.model_copy(update={"features": (*others, years)}))
    names = [feature.name for feature in coded.features]
    inputs = {name: SourcedValue(98.0, "STORE", NOON) for name in ("years", "turnover")}

    assert set(compatible_inputs(coded, inputs)) == {"turnover"}
    assert "years" not in features_without_record(coded, list(inputs), inputs)
    assert set(features_without_record(coded, list(inputs), inputs)) == {*names} - {"years", "turnover"}


def test_the_applicable_section_matches_market_product_day_and_currency(policy: Policy) -> None:
    assert applicable_section(policy, APPLICATION, NOON).market == "DE"
    with pytest.raises(NoPolicy, match="no section for product STANDARD in market XX"):
        applicable_section(policy, replace(APPLICATION, market="XX"), NOON)
    with pytest.raises(NoPolicy):
        applicable_section(policy, APPLICATION, NOON.replace(year=1990))
    with pytest.raises(CurrencyNotSupported, match=r"requested_amount\.currency_code: must be EUR in DE"):
        applicable_section(policy, replace(APPLICATION, currency="USD"), NOON)


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        ({"agee": 3.0}, r'facts\["agee"\]: is used by no rule; the rules use: age, residence'),
        ({"age": "three"}, r'facts\["age"\]: must be a number'),
        ({"residence": 3.0}, r'facts\["residence"\]: must be a level'),
        ({"residence": "DEE"}, r'facts\["residence"\]: must be one of: ABROAD, DE'),
    ],
)
def test_the_error_names_the_invalid_fact_and_the_allowed_values(
    policy: Policy, facts: dict[str, FeatureInput], problem: str
) -> None:
    rules = (
        HardRule(code="AGE", fact="age", below=18, decision="DECLINE"),
        HardRule(code="RESIDENCE", fact="residence", level="ABROAD", passes=("DE",), decision="REFER"),
    )
    section = applicable_section(policy, APPLICATION, NOON).model_copy(update={"rules": rules})

    check_facts({"age": 40.0, "residence": "DE"}, section)
    with pytest.raises(FeaturesInvalid, match=problem):
        check_facts(facts, section)


def test_a_fact_may_not_have_the_name_of_a_feature_of_the_store(schema: Schema) -> None:
    check_fact_sources({"turnover": 3.0, "age": 40.0}, schema)
    with pytest.raises(FeaturesInvalid, match=r'facts\["days_late"\]: is read from the feature store'):
        check_fact_sources({"days_late": 3.0}, schema)
