"""An outcome: the request held against its decision, and the answer."""

import datetime as dt
from collections.abc import Iterator

from google.type.date_pb2 import Date

from grounds.credit.v1 import credit_pb2 as pb
from server.edges.credit.events import CREDIT_OUTCOME, DecisionState, EventDraft
from server.edges.explanations import timestamp
from server.errors import OutcomeInvalid, Violation

DAY = dt.timedelta(days=1)  # two time zones may call one moment two days


def draft_outcome(request: pb.RecordOutcomeRequest, asking: DecisionState) -> EventDraft:
    """Give the outcome as it is to be recorded.

    Raises:
        OutcomeInvalid: Names every field that is wrong.
    """
    violations = [
        *date_violations(request.event_date, asking),
        *amount_violations(request, asking),
        *correction_violations(request.corrects_outcome_id.lower(), asking),
    ]
    if violations:
        raise OutcomeInvalid("; ".join(f"{v.field} {v.problem}" for v in violations[:3]), violations=violations)
    event = request.WhichOneof("event")
    assert event is not None, "the contract demands one"
    outcome = pb.Outcome(
        outcome_id=asking.record_id,
        request_id=request.request_id,
        decision_id=asking.kept.header.record_id,
        record_time=timestamp(asking.at),
        event_date=request.event_date,
        corrects_outcome_id=request.corrects_outcome_id.lower(),
    )
    getattr(outcome, event).CopyFrom(getattr(request, event))
    return EventDraft(CREDIT_OUTCOME, outcome, {"event": event.upper()})


def date_violations(date: Date, asking: DecisionState) -> Iterator[Violation]:
    """Check that the day is one, and lies between the decision and now."""
    try:
        day = dt.date(date.year, date.month, date.day)
    except ValueError:
        yield Violation("event_date", "must be a day of the calendar: year, month and day", "DATE")
        return
    decided = asking.decision.record_ref.decide_time.ToDatetime(dt.UTC).date()
    if day < decided - DAY:
        yield Violation("event_date", f"must not be before the decision, which was made on {decided}", "RANGE")
    if day > asking.at.astimezone(dt.UTC).date() + DAY:
        yield Violation("event_date", "must not be in the future", "RANGE")


def amount_violations(request: pb.RecordOutcomeRequest, asking: DecisionState) -> Iterator[Violation]:
    """Check the currency of what was booked."""
    currency = asking.decision.requested_amount.currency_code
    if request.HasField("booked") and request.booked.amount.currency_code != currency:
        yield Violation("booked.amount.currency_code", f"must be {currency}, as requested", "CURRENCY")


def correction_violations(corrects: str, asking: DecisionState) -> Iterator[Violation]:
    """Check that what is corrected is there, and not corrected already: the last word must be one."""
    if not corrects:
        return
    if corrects not in {each.outcome_id for each in asking.outcomes}:
        yield Violation("corrects_outcome_id", "must be the outcome_id of an outcome of this decision", "UNKNOWN")
    by = [each.outcome_id for each in asking.outcomes if each.corrects_outcome_id == corrects]
    if by:
        yield Violation("corrects_outcome_id", f"was corrected already; correct {by[0]} instead", "CORRECTED")
