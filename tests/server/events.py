"""Valid requests for overrides and outcomes; a test changes single fields."""

import uuid
from typing import Any

from google.protobuf.message import Message
from google.type.date_pb2 import Date

from grounds.credit.v1 import credit_pb2 as pb
from tests.conftest import Serving
from tests.server.requests import euros, numbers, score_request

SAFE = numbers(turnover=5_000_000, years=60)
RISKY = numbers(turnover=100, years=0)


async def score_with_outcome(serving: Serving, wanted: int, amount: int = 500) -> pb.CreditDecision:
    """Score customers with two sets of values until a decision has the wanted outcome; return this decision."""
    for number in range(0, 60, 2):
        for values in (SAFE, RISKY):
            asked = score_request(features=values, requested_amount=euros(amount))
            asked.customer.customer_id = f"C{number:05d}"
            answer = await serving.credit.ScoreCredit(asked)
            if answer.credit_decision.decision == wanted:
                return answer.credit_decision
    raise AssertionError(f"no customer of the small family gets {pb.Decision.Name(wanted)}")


def override_request(of: pb.CreditDecision, /, **changes: Any) -> pb.RecordOverrideRequest:
    """Return a request to override a decision by a decline; a change to None leaves the field out."""
    asked: dict[str, Any] = {
        "request_id": str(uuid.uuid4()),
        "decision_id": of.record_ref.decision_id,
        "decision": pb.DECISION_DECLINE,
        "reason_code": "FRAUD_SUSPECTED",
        "user_id": "a.person@example.com",
        "user_role": "CREDIT_MANAGER",
        "authority_limit": euros(100_000),
    }
    return pb.RecordOverrideRequest(**{**asked, **changes})


def approval_request(of: pb.CreditDecision, /, **changes: Any) -> pb.RecordOverrideRequest:
    """Return a request to override a decision by an approval."""
    return override_request(of, **{"decision": pb.DECISION_APPROVE, "reason_code": "NEW_INFORMATION", **changes})


def outcome_request(decision: pb.CreditDecision, **changes: Any) -> pb.RecordOutcomeRequest:
    """Return a request that reports a booking today; an event in `changes` replaces the booking."""
    time = decision.record_ref.decide_time.ToDatetime()
    asked: dict[str, Any] = {
        "request_id": str(uuid.uuid4()),
        "decision_id": decision.record_ref.decision_id,
        "event_date": Date(year=time.year, month=time.month, day=time.day),
    }
    if not {"days_past_due", "default", "cure"} & set(changes):
        asked["booked"] = pb.Booked(amount=euros(500))
    return pb.RecordOutcomeRequest(**{**asked, **changes})


async def read_decision(serving: Serving, decision: Message) -> pb.GetCreditDecisionResponse:
    """Read a decision with its overrides and outcomes."""
    asked = pb.GetCreditDecisionRequest(decision_id=decision.record_ref.decision_id)  # type: ignore[attr-defined]
    return await serving.credit.GetCreditDecision(asked)
