"""A notice states the recorded decision in the person's language, and nothing that does not follow from the record."""

import shutil

import grpc

from grounds.credit.v1 import credit_pb2 as pb
from grounds.explain.v1.explain_pb2 import Reasons
from server.config import Settings
from tests.conftest import Serving
from tests.server.edges.credit.test_decisions import settings_with_policy
from tests.server.events import score_with_outcome
from tests.server.requests import call_error, numbers, score_request
from tests.server.servers import record_count, serve, swap_model
from tests.small import POLICY, SmallFamily


async def read_notice(serving: Serving, decision: pb.CreditDecision, locale: str) -> pb.GetCreditDecisionResponse:
    """Return the decision with a notice in a language."""
    return await serving.credit.GetCreditDecision(
        pb.GetCreditDecisionRequest(decision_id=decision.record_ref.decision_id, notice_locale=locale)
    )


def without_texts(reasons: Reasons) -> Reasons:
    """Return a copy of reasons without the fields that depend on the language."""
    copy = Reasons()
    copy.CopyFrom(reasons)
    copy.ClearField("locale")
    for reason in copy.reasons:
        reason.ClearField("text")
    return copy


async def test_a_notice_has_the_recorded_reasons_in_another_language_and_changes_no_record(serving: Serving) -> None:
    decision = await score_with_outcome(serving, pb.DECISION_DECLINE)
    records = record_count(serving)

    answer = await read_notice(serving, decision, "de-AT")
    same = await read_notice(serving, decision, "en")

    recorded = decision.assessment.reasons
    assert answer.credit_decision == decision
    assert answer.notice.reasons.locale == "de"
    assert without_texts(answer.notice.reasons) == without_texts(recorded)
    assert [each.text for each in answer.notice.reasons.reasons] != [each.text for each in recorded.reasons]
    assert same.notice.reasons == recorded
    assert record_count(serving) == records


async def test_an_approval_has_no_recourse_and_without_a_locale_there_is_no_notice(serving: Serving) -> None:
    decision = await score_with_outcome(serving, pb.DECISION_APPROVE)

    assert not (await read_notice(serving, decision, "de")).notice.HasField("recourse")
    assert not (await read_notice(serving, decision, "")).HasField("notice")


async def test_a_language_without_texts_is_answered_in_the_language_of_the_market(serving: Serving) -> None:
    features = numbers(turnover=1.0)
    decision = (await serving.credit.ScoreCredit(score_request(features=features, locale="ja"))).credit_decision

    answer = await read_notice(serving, decision, "fr-CH")

    assert decision.customer.market == "DE"
    assert decision.assessment.reasons.locale == "de"
    assert answer.notice.reasons == decision.assessment.reasons


async def test_a_policy_without_the_language_of_the_model_makes_no_notice_of_two_languages(
    small_settings: Settings,
) -> None:
    policy = POLICY.replace('de = "Mehr als', 'fr = "Plus de', 1)
    assert policy != POLICY
    async with serve(settings_with_policy(small_settings, policy)) as serving:
        decision = await score_with_outcome(serving, pb.DECISION_DECLINE)

        answer = await read_notice(serving, decision, "de")

    assert answer.notice.reasons.locale == "en"


async def test_without_the_bundle_of_the_decision_there_is_no_notice(serving: Serving, other: SmallFamily) -> None:
    decision = await score_with_outcome(serving, pb.DECISION_DECLINE)
    await swap_model(serving, other.bundle_folder)
    shutil.rmtree(serving.settings.bundles / "credit" / decision.assessment.model_output.bundle_id)

    error = await call_error(read_notice(serving, decision, "de"))

    assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NOTICE_UNAVAILABLE")
    assert error.message.startswith("no notice can be computed for this decision: ")
