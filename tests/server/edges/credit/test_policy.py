"""GetPolicy returns sections, facts, limits and override reasons of the shipped policy and of a policy with facts."""

import datetime as dt

import grpc

from grounds.credit.v1 import credit_pb2 as pb
from grounds.explain.v1.explain_pb2 import FeatureValue
from server.config import Settings
from tests.conftest import Serving
from tests.server.edges.credit.test_decisions import decide, policy_with_hard_rules, settings_with_policy
from tests.server.requests import call_error, euros
from tests.server.servers import serve

FUTURE = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=400)


async def policy_of(serving: Serving, **request: str) -> pb.GetPolicyResponse:
    """Call GetPolicy."""
    return await serving.credit.GetPolicy(pb.GetPolicyRequest(**request))


async def test_get_policy_returns_every_section_that_decisions_use(serving: Serving) -> None:
    policy, decision = await policy_of(serving), await decide(serving)

    result = decision.assessment.policy_result
    assert (policy.policy_version, policy.policy_sha256) == (result.policy_version, result.policy_sha256)
    assert [(section.market, section.product) for section in policy.sections] == [
        ("DE", "STANDARD"),
        ("FR", "STANDARD"),
    ]
    section = policy.sections[0]
    assert section.in_force
    assert (section.effective_from, section.effective_until) == (result.effective_from, "")
    assert (section.currency_code, section.largest_amount) == ("EUR", euros(50_000))
    assert section.approve_max_pd == decision.assessment.recommendation.approve_max_pd
    assert section.refer_max_pd == decision.assessment.recommendation.refer_max_pd
    assert (section.features_max_age_days, section.valid_days) == (36_000, 30)
    assert not section.hard_rules


async def test_the_reasons_of_overrides_are_in_the_requested_language(serving: Serving) -> None:
    german, _ = (await policy_of(serving, locale="de-AT")).sections

    overrides = german.overrides
    assert overrides.second_person_above == euros(10_000)
    assert [(reason.code, reason.text) for reason in overrides.high_side_reasons] == [
        ("FRAUD_SUSPECTED", "Es besteht Betrugsverdacht")
    ]
    assert [reason.code for reason in overrides.low_side_reasons] == ["NEW_INFORMATION"]


async def test_a_section_without_overrides_has_no_override_rules(serving: Serving) -> None:
    (french,) = (await policy_of(serving, market="FR")).sections

    assert not french.HasField("overrides")


async def test_a_decision_accepts_the_facts_that_the_policy_lists(small_settings: Settings) -> None:
    async with serve(settings_with_policy(small_settings, policy_with_hard_rules())) as serving:
        (section,) = (await policy_of(serving, market="DE", product="STANDARD")).sections
        blocked = next(rule for rule in section.hard_rules if rule.fact == "blocked")
        facts = {"blocked": FeatureValue(level=blocked.passing_levels[0]), "years_in_business": FeatureValue(number=9)}
        decision = await decide(serving, facts=facts)

    assert {rule.code for rule in section.hard_rules} <= {rule.code for rule in decision.assessment.policy_result.rules}
    assert (blocked.WhichOneof("condition"), blocked.level, list(blocked.passing_levels)) == ("level", "yes", ["no"])
    assert blocked.best_decision == pb.DECISION_DECLINE
    years = next(rule for rule in section.hard_rules if rule.fact == "years_in_business")
    assert years.WhichOneof("condition") == "below"
    assert all(rule.best_decision_if_missing for rule in section.hard_rules)
    assert decision.decision == pb.DECISION_APPROVE


async def test_future_sections_are_listed_and_replaced_sections_are_not(small_settings: Settings) -> None:
    text = small_settings.policy.read_text()
    section = text[text.index("[[sections]]") : text.index("[sections.overrides]")]
    later = section.replace("2020-01-01", FUTURE.isoformat())
    earlier = section.replace("2020-01-01", "2019-01-01")
    text = text.replace("[texts.LARGEST_AMOUNT]", f"{later}\n{earlier}\n[texts.LARGEST_AMOUNT]", 1)

    async with serve(settings_with_policy(small_settings, text)) as serving:
        sections = (await policy_of(serving, market="DE")).sections

    assert [(each.effective_from, each.in_force) for each in sections] == [
        ("2020-01-01", True),
        (FUTURE.isoformat(), False),
    ]


async def test_the_limits_of_grades_are_capped_by_the_largest_amount(small_settings: Settings) -> None:
    text = small_settings.policy.read_text().replace(
        "[sections.overrides]", "[sections.limits]\nA = 90000\nB = 20000\n\n[sections.overrides]", 1
    )

    async with serve(settings_with_policy(small_settings, text)) as serving:
        (section,) = (await policy_of(serving, market="DE")).sections

    limits = [(limit.grade, limit.largest_amount) for limit in section.limits]
    assert limits == [("A", euros(50_000)), ("B", euros(20_000))]


async def test_the_shipped_policy_lists_its_fact_and_its_levels(small_settings: Settings) -> None:
    shipped = Settings.model_fields["policy"].default

    async with serve(small_settings.model_copy(update={"policy": shipped})) as serving:
        (section,) = (await policy_of(serving)).sections

    assert (section.market, section.currency_code, len(section.limits)) == ("TW", "TWD", 4)
    (rule,) = section.hard_rules
    assert (rule.fact, rule.level, list(rule.passing_levels)) == ("blocked", "yes", ["no"])
    assert rule.best_decision_if_missing == pb.DECISION_APPROVE
    assert len(section.overrides.high_side_reasons) == 3


async def test_a_market_or_a_product_without_a_section_is_rejected(serving: Serving) -> None:
    for request in ({"market": "IT"}, {"market": "DE", "product": "LEASING"}, {"product": "LEASING"}):
        refused = await call_error(policy_of(serving, **request))

        assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_POLICY")
        assert all(value in refused.message for value in request.values())
