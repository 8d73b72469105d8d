"""Facts of a request: which facts the policy accepts, and which values must come from the store."""

import grpc
import pytest

from grounds.credit.v1 import credit_pb2 as pb
from grounds.explain.v1.explain_pb2 import FeatureValue
from server.config import Settings
from tests.server.edges.credit.test_decisions import decide, policy_with_hard_rules, settings_with_policy
from tests.server.requests import call_error, numbers, score_request, simulate_request
from tests.server.servers import serve


async def test_an_unknown_fact_and_a_fact_of_the_wrong_kind_are_rejected(small_settings: Settings) -> None:
    facts = {"bloked": FeatureValue(level="yes"), "years_in_business": FeatureValue(level="nine")}

    async with serve(settings_with_policy(small_settings, policy_with_hard_rules())) as serving:
        error = await call_error(serving.credit.ScoreCredit(score_request(facts=facts)))

    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FEATURES_INVALID")
    assert set(error.problems) == {'facts["bloked"]', 'facts["years_in_business"]'}
    assert "blocked" in error.problems['facts["bloked"]']


@pytest.mark.parametrize("level", ["Yes", "yes ", "true", "maybe"])
async def test_a_level_unknown_to_its_rule_is_rejected(small_settings: Settings, level: str) -> None:
    facts = {"blocked": FeatureValue(level=level), "years_in_business": FeatureValue(number=9)}

    async with serve(settings_with_policy(small_settings, policy_with_hard_rules())) as serving:
        error = await call_error(serving.credit.ScoreCredit(score_request(facts=facts)))

    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FEATURES_INVALID")
    assert error.problems == {'facts["blocked"]': "must be one of: no, yes"}


async def test_a_rule_without_passes_accepts_every_other_level(small_settings: Settings) -> None:
    facts = {"blocked": FeatureValue(level="maybe"), "years_in_business": FeatureValue(number=9)}

    async with serve(
        settings_with_policy(small_settings, policy_with_hard_rules().replace('passes = ["no"]\n', ""))
    ) as serving:
        assert (await decide(serving, facts=facts)).decision == pb.DECISION_APPROVE


async def test_a_fact_cannot_replace_a_feature_of_the_store_in_a_decision(small_settings: Settings) -> None:
    facts = {"years_in_business": FeatureValue(number=9), "days_late": FeatureValue(number=0)}
    text = policy_with_hard_rules().replace("above = 300", "above = -1")  # every customer fails this rule

    async with serve(settings_with_policy(small_settings, text)) as serving:
        error = await call_error(serving.credit.ScoreCredit(score_request(facts=facts)))
        del facts["days_late"]
        decision = await decide(serving, facts=facts)

    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FEATURES_INVALID")
    assert error.kinds == {'facts["days_late"]': "SOURCE_NOT_ALLOWED"}
    assert "feature store" in error.problems['facts["days_late"]']
    failed = [rule.code for rule in decision.assessment.policy_result.rules if not rule.passed]
    assert failed == ["MANY_DAYS_LATE"]


async def test_a_simulation_may_replace_a_feature_of_the_store_by_a_fact(small_settings: Settings) -> None:
    facts = numbers(days_late=-2)

    async with serve(
        settings_with_policy(small_settings, policy_with_hard_rules().replace("above = 300", "above = -1"))
    ) as serving:
        answers = [(await serving.credit.SimulateCredit(simulate_request(facts=given))).known for given in ({}, facts)]

    passed = [{rule.code: rule.passed for rule in known.policy_result.rules} for known in answers]
    assert [rules["MANY_DAYS_LATE"] for rules in passed] == [False, True]
