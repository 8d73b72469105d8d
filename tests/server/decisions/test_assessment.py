"""A customer whose score is not approved has a reason of the model, for any values and other rules."""

import dataclasses
import datetime as dt
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from models.bundle import read_bundle
from models.model import Model, open_model
from models.schema import FeatureInput, Schema
from models.sign_conflicts import best_baseline_values
from server.config import Settings
from server.decisions.assessment import Assessment, CreditQuestion, assess, assess_several
from server.decisions.policy import Policy, PolicyOutcome, PolicySection, read_policy
from server.decisions.sourced_values import SourcedValue
from tests.conftest import Released
from tests.small import POLICY, SmallFamily, complete_policy, made_customers

NOW = dt.datetime(2026, 2, 1, tzinfo=dt.UTC)
RULES = 5  # more than an answer has reasons


@pytest.fixture(scope="module")
def model(small: SmallFamily) -> Model:
    """Open the small family's model."""
    return open_model(small.bundle())


def question(section: PolicySection, values: dict[str, FeatureInput], **facts: FeatureInput) -> CreditQuestion:
    """Return a question about a customer with these stored values."""
    inputs = {name: SourcedValue(value, "STORE", NOW) for name, value in values.items()}
    return CreditQuestion(section, inputs, facts, Decimal(100), NOW, "en")


def write_policy(path: Path, pd_max: float) -> Policy:
    """Return a policy that approves up to `pd_max` in DE and has five rules about blocked customers."""
    codes = [f"BLOCKED_{number}" for number in range(RULES)]
    rules = "".join(
        f"""
[[sections.rules]]
code = "{code}"
fact = "blocked"
level = "yes"
passes = ["no"]
decision = "DECLINE"
if_missing = "APPROVE"
"""
        for code in codes
    )
    texts = "".join(f'\n[texts.{code}]\nen = "Blocked"\n' for code in codes)
    limits = f"approve_max_pd = {pd_max}\nrefer_max_pd = 0.999"
    text = POLICY.replace("approve_max_pd = 0.20\nrefer_max_pd = 0.60", limits)
    text = text.replace("[sections.overrides]", rules + "\n[sections.overrides]", 1)
    path.write_text(complete_policy(text + texts))
    return read_policy(path)


def assess_values(
    model: Model, values: dict[str, FeatureInput], path: Path, *, blocked: bool = False, pd_max: float = 0.0001
) -> Assessment:
    """Assess a customer under the policy of `write_policy`."""
    policy = write_policy(path / "policy.toml", pd_max)
    section = policy.section("DE", "STANDARD", NOW.date())
    assert section is not None
    return assess(model, policy, question(section, values, blocked="yes" if blocked else "no"))


def with_reason_rules(model: Model, rules: int) -> Model:
    """Return the model of a bundle with other rules for reasons."""
    document = model.bundle.schema.document.model_copy(update={"reason_rules": rules})
    bundle = dataclasses.replace(model.bundle, schema=Schema(document))
    return Model(bundle, model.scorer, best_baseline_values(bundle))


def kinds(assessment: Assessment) -> list[str]:
    """Return the kinds of the reasons of an assessment."""
    return [reason.kind for reason in assessment.reasons]


def test_a_referred_applicant_at_the_medians_of_the_baseline_has_a_reason_of_the_model(
    model: Model, tmp_path: Path
) -> None:
    medians = {name: value for name, value in model.bundle.baseline.typical.items() if value is not None}

    answer = assess_values(model, medians, tmp_path)

    assert answer.outcome is PolicyOutcome.REFER
    assert kinds(answer)[-1] == "MODEL"
    assert all(name in model.bundle.schema.names for name in answer.reasons[-1].features)
    assert "(typical:" not in answer.reasons[-1].text


def test_every_applicant_who_is_not_approved_has_a_reason_of_the_model(model: Model, tmp_path: Path) -> None:
    safest: dict[str, FeatureInput] = {"days_late": 0.0, "orders": 8.0, "turnover": 5e6, "years": 60.0}
    rows = made_customers(300, seed=1)[list(model.bundle.schema.names)].to_dict("records")
    applicants: list[dict[str, FeatureInput]] = [
        safest,
        *(
            dict[str, FeatureInput]({str(name): float(value) for name, value in row.items() if not np.isnan(value)})
            for row in rows
        ),
    ]

    answers = [assess_values(model, values, tmp_path) for values in applicants]

    assert {answer.outcome for answer in answers} == {PolicyOutcome.REFER}
    assert all("MODEL" in kinds(answer) for answer in answers)
    assert [answer for answer in answers if answer.score and max(answer.score.contributions) < 0.0]  # the hardest case


def test_rules_leave_room_for_a_reason_of_the_model_only_if_the_score_is_not_approved(
    model: Model, tmp_path: Path
) -> None:
    values: dict[str, FeatureInput] = {"days_late": 60.0, "orders": 8.0, "turnover": 50_000.0, "years": 1.0}

    assert kinds(assess_values(model, values, tmp_path, blocked=True)) == ["POLICY"] * 3 + ["MODEL"]
    assert kinds(assess_values(model, values, tmp_path, blocked=True, pd_max=0.99)) == ["POLICY"] * 4
    earlier = with_reason_rules(model, 1)
    assert kinds(assess_values(earlier, values, tmp_path, blocked=True)) == ["POLICY"] * 4  # as it was recorded


def test_every_real_customer_who_is_not_approved_has_a_reason_of_the_model(released: Released) -> None:
    model = open_model(read_bundle(released.bundle_folder("credit")))
    policy = read_policy(Settings.model_fields["policy"].default)
    section = policy.section("TW", "STANDARD", NOW.date())
    assert section is not None
    table = pq.read_table(released.files / "credit.features.parquet").to_pandas()
    rows: pd.DataFrame = table[list(model.bundle.schema.names)].head(6000)

    questions = [question(section, dict(zip(rows.columns, row, strict=True))) for row in rows.to_numpy().tolist()]
    answers = [answer for answer in assess_several(model, policy, questions) if isinstance(answer, Assessment)]

    refused = [answer for answer in answers if answer.score and answer.outcome is not PolicyOutcome.APPROVE]
    assert len(refused) > 2000
    assert all("MODEL" in kinds(answer) for answer in refused)
    assert [answer for answer in refused if "on average" in answer.reasons[-1].text]
