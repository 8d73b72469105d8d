"""What comes after a decision: what people decided otherwise, and what became of it. Each is a sealed record of the log."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf.message import Message

from grounds.audit.v1 import bodies_pb2
from grounds.credit.v1 import credit_pb2 as pb
from server.edges.authorization import LOCAL_CALLER
from server.edges.credit.decision_records import decision_from_record
from server.edges.explanations import timestamp
from server.edges.received_request import RECEIVED
from server.edges.recorder import Recorder
from server.edges.request_digest import content_sha256
from server.edges.thread_pool import StoreThreads
from server.errors import DecisionUnknown, StoreUnavailable
from server.stores.record_log.decision_index import CREDIT_DECISION
from server.stores.record_log.entries import LogEntry, Precondition, PreconditionFailed, Record, new_record_id
from server.stores.record_log.log import RecordLog
from server.stores.record_log.preconditions import count_records
from server.stores.record_log.record_reader import RecordReader

CREDIT_OVERRIDE, CREDIT_OUTCOME = "CREDIT_OVERRIDE", "CREDIT_OUTCOME"
EVENTS = (CREDIT_OVERRIDE, CREDIT_OUTCOME)
TRIES_MAX = 10
ABOUT = "about"  # the label that names the decision
EventRequest = pb.RecordOverrideRequest | pb.RecordOutcomeRequest


@dataclass(frozen=True, slots=True)
class DecisionState:
    """A request with all that is known when it is answered.

    Attributes:
        kept: The record of the decision.
        overrides: What people decided about it until now.
        outcomes: What became of it until now.
        record_id: Under which the answer will be recorded.
        at: Now.
        after: How many overrides and outcomes there were.
    """

    decision: pb.CreditDecision
    kept: Record
    overrides: tuple[pb.Override, ...]
    outcomes: tuple[pb.Outcome, ...]
    record_id: str
    at: dt.datetime
    after: Precondition


@dataclass(frozen=True, slots=True)
class EventDraft:
    """An answer that is to be recorded, and the labels of its record."""

    kind: str
    answer: pb.Override | pb.Outcome
    labels: dict[str, str]


class DecisionEvents:
    """Records what comes after decisions, and reads it."""

    def __init__(
        self, log: RecordLog, recorder: Recorder, threads: StoreThreads, clock: Callable[[], dt.datetime]
    ) -> None:
        self.log, self.recorder, self.threads, self.clock = log, recorder, threads, clock

    async def record(self, request: EventRequest, tell: Callable[[DecisionState], EventDraft]) -> bytes:
        """Record one event once per request_id; gives the answer's bytes.

        Args:
            request: As validated against the contract.
            tell: Checks the request and gives the answer; raises what refuses it. Called in a thread.
        """
        content = bytes.fromhex(content_sha256(request, without="request_id"))
        for _ in range(TRIES_MAX):
            try:
                return answer_bytes(await self.tried(request, content, tell))
            except PreconditionFailed:
                continue  # judged by what is not the last word any more
        raise StoreUnavailable("others record about this decision all the time; try again")

    async def tried(self, request: EventRequest, content: bytes, tell: Callable[[DecisionState], EventDraft]) -> Record:
        """Judge by what there is, and record, unless it was recorded before.

        Raises:
            PreconditionFailed: Something else was recorded about the decision meanwhile.
        """
        at, request_id = self.clock(), request.request_id.lower()
        try:
            asking = await self.threads.run(self.asking, request.decision_id.lower(), at)
            told = await self.threads.run(tell, asking)
        except Exception:
            # What is refused today, or fails, may have been answered before.
            earlier = await self.threads.run(self.log.find_by_request, LOCAL_CALLER, request_id, content)
            if earlier is None:
                raise
            return earlier
        entry = LogEntry(
            kind=told.kind,
            record_id=asking.record_id,
            time=at,
            caller=LOCAL_CALLER,
            body=event_body(RECEIVED.get(), told.answer, at),
            customer=(asking.decision.customer.market, asking.decision.customer.customer_id),
            request_id=request_id,
            content=content,
            labels={"market": asking.decision.customer.market, ABOUT: asking.kept.header.record_id, **told.labels},
            precondition=asking.after,
        )
        return await self.recorder.record(entry)

    def asking(self, decision_id: str, at: dt.datetime) -> DecisionState:
        """Read the decision and what came after it, of one moment."""
        with self.log.database.snapshot() as then:
            records = RecordReader(then, self.log.key_store)
            kept = decision_of(records, decision_id)
            tag, label = kept.header.customer_tag, (ABOUT, kept.header.record_id)
            with then.reading() as connection:
                known = Precondition(tag, EVENTS, label, count_records(connection, tag, EVENTS, label))
            return DecisionState(
                decision_from_record(kept.body), kept, *events_after(records, kept), new_record_id(at), at, known
            )

    def read(self, decision_id: str) -> tuple[Record, tuple[pb.Override, ...], tuple[pb.Outcome, ...]]:
        """Give a decision and what came after it, of one moment; raises as decision_of."""
        with self.log.database.snapshot() as then:
            records = RecordReader(then, self.log.key_store)
            kept = decision_of(records, decision_id)
            return kept, *events_after(records, kept)


def decision_of(records: RecordReader, decision_id: str) -> Record:
    """Read a decision.

    Raises:
        DecisionUnknown: There is none of this name.
        RecordRemoved, RecordDamaged: See RecordReader.find_by_id.
    """
    kept = records.find_by_id(decision_id)
    if kept is None or kept.header.kind != CREDIT_DECISION:
        raise DecisionUnknown("there is no such decision", decision_id=decision_id)
    return kept


def events_after(records: RecordReader, kept: Record) -> tuple[tuple[pb.Override, ...], tuple[pb.Outcome, ...]]:
    """Read what came after a decision, in the order in which it was recorded."""
    events = list(records.read_related(kept.header.customer_tag, EVENTS, {ABOUT: kept.header.record_id}))
    return (
        tuple(pb.Override.FromString(answer_bytes(each)) for each in events if each.header.kind == CREDIT_OVERRIDE),
        tuple(pb.Outcome.FromString(answer_bytes(each)) for each in events if each.header.kind == CREDIT_OUTCOME),
    )


def event_body(received: bytes, answer: Message, at: dt.datetime) -> bytes:
    """Write the body of a record."""
    body = bodies_pb2.EventRecord(
        request=received,
        answer=answer.SerializeToString(deterministic=True),
        caller=LOCAL_CALLER,
        receive_time=timestamp(at),
    )
    return body.SerializeToString(deterministic=True)


def answer_bytes(kept: Record) -> bytes:
    """Read the answer back, byte for byte as it was sent."""
    return bodies_pb2.EventRecord.FromString(kept.body).answer
