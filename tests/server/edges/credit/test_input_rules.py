"""A policy may refer decisions about inputs of which the model knows too little; rule, reason and features are recorded."""

import datetime as dt
from pathlib import Path

import pytest

from grounds.audit.v1 import evidence_pb2
from grounds.credit.v1 import credit_pb2 as pb
from models.bundle import read_bundle, write_bundle
from models.catalog import activate
from server.config import Settings
from server.decisions.input_rules import input_rule_results
from server.decisions.policy import PolicyOutcome, PolicySection, parse_policy
from server.decisions.sourced_values import SourcedValue
from server.errors import PolicyRefused
from tests.conftest import Serving
from tests.models.changed_bundles import read_files, read_manifest
from tests.server.edges.credit.test_decisions import GENEROUS, decide, move_section_last, settings_with_policy
from tests.server.requests import numbers
from tests.server.servers import serve
from tests.small import SmallFamily

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
OUTSIDE = '[[sections.input_rules]]\ncode = "FAR_OUT"\nwhen = "outside_range"\n\n'
OLD = (
    '[[sections.input_rules]]\ncode = "OLD_DELAYS"\nwhen = "older_than"\nmax_age_days = 30\n'
    'features = ["days_late"]\n\n'
)
TEXTS = """[texts.FAR_OUT]
en = "The model saw no such values of {features}"
de = "Solche Werte kennt das Modell nicht: {features}"

[texts.OLD_DELAYS]
en = "{features}: {days} days old, at most {allowed_days} are allowed"

"""


def policy_with(rules: str, texts: str = TEXTS) -> str:
    """Return the generous policy with input rules for DE."""
    return move_section_last(GENEROUS, "DE").replace("[texts.", rules + texts + "[texts.", 1)


def section_with(rules: str) -> PolicySection:
    """Return the section of DE with input rules."""
    return next(
        each for each in parse_policy(policy_with(rules).encode(), "test").document.sections if each.market == "DE"
    )


async def replay(serving: Serving, decision: pb.CreditDecision) -> evidence_pb2.ReplayResult:
    """Replay a decision with the recorded model and policy."""
    request = evidence_pb2.ReplayDecisionRequest(
        decision_id=decision.record_ref.decision_id, purpose="test", modes=[evidence_pb2.REPLAY_MODE_SCORE]
    )
    (result,) = (await serving.audit.ReplayDecision(request)).results
    return result


async def test_a_value_outside_the_range_of_training_is_referred_with_its_reason_and_replays(
    small_settings: Settings, small: SmallFamily
) -> None:
    population = small.bundle().population
    assert population is not None
    largest = population.features["turnover"].max
    assert largest is not None
    async with serve(settings_with_policy(small_settings, policy_with(OUTSIDE))) as serving:
        inside = await decide(serving, features=numbers(turnover=largest))
        outside = await decide(serving, features=numbers(turnover=largest * 1.001), locale="de")
        replayed = await replay(serving, outside)
        (section,) = (
            each
            for each in (await serving.credit.GetPolicy(pb.GetPolicyRequest())).sections
            if each.market == "DE" and each.in_force
        )

    assert inside.decision == pb.DECISION_APPROVE
    assert outside.decision == pb.DECISION_REFER
    reason = outside.assessment.reasons.reasons[0]
    assert (reason.code, list(reason.features)) == ("FAR_OUT", ["turnover"])
    assert reason.text == "Solche Werte kennt das Modell nicht: turnover"
    assert outside.assessment.HasField("model_output")
    assert replayed.match.compared_count > 10
    assert [(each.code, each.condition) for each in section.input_rules] == [
        ("FAR_OUT", pb.INPUT_CONDITION_OUTSIDE_RANGE)
    ]


async def test_a_bundle_without_ranges_refers_every_decision_under_a_rule_about_ranges(
    small_settings: Settings, small: SmallFamily, tmp_path: Path
) -> None:
    manifest, files = read_manifest(small.bundle_folder), read_files(small.bundle_folder)
    del files["population.json"]
    bundles = tmp_path / "format-1"
    old = write_bundle(bundles, manifest.model_copy(update={"format": 1}), files)
    activate(bundles, old.name)
    settings = settings_with_policy(small_settings, policy_with(OUTSIDE)).model_copy(update={"bundles": bundles})
    async with serve(settings) as serving:
        decision = await decide(serving)

    assert read_bundle(old).population is None
    assert decision.decision == pb.DECISION_REFER
    assert set(decision.assessment.reasons.reasons[0].features) >= {"days_late"}


@pytest.mark.parametrize(
    ("days_old", "feature", "outcome"),
    [
        (30, "days_late", PolicyOutcome.APPROVE),
        (31, "days_late", PolicyOutcome.REFER),
        (31, "orders", PolicyOutcome.APPROVE),
    ],
)
def test_a_stored_value_older_than_the_rule_allows_is_referred(
    small: SmallFamily, days_old: int, feature: str, outcome: PolicyOutcome
) -> None:
    stored = SourcedValue(3.0, "STORE", NOW - dt.timedelta(days=days_old))

    (result,) = input_rule_results(section_with(OLD), small.bundle(), {feature: stored}, NOW)

    assert result.best is outcome
    failed = outcome is PolicyOutcome.REFER
    assert result.features == ((feature,) if failed else ())
    assert result.facts == {
        "features": feature if failed else "",
        "days": 31.0 if failed else 0.0,
        "allowed_days": 30.0,
    }


def test_a_value_of_the_caller_has_no_age(small: SmallFamily) -> None:
    given = {"days_late": SourcedValue(3.0, "CALLER", None)}

    (result,) = input_rule_results(section_with(OLD), small.bundle(), given, NOW)

    assert result.is_passed


@pytest.mark.parametrize(
    ("rules", "texts", "problem"),
    [
        (OLD.replace("max_age_days = 30\n", ""), TEXTS, "max_age_days: is required"),
        (OUTSIDE.replace("\n\n", "\nmax_age_days = 3\n\n"), TEXTS, "max_age_days: is required"),
        (OUTSIDE.replace("FAR_OUT", "GRADE_LIMIT"), TEXTS, "belongs to a built-in rule"),
        (OUTSIDE + OUTSIDE, TEXTS, "each code must be unique; used more than once: FAR_OUT"),
        (OUTSIDE.replace("outside_range", "far_away"), TEXTS, "when"),
        (OUTSIDE, "", "texts.FAR_OUT.en is missing"),
        (OUTSIDE, TEXTS.replace("of {features}", "of {value}"), "allowed placeholders: features, days, allowed_days"),
    ],
)
def test_an_invalid_rule_is_refused_with_its_field(rules: str, texts: str, problem: str) -> None:
    with pytest.raises(PolicyRefused, match=problem):
        parse_policy(policy_with(rules, texts).encode(), "test")
