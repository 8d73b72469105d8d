"""A contribution that contradicts a sign is found, and refers the decision to manual review."""

import dataclasses
import datetime as dt
from decimal import Decimal

import numpy as np
import pytest

from models.model import Model, open_model
from models.schema import Schema
from models.sign_conflicts import best_baseline_values, sign_conflicts
from server.decisions.assessment import Assessment, CreditQuestion, assess
from server.decisions.policy import PolicyOutcome, read_policy
from server.decisions.sourced_values import SourcedValue
from tests.small import SmallFamily, made_customers

NOW = dt.datetime(2026, 2, 1, tzinfo=dt.UTC)
TYPICAL = {"days_late": 10.0, "orders": 8.0, "turnover": 60_000.0, "years": 10.0}


@pytest.fixture(scope="module")
def model(small: SmallFamily) -> Model:
    """Open the small family's model: days_late may only raise the risk, turnover may only lower it."""
    return open_model(small.bundle())


def with_sign(model: Model, name: str, sign: int) -> Model:
    """Return the model with a different sign for one feature."""
    document = model.bundle.schema.document
    features = tuple(
        feature.model_copy(update={"sign": sign}) if feature.name == name else feature for feature in document.features
    )
    bundle = dataclasses.replace(model.bundle, schema=Schema(document.model_copy(update={"features": features})))
    return Model(bundle, model.scorer, best_baseline_values(bundle))


def assess_customer(small: SmallFamily, model: Model, **values: float) -> Assessment:
    """Assess a customer with these values."""
    policy = read_policy(small.policy)
    inputs = {name: SourcedValue(value, "STORE", NOW) for name, value in (TYPICAL | values).items()}
    section = policy.section("DE", "STANDARD", NOW.date())
    assert section is not None
    return assess(model, policy, CreditQuestion(section, inputs, {}, Decimal(100), NOW, "en"))


def contradictions(model: Model, values: dict[str, float]) -> tuple[str, ...]:
    """Return the features whose sign is contradicted by their contribution to this customer's risk."""
    return sign_conflicts(model.bundle, model.best_values, values, model.explain(values).contributions)


def test_the_best_value_of_a_signed_feature_is_the_lowest_or_highest_of_the_baseline(model: Model) -> None:
    rows = np.array([[np.nan if cell is None else cell for cell in row] for row in model.bundle.baseline.rows])
    names = model.bundle.schema.names

    assert model.best_values == {
        "days_late": np.nanmin(rows[:, names.index("days_late")]),
        "turnover": np.nanmax(rows[:, names.index("turnover")]),
    }


def test_a_model_that_obeys_its_signs_has_no_conflicts(model: Model) -> None:
    customers = made_customers(400, seed=9)[list(model.bundle.schema.names)]

    for row in customers.to_dict("records"):
        values = {str(name): float(value) for name, value in row.items() if value == value}  # noqa: PLR0124 - NaN
        assert not contradictions(model, values)
        assert not contradictions(model, values | {"days_late": 0.0, "turnover": 1e9})


def test_a_contribution_toward_risk_from_the_best_value_contradicts_the_sign(model: Model) -> None:
    wrong = with_sign(model, "days_late", -1)  # the wrong sign states that more days late lower the risk

    assert contradictions(wrong, TYPICAL | {"days_late": 365.0}) == ("days_late",)
    assert not contradictions(wrong, TYPICAL | {"days_late": 0.0})


def test_a_conflict_refers_the_decision_and_is_recorded_as_a_rule(small: SmallFamily, model: Model) -> None:
    wrong = with_sign(model, "turnover", 1)  # the wrong sign states that more turnover raises the risk

    found, right = (assess_customer(small, each, turnover=100.0) for each in (wrong, model))

    rule = next(rule for rule in found.rules if rule.code == "REASON_AGAINST_SIGN")
    assert rule.best is PolicyOutcome.REFER
    assert found.outcome >= PolicyOutcome.REFER
    assert any(reason.code == "REASON_AGAINST_SIGN" and "turnover" in reason.text for reason in found.reasons)
    assert all(rule.is_passed for rule in right.rules if rule.code == "REASON_AGAINST_SIGN")
