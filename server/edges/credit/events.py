"""Events of a decision: the overrides and outcomes that are recorded for the decision later.

Each event is an encrypted record in the record log, and refers to the record of its decision.
"""

import datetime as dt
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from grounds.credit.v1 import credit_pb2 as pb
from grounds_record.header import SUBJECT_LABEL
from server.edges.credit.decision_records import decision_from_record
from server.edges.identity.callers import Caller
from server.edges.received_request import ReceivedRequest
from server.edges.recording.events import Event, EventRecorder, event_answer
from server.errors import DecisionUnknown, RecordDamaged, RecordRemoved
from server.stores.record_log.decision_index import CREDIT_DECISION
from server.stores.record_log.entries import Precondition, Record, new_record_id
from server.stores.record_log.log import RecordLog
from server.stores.record_log.preconditions import count_records
from server.stores.record_log.record_reader import RecordReader

CREDIT_OVERRIDE, CREDIT_OUTCOME = "CREDIT_OVERRIDE", "CREDIT_OUTCOME"
_EVENT_KINDS = (CREDIT_OVERRIDE, CREDIT_OUTCOME)


@dataclass(frozen=True, slots=True)
class DecisionHistory:
    """A decision with its events, all read from one snapshot of the database.

    Attributes:
        decision: The decision as the caller received it.
        overrides: The overrides, in the order in which they were recorded.
        outcomes: The outcomes, in the order in which they were recorded.
    """

    decision: pb.CreditDecision
    overrides: tuple[pb.Override, ...]
    outcomes: tuple[pb.Outcome, ...]


@dataclass(frozen=True, slots=True)
class CustomerEvents:
    """Events of decisions about one customer, in the order in which they were recorded. Each names its decision."""

    overrides: list[pb.Override]
    outcomes: list[pb.Outcome]


@dataclass(frozen=True, slots=True)
class DecisionState:
    """The state of a decision, against which a new event is checked.

    Attributes:
        decision_id: The id of the decision and of its record.
        history: The decision with its earlier events.
        record_id: The id for the record of the new event.
        at: The time of the new event.
        precondition: The condition for appending the new event: the decision must still have the same number of events.
    """

    decision_id: str
    history: DecisionHistory
    record_id: str
    at: dt.datetime
    precondition: Precondition


@dataclass(frozen=True, slots=True)
class EventDraft:
    """An event that passed all checks and can be recorded.

    Attributes:
        kind: The kind of the record.
        answer: The message that is recorded and returned to the caller.
        labels: Labels for the record's header, in addition to market and decision.
    """

    kind: str
    answer: pb.Override | pb.Outcome
    labels: dict[str, str]


class DecisionEvents:
    """Records and reads the events of decisions."""

    def __init__(self, log: RecordLog, recorder: EventRecorder) -> None:
        self._log, self._recorder = log, recorder

    async def record(
        self,
        request: pb.RecordOverrideRequest | pb.RecordOutcomeRequest,
        received: ReceivedRequest,
        draft: Callable[[DecisionState], EventDraft],
    ) -> bytes:
        """Record one event per request_id, and return the bytes of the answer.

        Args:
            request: The request, which has passed validation.
            received: The same request with its bytes as received.
            draft: Checks the request against the state of the decision; returns the event, or raises a ServerError. It
                runs in a thread, and again for each retry.

        Raises:
            StoreUnavailable: Another event was recorded during every attempt, or the database does not answer.
            ServerError: `draft` rejected the event, or the decision cannot be read.
        """

        def check(at: dt.datetime) -> Event:
            state = self._read_state(request.decision_id.lower(), at, received.caller)
            event, customer = draft(state), state.history.decision.customer
            return Event(
                kind=event.kind,
                record_id=state.record_id,
                subject_id=state.decision_id,
                customer=(customer.market, customer.customer_id),
                answer=event.answer,
                labels=event.labels,
                precondition=state.precondition,
            )

        return await self._recorder.record(request, received, check)

    def _read_state(self, decision_id: str, at: dt.datetime, caller: Caller) -> DecisionState:
        """Read a decision, its events, and the number of its events from one snapshot."""
        with self._log.database.snapshot() as snapshot:
            records = RecordReader(snapshot, self._log.key_store)
            record = _read_decision(records, decision_id, caller)
            tag, label = record.header.customer_tag, (SUBJECT_LABEL, record.header.record_id)
            with snapshot.reading() as connection:
                count = count_records(connection, tag, _EVENT_KINDS, label)
            return DecisionState(
                decision_id=record.header.record_id,
                history=_history(records, record),
                record_id=new_record_id(at),
                at=at,
                precondition=Precondition(tag, _EVENT_KINDS, label, count),
            )

    def read_history(self, decision_id: str, caller: Caller) -> DecisionHistory:
        """Read a decision with its events from one snapshot.

        Raises:
            DecisionUnknown: No decision has this id, or the caller may not ask about its market.
            RecordRemoved, RecordDamaged: See RecordReader.find_by_id.
        """
        with self._log.database.snapshot() as snapshot:
            records = RecordReader(snapshot, self._log.key_store)
            return _history(records, _read_decision(records, decision_id, caller))


def read_events(records: RecordReader, decision: Record) -> tuple[tuple[pb.Override, ...], tuple[pb.Outcome, ...]]:
    """Read the overrides and the outcomes of a decision, each in the order in which they were recorded."""
    events = read_customer_events(records, decision.header.customer_tag, {decision.header.record_id})
    return tuple(events.overrides), tuple(events.outcomes)


def read_customer_events(records: RecordReader, customer_tag: str, decision_ids: Collection[str]) -> CustomerEvents:
    """Read the overrides and the outcomes of some decisions about one customer, each in the order in which they were recorded."""
    events = CustomerEvents([], [])
    for each in records.read_related(customer_tag, _EVENT_KINDS, decision_ids):
        if each.header.kind == CREDIT_OVERRIDE:
            events.overrides.append(pb.Override.FromString(event_answer(each)))
        else:
            events.outcomes.append(pb.Outcome.FromString(event_answer(each)))
    return events


def outcomes_in_force(outcomes: Iterable[pb.Outcome]) -> list[pb.Outcome]:
    """Return the outcomes without those that were corrected; a correction has the place of what it corrects."""
    places = dict[str, str]()  # the first outcome of each chain of corrections, by the id of every outcome in the chain
    newest = dict[str, pb.Outcome]()
    for each in outcomes:
        place = places.get(each.corrects_outcome_id, each.corrects_outcome_id) or each.outcome_id
        places[each.outcome_id] = place
        newest[place] = each
    return list(newest.values())


def _read_decision(records: RecordReader, decision_id: str, caller: Caller) -> Record:
    """Read the record of a decision. Raises the same errors as DecisionEvents.read_history."""
    unknown = DecisionUnknown("decision_id: no decision has this id; check the id", decision_id=decision_id)
    try:
        record = records.find_by_id(decision_id)
    except (RecordRemoved, RecordDamaged) as error:
        # A caller who may not ask about every market must not learn that a record exists that cannot be read.
        if caller.markets is None:
            raise
        raise unknown from error
    if record is None or record.header.kind != CREDIT_DECISION:
        raise unknown
    if not caller.may_see(record.header.labels.get("market", "")):
        raise unknown
    return record


def _history(records: RecordReader, record: Record) -> DecisionHistory:
    """Read the events of a decision whose record was read from the same snapshot."""
    overrides, outcomes = read_events(records, record)
    return DecisionHistory(decision_from_record(record.body), overrides, outcomes)
