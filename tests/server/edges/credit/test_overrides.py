"""Overrides: side, authority and reason are checked; each override is recorded once and read with its decision."""

import asyncio
import uuid

import grpc
from sqlalchemy import select

from grounds.audit.v1 import bodies_pb2
from grounds.credit.v1 import credit_pb2 as pb
from grounds_record.header import parse_header
from server.stores.tables import RECORDS
from tests.conftest import Serving
from tests.server.events import approval_request, override_request, read_decision, score_with_outcome
from tests.server.requests import call_error, customer, euros, raw_method, score_request
from tests.server.servers import record_count


async def test_a_high_side_override_is_recorded_and_read_through_its_decision(serving: Serving) -> None:
    decision = await score_with_outcome(serving, pb.DECISION_APPROVE)
    before = await raw_method(serving.channel, "GetCreditDecision")(
        pb.GetCreditDecisionRequest(decision_id=decision.record_ref.decision_id).SerializeToString()
    )

    request = override_request(decision, comment="the number of the bank account changed twice", locale="de-AT")
    answer = await serving.credit.RecordOverride(request)
    after = await read_decision(serving, decision)

    override = answer.override
    assert (override.side, override.decision, override.granted_amount) == (
        pb.OVERRIDE_SIDE_HIGH,
        pb.DECISION_DECLINE,
        euros(0),
    )
    assert (override.reason_text, override.locale) == ("Es besteht Betrugsverdacht", "de")
    assert (override.user_id, override.user_role, override.authority_limit) == (
        request.user_id,
        request.user_role,
        euros(100_000),
    )
    assert (override.policy_version, override.comment) == ("test-1", request.comment)
    assert list(after.overrides) == [override]
    assert after.credit_decision == decision
    assert before == pb.GetCreditDecisionResponse(credit_decision=decision).SerializeToString(deterministic=True)


async def test_of_people_who_decide_at_once_only_one_overrides_what_all_of_them_saw(serving: Serving) -> None:
    decision = await score_with_outcome(serving, pb.DECISION_APPROVE, 900)
    amounts = (100, 200, 300, 400)

    def reduction(amount: int, seen: str | None) -> pb.RecordOverrideRequest:
        return override_request(
            decision,
            decision=pb.DECISION_APPROVE_REDUCED,
            granted_amount=euros(amount),
            previous_override_id=seen,
        )

    calls = [serving.credit.RecordOverride(reduction(amount, "")) for amount in amounts]
    answers = await asyncio.gather(*calls, return_exceptions=True)

    recorded = [each.override for each in answers if isinstance(each, pb.RecordOverrideResponse)]
    assert len(recorded) == 1
    assert list((await read_decision(serving, decision)).overrides) == recorded
    error = await call_error(serving.credit.RecordOverride(reduction(500, "")))
    assert error.reason == "OVERRIDE_INVALID"
    assert error.kinds == {"previous_override_id": "OVERRIDDEN"}
    seen = recorded[0].override_id.upper()
    await serving.credit.RecordOverride(reduction(500, seen))
    unchecked = await serving.credit.RecordOverride(reduction(600, None))
    assert unchecked.override.granted_amount == euros(600)


async def test_a_repeated_request_returns_its_override_although_it_is_in_force_itself_now(serving: Serving) -> None:
    decision = await score_with_outcome(serving, pb.DECISION_APPROVE)
    request = override_request(decision, previous_override_id="")

    first, again = [await serving.credit.RecordOverride(request) for _ in range(2)]

    assert first == again
    assert len((await read_decision(serving, decision)).overrides) == 1


async def test_a_low_side_override_needs_a_second_person_above_the_policys_amount(serving: Serving) -> None:
    decision = await score_with_outcome(serving, pb.DECISION_DECLINE, 10_001)

    alone = await call_error(serving.credit.RecordOverride(approval_request(decision)))
    themselves = await call_error(
        serving.credit.RecordOverride(approval_request(decision, second_user_id="a.person@example.com"))
    )
    within = await serving.credit.RecordOverride(
        approval_request(decision, decision=pb.DECISION_APPROVE_REDUCED, granted_amount=euros(10_000))
    )
    both = await serving.credit.RecordOverride(approval_request(decision, second_user_id="b.person"))

    assert alone.problems == {"second_user_id": "is required to grant more than 10,000 EUR"}
    assert themselves.kinds == {"second_user_id": "SAME_PERSON"}
    assert [each.override.side for each in (within, both)] == [pb.OVERRIDE_SIDE_LOW] * 2
    assert [each.granted_amount.units for each in (await read_decision(serving, decision)).overrides] == [
        10_000,
        10_001,
    ]


async def test_all_invalid_fields_of_an_override_are_reported_in_one_error(serving: Serving) -> None:
    decision = await score_with_outcome(serving, pb.DECISION_DECLINE, 20_000)
    dollars = euros(5)
    dollars.currency_code = "USD"

    error = await call_error(
        serving.credit.RecordOverride(
            approval_request(decision, granted_amount=euros(7), reason_code="WHIM", authority_limit=dollars)
        )
    )
    more = await call_error(
        serving.credit.RecordOverride(
            approval_request(
                decision, decision=pb.DECISION_APPROVE_REDUCED, granted_amount=euros(20_000), authority_limit=euros(9)
            )
        )
    )
    without = await call_error(
        serving.credit.RecordOverride(
            approval_request(decision, decision=pb.DECISION_APPROVE_REDUCED, granted_amount=None, reason_code="WHIM")
        )
    )
    unchanged = await call_error(serving.credit.RecordOverride(override_request(decision)))
    bare = await call_error(serving.credit.RecordOverride(pb.RecordOverrideRequest(decision=pb.DECISION_REFER)))

    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "OVERRIDE_INVALID")
    assert error.kinds == {
        "granted_amount": "NOT_ALLOWED",
        "authority_limit.currency_code": "CURRENCY",
        "second_user_id": "REQUIRED",
        "reason_code": "UNKNOWN",
    }
    assert error.problems["reason_code"] == "must be one of NEW_INFORMATION"
    assert more.kinds == {"granted_amount": "RANGE", "authority_limit": "AUTHORITY", "second_user_id": "REQUIRED"}
    assert without.kinds == {"granted_amount": "REQUIRED"}, (
        "the allowed reasons depend on the amount, so the reason is not checked"
    )
    assert unchanged.kinds["decision"] == "UNCHANGED"
    assert bare.reason == "REQUEST_INVALID"
    assert set(bare.problems) == {
        *("request_id", "decision_id", "decision", "reason_code", "user_id", "user_role", "authority_limit"),
    }
    assert not (await read_decision(serving, decision)).overrides


async def test_a_repeated_override_gets_the_same_bytes_even_after_other_overrides(serving: Serving) -> None:
    decision = await score_with_outcome(serving, pb.DECISION_APPROVE)
    request = override_request(decision).SerializeToString()
    before = record_count(serving)

    answers = await asyncio.gather(*(raw_method(serving.channel, "RecordOverride")(request) for _ in range(8)))
    await serving.credit.RecordOverride(approval_request(decision))
    again = await raw_method(serving.channel, "RecordOverride")(request)

    assert {*answers} == {again}
    assert record_count(serving) == before + 2
    sides = [each.side for each in (await read_decision(serving, decision)).overrides]
    assert sides == [pb.OVERRIDE_SIDE_HIGH, pb.OVERRIDE_SIDE_WITHDRAWAL]


async def test_a_request_id_that_any_method_used_is_rejected_with_different_content(serving: Serving) -> None:
    decision = await score_with_outcome(serving, pb.DECISION_APPROVE)
    request = override_request(decision)
    await serving.credit.RecordOverride(request)

    other = await call_error(
        serving.credit.RecordOverride(override_request(decision, request_id=request.request_id, comment="x"))
    )
    scored = await call_error(
        serving.credit.RecordOverride(approval_request(decision, request_id=decision.record_ref.request_id))
    )

    assert {other.reason, scored.reason} == {"REQUEST_ID_REUSED"}


async def test_overrides_of_unknown_decisions_and_without_a_policy_are_rejected(serving: Serving) -> None:
    decision = await score_with_outcome(serving, pb.DECISION_APPROVE)
    french = await serving.credit.ScoreCredit(score_request(customer=customer("FR", "C00001")))
    override = await serving.credit.RecordOverride(override_request(decision))

    unknown = await call_error(serving.credit.RecordOverride(override_request(decision, decision_id=str(uuid.uuid4()))))
    no_decision = await call_error(
        serving.credit.RecordOverride(override_request(decision, decision_id=override.override.override_id))
    )
    without_policy = await call_error(serving.credit.RecordOverride(override_request(french.credit_decision)))

    assert (unknown.code, unknown.reason) == (grpc.StatusCode.NOT_FOUND, "DECISION_UNKNOWN")
    assert no_decision.reason == "DECISION_UNKNOWN"
    assert (without_policy.code, without_policy.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_POLICY")


async def test_the_record_has_the_received_request_encrypted_with_the_customers_key(
    serving: Serving,
) -> None:
    decision = await score_with_outcome(serving, pb.DECISION_APPROVE)
    request = override_request(decision, user_id="canary-person", comment="canary-comment").SerializeToString()

    answer = pb.RecordOverrideResponse.FromString(await raw_method(serving.channel, "RecordOverride")(request))

    log = serving.application.log
    assert log is not None
    with serving.application.database.reading() as connection:
        rows = connection.execute(select(RECORDS).order_by(RECORDS.c.record_index)).all()
    header = parse_header(rows[-1].header)
    found = log.find_by_id(answer.override.override_id)
    assert found is not None
    body = bodies_pb2.EventRecord.FromString(found.body)
    of_decision = next(row for row in rows if row.record_id == decision.record_ref.decision_id)
    assert (header.kind, header.key_id) == ("CREDIT_OVERRIDE", of_decision.key_id)
    assert header.labels == {"market": "DE", "about": decision.record_ref.decision_id, "side": "HIGH"}
    assert body.request == request
    assert pb.Override.FromString(body.answer) == answer.override
    assert b"canary" not in b"".join(value for value in rows[-1] if isinstance(value, bytes))
