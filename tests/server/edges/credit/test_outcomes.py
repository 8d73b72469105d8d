"""Outcomes of decisions: appended, never edited, and read in the order in which they were recorded."""

import datetime as dt
import uuid

import grpc
from google.type.date_pb2 import Date

from grounds.credit.v1 import credit_pb2 as pb
from tests.conftest import Serving
from tests.server.events import outcome_request, read_decision
from tests.server.requests import call_error, customer, euros, raw_method, score_request
from tests.server.servers import record_count


async def some_decision(serving: Serving, number: str = "C00000") -> pb.CreditDecision:
    """Return a new decision."""
    return (await serving.credit.ScoreCredit(score_request(customer=customer("DE", number)))).credit_decision


async def test_outcomes_are_read_in_the_order_in_which_they_were_recorded(serving: Serving) -> None:
    decision, other = await some_decision(serving), await some_decision(serving)

    outcomes = [
        (await serving.credit.RecordOutcome(request)).outcome
        for request in (
            outcome_request(decision),
            outcome_request(decision, days_past_due=pb.DaysPastDue(days=31)),
            outcome_request(other),
            outcome_request(decision, default=pb.Default(trigger_code="DPD_90")),
            outcome_request(decision, cure=pb.Cure()),
        )
    ]

    mine = [outcomes[0], outcomes[1], outcomes[3], outcomes[4]]
    assert [each.WhichOneof("event") for each in mine] == ["booked", "days_past_due", "default", "cure"]
    assert list((await read_decision(serving, decision)).outcomes) == mine
    assert list((await read_decision(serving, other)).outcomes) == [outcomes[2]]
    assert outcomes[1].days_past_due.days == 31
    assert (outcomes[0].booked.amount, outcomes[3].default.trigger_code) == (euros(500), "DPD_90")


async def test_a_correction_is_a_new_outcome_and_only_the_newest_can_be_corrected(serving: Serving) -> None:
    decision, other = await some_decision(serving), await some_decision(serving)
    first = (await serving.credit.RecordOutcome(outcome_request(decision))).outcome

    right = pb.Booked(amount=euros(450))
    second = (
        await serving.credit.RecordOutcome(
            outcome_request(decision, booked=right, corrects_outcome_id=first.outcome_id.upper())
        )
    ).outcome
    again = await call_error(
        serving.credit.RecordOutcome(outcome_request(decision, corrects_outcome_id=first.outcome_id))
    )
    foreign = await call_error(
        serving.credit.RecordOutcome(outcome_request(other, corrects_outcome_id=first.outcome_id))
    )

    assert list((await read_decision(serving, decision)).outcomes) == [first, second]
    assert second.corrects_outcome_id == first.outcome_id
    assert again.problems == {
        "corrects_outcome_id": f"this outcome was corrected before; correct outcome {second.outcome_id} instead"
    }
    assert foreign.kinds == {"corrects_outcome_id": "UNKNOWN"}


async def test_all_invalid_fields_of_an_outcome_are_reported_in_one_error(serving: Serving) -> None:
    decision = await some_decision(serving)
    day = decision.record_ref.decide_time.ToDatetime().date()
    dollars = euros(5)
    dollars.currency_code = "USD"

    error = await call_error(
        serving.credit.RecordOutcome(
            outcome_request(
                decision,
                event_date=Date(year=2026, month=2, day=30),
                booked=pb.Booked(amount=dollars),
                corrects_outcome_id=str(uuid.uuid4()),
            )
        )
    )
    days = {}
    for name, offset in (("before", -2), ("yesterday", -1), ("tomorrow", 1), ("later", 2)):
        date = day + dt.timedelta(days=offset)
        request = outcome_request(decision, event_date=Date(year=date.year, month=date.month, day=date.day))
        call = serving.credit.RecordOutcome(request)
        days[name] = (await call_error(call)).problems if abs(offset) > 1 else (await call).outcome.event_date.day
    bare = await call_error(serving.credit.RecordOutcome(pb.RecordOutcomeRequest()))

    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "OUTCOME_INVALID")
    assert error.kinds == {
        "event_date": "DATE",
        "booked.amount.currency_code": "CURRENCY",
        "corrects_outcome_id": "UNKNOWN",
    }
    assert days["before"] == {"event_date": f"must not be before the decision, which was made on {day}"}
    assert days["later"] == {"event_date": "must not be in the future"}
    assert days["yesterday"] == (day - dt.timedelta(days=1)).day
    assert set(bare.problems) == {"request_id", "decision_id", "event_date", "event"}


async def test_a_repeated_outcome_gets_the_same_bytes_and_different_content_is_rejected(serving: Serving) -> None:
    decision = await some_decision(serving)
    request = outcome_request(decision)
    content = request.SerializeToString()

    answers = {await raw_method(serving.channel, "RecordOutcome")(content) for _ in range(3)}
    request.booked.amount.units = 499
    error = await call_error(serving.credit.RecordOutcome(request))

    assert len(answers) == 1
    assert error.reason == "REQUEST_ID_REUSED"
    assert record_count(serving) == 2
