"""Decisions of the policy through a running server: amounts, limits, hard rules and dates."""

import datetime as dt
from itertools import pairwise

import grpc
import pytest

from grounds.credit.v1 import credit_pb2 as pb
from grounds.explain.v1 import explain_pb2
from grounds.explain.v1.explain_pb2 import FeatureValue
from server.config import Settings
from server.decisions.policy import read_policy
from server.errors import PolicyRefused
from tests.conftest import Serving
from tests.server.requests import call_error, customer, euros, numbers, score_request, simulate_request
from tests.server.servers import activate_new_policy, serve, wait_until
from tests.small import POLICY, complete_policy

RULES = """
[[sections.rules]]
code = "CUSTOMER_BLOCKED"
fact = "blocked"
level = "yes"
passes = ["no"]
decision = "DECLINE"
if_missing = "APPROVE"

[[sections.rules]]
code = "FIRM_TOO_YOUNG"
fact = "years_in_business"
below = 2
decision = "REFER"

[[sections.rules]]
code = "MANY_DAYS_LATE"
fact = "days_late"
above = 300
decision = "DECLINE"

[texts.CUSTOMER_BLOCKED]
en = "Blocked: {value}"

[texts.FIRM_TOO_YOUNG]
en = "In business for {value} years, {bound} are needed"

[texts.MANY_DAYS_LATE]
en = "{value} days late"
"""
GENEROUS = POLICY.replace("approve_max_pd = 0.20", "approve_max_pd = 0.99").replace(
    "refer_max_pd = 0.60", "refer_max_pd = 1"
)


def settings_with_policy(settings: Settings, text: str) -> Settings:
    """Return settings with a policy file of the given text."""
    path = settings.bundles.parent / "other_policy.toml"
    path.write_text(complete_policy(text))
    return settings.model_copy(update={"policy": path})


def move_section_last(text: str, market: str) -> str:
    """Move a market's section to the end, so that appended rules belong to it."""
    head, _, rest = text.partition("[[sections]]")
    sections, _, texts = rest.partition("[texts.LARGEST_AMOUNT]")
    parts = sections.split("[[sections]]")
    parts.sort(key=lambda part: f'market = "{market}"' in part)
    return head + "".join("[[sections]]" + part for part in parts) + "[texts.LARGEST_AMOUNT]" + texts


def policy_with_hard_rules() -> str:
    """Return the generous policy with hard rules for DE."""
    text = move_section_last(GENEROUS, "DE")
    rules, texts = RULES.split("[texts.", 1)
    return text.replace("[texts.LARGEST_AMOUNT]", rules + "[texts." + texts + "\n[texts.LARGEST_AMOUNT]", 1)


async def decide(serving: Serving, **changes: object) -> pb.CreditDecision:
    """Return a decision."""
    return (await serving.credit.ScoreCredit(score_request(**changes))).credit_decision


async def test_a_larger_amount_changes_only_the_policy_result_and_never_improves_it(serving: Serving) -> None:
    outcomes = set()
    for number in range(0, 24, 2):
        answers = []
        for amount in (euros(0, 1), euros(10_000), euros(50_000), euros(50_000, 1), euros(10**12)):
            features = numbers(turnover=20_000.0 * (number + 1))
            answers.append(
                await decide(
                    serving, customer=customer("DE", f"C{number:05d}"), requested_amount=amount, features=features
                )
            )
        outcomes.update(answer.decision for answer in answers)

        assert all(before.decision <= after.decision for before, after in pairwise(answers))
        for part in ("model_output", "explanation", "recommendation"):
            assert len({getattr(answer.assessment, part).SerializeToString() for answer in answers}) == 1
        assert len({answer.assessment.policy_result.approvable_amount.SerializeToString() for answer in answers}) == 1
        assert answers[2].decision == answers[0].decision  # the rule still allows the largest amount itself
        assert answers[3].decision >= pb.DECISION_REFER
    assert outcomes == {pb.DECISION_APPROVE, pb.DECISION_REFER, pb.DECISION_DECLINE}


async def test_an_amount_above_the_limit_is_the_first_reason_in_the_requested_language(serving: Serving) -> None:
    assessment = (await decide(serving, requested_amount=euros(50_001), locale="de-AT")).assessment

    reason = assessment.reasons.reasons[0]
    assert assessment.reasons.locale == "de"
    assert (reason.code, reason.type) == ("LARGEST_AMOUNT", explain_pb2.REASON_TYPE_POLICY)
    assert reason.text == "Mehr als 50.000 EUR"
    assert len(assessment.reasons.reasons) <= 4


async def test_a_decision_contains_policy_expected_loss_and_expiry(serving: Serving) -> None:
    decision = await decide(serving, requested_amount=euros(10_000))

    result, output = decision.assessment.policy_result, decision.assessment.model_output
    assert (result.policy_version, result.product, result.effective_from) == ("test-1", "STANDARD", "2020-01-01")
    assert result.policy_sha256 == read_policy(serving.settings.policy).sha256
    loss = result.expected_loss.units + result.expected_loss.nanos / 1e9
    assert loss == pytest.approx(output.pd * 0.45 * 10_000, abs=0.005)
    assert result.lgd == 0.45
    held = decision.expire_time.ToDatetime() - decision.record_ref.decide_time.ToDatetime()
    assert held == dt.timedelta(days=30)


async def test_the_limit_of_a_grade_applies_and_is_a_reason(small_settings: Settings) -> None:
    limits = "limits = {A = 4000, B = 4000, C = 4000, D = 4000, E = 4000, F = 4000, G = 4000}\n"
    text = GENEROUS.replace("valid_days = 30\n", "valid_days = 30\n" + limits)

    async with serve(settings_with_policy(small_settings, text)) as serving:
        within = await decide(serving, requested_amount=euros(4000))
        above = await decide(serving, requested_amount=euros(4001))

    assert within.decision == pb.DECISION_APPROVE
    assert above.decision == pb.DECISION_APPROVE_REDUCED
    assert above.assessment.policy_result.approvable_amount.units == 4000
    first = above.assessment.reasons.reasons[0]
    assert (first.code, first.type) == ("GRADE_LIMIT", explain_pb2.REASON_TYPE_POLICY)
    assert first.text.startswith("At most 4,000 EUR for grade")
    assert (
        len(above.assessment.reasons.reasons) > 1
    )  # a lower amount than requested is adverse, so the model's reasons follow
    assert len(above.assessment.reasons.reasons) <= 4


async def test_a_grade_without_a_limit_is_referred(small_settings: Settings) -> None:
    text = GENEROUS.replace("valid_days = 30\n", "valid_days = 30\nlimits = {Z = 1000}\n")

    async with serve(settings_with_policy(small_settings, text)) as serving:
        decision = await decide(serving)

    assert decision.decision == pb.DECISION_REFER
    assert decision.assessment.policy_result.approvable_amount.units == 0
    assert decision.assessment.reasons.reasons[0].code == "GRADE_LIMIT"


FACTS = {
    "old enough": ({"years_in_business": FeatureValue(number=2)}, pb.DECISION_APPROVE, []),
    "too young": ({"years_in_business": FeatureValue(number=1.5)}, pb.DECISION_REFER, ["FIRM_TOO_YOUNG"]),
    "not known": ({}, pb.DECISION_REFER, ["FIRM_TOO_YOUNG"]),
    "blocked": (
        {"blocked": FeatureValue(level="yes"), "years_in_business": FeatureValue(number=9)},
        pb.DECISION_DECLINE,
        ["CUSTOMER_BLOCKED"],
    ),
    "not blocked": (
        {"blocked": FeatureValue(level="no"), "years_in_business": FeatureValue(number=9)},
        pb.DECISION_APPROVE,
        [],
    ),
    "blocked and too young": (
        {"blocked": FeatureValue(level="yes"), "years_in_business": FeatureValue(number=1)},
        pb.DECISION_DECLINE,
        ["CUSTOMER_BLOCKED", "FIRM_TOO_YOUNG"],
    ),
}


async def test_hard_rules_are_applied_in_order_and_precede_the_reasons_of_the_model(
    small_settings: Settings,
) -> None:
    async with serve(settings_with_policy(small_settings, policy_with_hard_rules())) as serving:
        for facts, outcome, codes in FACTS.values():
            decision = await decide(serving, facts=facts)

            result = [reason.code for reason in decision.assessment.reasons.reasons]
            assert decision.decision == outcome
            assert result[: len(codes)] == codes
            rules = [rule.code for rule in decision.assessment.policy_result.rules]
            assert rules[:3] == ["CUSTOMER_BLOCKED", "FIRM_TOO_YOUNG", "MANY_DAYS_LATE"]
            failed = [rule.code for rule in decision.assessment.policy_result.rules if not rule.passed]
            assert failed == codes


async def test_a_decision_with_features_older_than_the_policy_allows_is_referred(small_settings: Settings) -> None:
    text = GENEROUS.replace("features_max_age_days = 36000", "features_max_age_days = 30")

    async with serve(settings_with_policy(small_settings, text)) as serving:
        decision = await decide(serving)

    assert decision.decision == pb.DECISION_REFER
    assert decision.assessment.reasons.reasons[0].code == "FEATURES_TOO_OLD"
    assert decision.assessment.HasField("model_output")


async def test_without_a_mandatory_input_of_the_policy_a_customer_is_not_scorable(
    small_settings: Settings,
) -> None:
    text = GENEROUS.replace("valid_days = 30\n", 'valid_days = 30\nmandatory_inputs = ["turnover"]\n')

    async with serve(settings_with_policy(small_settings, text)) as serving:
        without = await decide(serving)
        given = await decide(serving, features=numbers(turnover=50_000))

    assert without.decision == pb.DECISION_NOT_SCORABLE
    assert without.assessment.reasons.reasons[0].features == ["turnover"]
    assert given.decision == pb.DECISION_APPROVE


async def test_a_decision_on_a_product_without_a_section_is_rejected(serving: Serving) -> None:
    error = await call_error(serving.credit.ScoreCredit(score_request(product="LEASING")))

    assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_POLICY")
    assert "LEASING" in error.message


async def test_a_new_section_is_in_force_after_its_activation_without_a_restart(small_settings: Settings) -> None:
    settings = settings_with_policy(small_settings, POLICY)
    leasing = POLICY[POLICY.index("[[sections]]") : POLICY.index('[[sections]]\nmarket = "FR"')].replace(
        'market = "DE"', 'market = "DE"\nproduct = "LEASING"'
    )
    wider = POLICY.replace('version = "test-1"', 'version = "test-2"').replace("[texts.", leasing + "[texts.", 1)
    request = simulate_request(product="LEASING")

    async with serve(settings) as serving:

        async def is_answered() -> bool:
            await serving.credit.SimulateCredit(
                simulate_request()
            )  # every call must succeed while the policy is reloaded
            try:
                return (await serving.credit.SimulateCredit(request)).simulated.policy_result.product == "LEASING"
            except grpc.aio.AioRpcError:
                return False

        assert not await is_answered()
        activate_new_policy(serving, wider)
        await wait_until(is_answered)
        with pytest.raises(PolicyRefused, match="largest_amout"):
            activate_new_policy(serving, wider.replace("largest_amount", "largest_amout", 1))
        assert (await serving.credit.SimulateCredit(request)).simulated.policy_result.policy_version == "test-2"
