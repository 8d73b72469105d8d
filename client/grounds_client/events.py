"""What comes after a decision, typed: what a person decided otherwise, and what became of it."""

import datetime as dt
import uuid
from dataclasses import dataclass
from decimal import Decimal

from google.type.date_pb2 import Date

from grounds.credit.v1 import credit_pb2 as pb
from grounds_client.calls import Client, money_of

Event = pb.Booked | pb.DaysPastDue | pb.Default | pb.Cure
Amount = tuple[Decimal, str]  # amount, currency


@dataclass(frozen=True, slots=True)
class Person:
    """Who decides.

    Attributes:
        user_id: As your systems name the person.
        role: An upper-case name, such as CREDIT_MANAGER.
        authority_limit: The most that this person may grant.
        second_user_id: Who agrees; "" where nobody needs to.
    """

    user_id: str
    role: str
    authority_limit: Amount
    second_user_id: str = ""


@dataclass(frozen=True, slots=True)
class Words:
    """What is said beside the reason's code: a comment, and the language of the reason's text ("" is English)."""

    comment: str = ""
    locale: str = ""


def record_override(  # noqa: PLR0913 - what a person decides, who and why
    client: Client,
    decision_id: str,
    decision: pb.Decision,
    reason_code: str,
    person: Person,
    *,
    granted: Amount | None = None,
    words: Words | None = None,
    request_id: str | None = None,
) -> pb.Override:
    """Record that a person decides otherwise.

    Args:
        client: Of the loan desk.
        decision_id: The decision's name.
        decision: What is to hold: APPROVE, APPROVE_REDUCED or DECLINE.
        reason_code: One of the policy's codes for this side.
        person: Who decides.
        granted: What is granted; only with APPROVE_REDUCED.
        words: Comment and language.
        request_id: A UUID; give the same one when you ask again. None makes a new one.

    Raises:
        CallFailed: With OVERRIDE_INVALID it names every field that is wrong.
    """
    said = words or Words()
    request = pb.RecordOverrideRequest(
        request_id=request_id or str(uuid.uuid4()),
        decision_id=decision_id,
        decision=decision,
        granted_amount=None if granted is None else money_of(*granted),
        reason_code=reason_code,
        user_id=person.user_id,
        user_role=person.role,
        authority_limit=money_of(*person.authority_limit),
        second_user_id=person.second_user_id,
        comment=said.comment,
        locale=said.locale,
    )
    answer: pb.RecordOverrideResponse = client.call(client.credit.RecordOverride, request)
    return answer.override


def record_outcome(
    client: Client,
    decision_id: str,
    day: dt.date,
    event: Event,
    *,
    corrects: str = "",
    request_id: str | None = None,
) -> pb.Outcome:
    """Record what became of a decision.

    Args:
        client: Of the loan desk.
        decision_id: The decision's name.
        day: When it happened.
        event: What happened.
        corrects: The outcome_id that this one corrects; "" where it corrects none.
        request_id: A UUID; give the same one when you ask again. None makes a new one.

    Raises:
        CallFailed: With OUTCOME_INVALID it names every field that is wrong.
    """
    request = pb.RecordOutcomeRequest(
        request_id=request_id or str(uuid.uuid4()),
        decision_id=decision_id,
        event_date=Date(year=day.year, month=day.month, day=day.day),
        booked=event if isinstance(event, pb.Booked) else None,
        days_past_due=event if isinstance(event, pb.DaysPastDue) else None,
        default=event if isinstance(event, pb.Default) else None,
        cure=event if isinstance(event, pb.Cure) else None,
        corrects_outcome_id=corrects,
    )
    answer: pb.RecordOutcomeResponse = client.call(client.credit.RecordOutcome, request)
    return answer.outcome
