"""Outcomes: checks a request to record an outcome against its decision, and builds the outcome."""

import datetime as dt
from collections.abc import Iterator

from google.type.date_pb2 import Date

from grounds.credit.v1 import credit_pb2 as pb
from server.edges.credit.events import CREDIT_OUTCOME, DecisionState, EventDraft
from server.edges.explanations import time_from_timestamp, timestamp
from server.errors import OutcomeInvalid, Violation, summarize_violations

# Tolerance, because a date in the caller's time zone may differ from the date in UTC by one day.
_DAY = dt.timedelta(days=1)


def draft_outcome(request: pb.RecordOutcomeRequest, state: DecisionState) -> EventDraft:
    """Check an outcome against its decision, and return the event to record.

    Raises:
        OutcomeInvalid: The outcome is invalid; the error lists every invalid field.
    """
    violations = [
        *_date_violations(request.event_date, state),
        *_amount_violations(request, state),
        *_correction_violations(request.corrects_outcome_id.lower(), state),
    ]
    if violations:
        raise OutcomeInvalid(summarize_violations(violations), violations=violations)
    event = request.WhichOneof("event")
    assert event is not None, "validation requires an event"
    outcome = pb.Outcome(
        outcome_id=state.record_id,
        request_id=request.request_id,
        decision_id=state.decision_id,
        record_time=timestamp(state.at),
        event_date=request.event_date,
        corrects_outcome_id=request.corrects_outcome_id.lower(),
    )
    getattr(outcome, event).CopyFrom(getattr(request, event))
    return EventDraft(CREDIT_OUTCOME, outcome, {"event": event.upper()})


def _date_violations(date: Date, state: DecisionState) -> Iterator[Violation]:
    """Yield violations of the date, which must exist and lie between decision and today, with one day of tolerance."""
    try:
        day = dt.date(date.year, date.month, date.day)
    except ValueError:
        yield Violation("event_date", "must be a calendar date with year, month and day", "DATE")
        return
    decided = time_from_timestamp(state.history.decision.record_ref.decide_time).date()
    if day < decided - _DAY:
        yield Violation("event_date", f"must not be before the decision, which was made on {decided}", "RANGE")
    if day > state.at.astimezone(dt.UTC).date() + _DAY:
        yield Violation("event_date", "must not be in the future", "RANGE")


def _amount_violations(request: pb.RecordOutcomeRequest, state: DecisionState) -> Iterator[Violation]:
    """Yield violations of a booked amount, which must have the currency of the requested amount."""
    currency = state.history.decision.requested_amount.currency_code
    if request.HasField("booked") and request.booked.amount.currency_code != currency:
        yield Violation(
            "booked.amount.currency_code", f"must be {currency}, the currency of the requested amount", "CURRENCY"
        )


def _correction_violations(corrected_id: str, state: DecisionState) -> Iterator[Violation]:
    """Yield violations of a correction.

    The corrected outcome must belong to the decision, and must not have been corrected before. Therefore corrections
    form a chain.
    """
    if not corrected_id:
        return
    outcomes = state.history.outcomes
    if corrected_id not in {each.outcome_id for each in outcomes}:
        yield Violation("corrects_outcome_id", "must be the outcome_id of an outcome of this decision", "UNKNOWN")
    corrections = [each.outcome_id for each in outcomes if each.corrects_outcome_id == corrected_id]
    if corrections:
        problem = f"this outcome was corrected before; correct outcome {corrections[0]} instead"
        yield Violation("corrects_outcome_id", problem, "CORRECTED")
