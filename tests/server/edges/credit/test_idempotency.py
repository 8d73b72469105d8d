"""Idempotency: a repeated request gets the same bytes, even after model, policy or features have changed."""

import asyncio
import uuid

import grpc
from sqlalchemy import select

from grounds.credit.v1 import credit_pb2 as pb
from server.config import Settings
from server.registry.model_registry import ServingModels
from server.stores.tables import RECORDS
from tests.conftest import Serving
from tests.server.requests import call_error, customer, euros, field, numbers, raw_method, score_request
from tests.server.servers import block_store_threads, record_count, serve, swap_model
from tests.small import SmallFamily


async def test_a_repeated_request_gets_the_same_bytes(serving: Serving) -> None:
    request = score_request(features=numbers(turnover=50_000, years=3)).SerializeToString()

    first = await raw_method(serving.channel, "ScoreCredit")(request)
    second = await raw_method(serving.channel, "ScoreCredit")(request)

    assert first == second
    assert record_count(serving) == 1


async def test_twenty_concurrent_duplicates_yield_one_decision_and_one_answer(serving: Serving) -> None:
    request = score_request().SerializeToString()

    answers = await asyncio.gather(*(raw_method(serving.channel, "ScoreCredit")(request) for _ in range(20)))

    assert len(set(answers)) == 1
    assert record_count(serving) == 1


async def test_two_requests_yield_two_decisions(serving: Serving) -> None:
    answers = [await serving.credit.ScoreCredit(score_request()) for _ in range(2)]

    assert len({answer.credit_decision.record_ref.decision_id for answer in answers}) == 2
    assert record_count(serving) == 2


async def test_get_credit_decision_returns_the_answer_byte_for_byte(serving: Serving) -> None:
    answer = await raw_method(serving.channel, "ScoreCredit")(score_request().SerializeToString())
    decision_id = pb.ScoreCreditResponse.FromString(answer).credit_decision.record_ref.decision_id

    again = await raw_method(serving.channel, "GetCreditDecision")(
        pb.GetCreditDecisionRequest(decision_id=decision_id).SerializeToString()
    )

    assert again == answer  # both responses have only one field, the decision, with number 1


async def test_an_old_decision_is_unchanged_after_the_serving_bundle_was_replaced(
    serving: Serving, small: SmallFamily, other: SmallFamily
) -> None:
    request = score_request()
    before = await raw_method(serving.channel, "ScoreCredit")(request.SerializeToString())
    reference = pb.ScoreCreditResponse.FromString(before).credit_decision.record_ref

    await swap_model(serving, other.bundle_folder)
    repeated = await raw_method(serving.channel, "ScoreCredit")(request.SerializeToString())
    read_again = await raw_method(serving.channel, "GetCreditDecision")(
        pb.GetCreditDecisionRequest(decision_id=reference.decision_id).SerializeToString()
    )
    new = await serving.credit.ScoreCredit(score_request())

    assert before == repeated == read_again
    old = pb.ScoreCreditResponse.FromString(before).credit_decision
    assert old.assessment.model_output.bundle_id == small.bundle_folder.name
    assert new.credit_decision.assessment.model_output.bundle_id == other.bundle_folder.name


CHANGES = {
    "amount": {"requested_amount": euros(501)},
    "a nano of the amount": {"requested_amount": euros(500, 1)},
    "customer": {"customer": customer("DE", "C00002")},
    "market": {"customer": customer("FR", "C00000")},
    "value": {"features": numbers(turnover=50_001)},
    "another name": {"features": numbers(years=50_000)},
    "no value": {"features": {}},
    "locale": {"locale": "de"},
}


async def test_a_request_id_with_different_content_is_rejected(serving: Serving) -> None:
    fields = {"request_id": str(uuid.uuid4()), "features": numbers(turnover=50_000)}
    await serving.credit.ScoreCredit(score_request(**fields))

    for what, change in CHANGES.items():
        error = await call_error(serving.credit.ScoreCredit(score_request(**{**fields, **change})))

        assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED"), what
        assert error.metadata == {"request_id": fields["request_id"]}
        assert "50000" not in error.everything
    assert record_count(serving) == 1


async def test_the_order_of_values_on_the_wire_does_not_change_the_content(serving: Serving) -> None:
    bare, values = score_request().SerializeToString(), numbers(turnover=50_000, years=3)
    turnover, years = (field(4, field(1, name.encode()) + field(2, value)) for name, value in values.items())

    one = await raw_method(serving.channel, "ScoreCredit")(bare + turnover + years)
    two = await raw_method(serving.channel, "ScoreCredit")(years + turnover + bare)

    assert one == two
    assert record_count(serving) == 1


async def test_a_decision_has_its_id_time_and_content_digest(serving: Serving) -> None:
    request = score_request()

    reference = (await serving.credit.ScoreCredit(request)).credit_decision.record_ref

    with serving.application.database.reading() as connection:
        row = connection.execute(select(RECORDS).where(RECORDS.c.kind == "CREDIT_DECISION")).one()
    assert (row.record_id, row.request_id) == (reference.decision_id, request.request_id)
    assert row.time_us == reference.decide_time.ToMicroseconds()
    assert reference.content_sha256 not in str(row), (
        "an attacker could guess the content from its digest, so only the ciphertext contains the digest"
    )


async def test_a_repeated_request_that_would_be_rejected_today_gets_its_recorded_answer(
    small_settings: Settings,
) -> None:
    request = score_request()
    async with serve(small_settings.model_copy(update={"reload_seconds": 60})) as serving:
        first = await raw_method(serving.channel, "ScoreCredit")(request.SerializeToString())
        serving.application.models.current = ServingModels()  # no model serves
        again = await raw_method(serving.channel, "ScoreCredit")(request.SerializeToString())
        other = await call_error(
            serving.credit.ScoreCredit(score_request(request_id=request.request_id, requested_amount=euros(501)))
        )
        new = await call_error(serving.credit.ScoreCredit(score_request()))

    assert again == first
    assert (other.reason, new.reason) == ("REQUEST_ID_REUSED", "NO_ACTIVE_MODEL")


async def test_a_request_id_is_case_insensitive(serving: Serving) -> None:
    request = score_request()
    first = await raw_method(serving.channel, "ScoreCredit")(request.SerializeToString())
    request.request_id = request.request_id.upper()

    assert await raw_method(serving.channel, "ScoreCredit")(request.SerializeToString()) == first
    assert record_count(serving) == 1


async def test_a_simulation_records_nothing(serving: Serving) -> None:
    await serving.credit.SimulateCredit(
        pb.SimulateCreditRequest(customer=customer(), requested_amount=euros(500), features=numbers(days_late=3))
    )

    assert record_count(serving) == 0


async def test_the_request_id_of_a_rejected_request_may_be_used_again(serving: Serving) -> None:
    request_id = str(uuid.uuid4())
    await call_error(serving.credit.ScoreCredit(score_request(request_id=request_id, features=numbers(years=301))))

    answer = await serving.credit.ScoreCredit(score_request(request_id=request_id, features=numbers(years=30)))

    assert answer.credit_decision.record_ref.request_id == request_id


async def test_a_caller_that_disconnected_gets_one_decision_on_retry(serving: Serving) -> None:
    request = score_request()
    with block_store_threads(serving) as waiting:
        call = asyncio.ensure_future(serving.credit.ScoreCredit(request))
        await waiting(1)
        call.cancel()

    answers = [await raw_method(serving.channel, "ScoreCredit")(request.SerializeToString()) for _ in range(2)]

    assert answers[0] == answers[1]
    assert record_count(serving) == 1
