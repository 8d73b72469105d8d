"""Records events that callers report: overrides and outcomes of decisions, and contacts with the customers of a scoring run.

Each event is an encrypted record in the record log, and refers to the record that it is about.
"""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from google.protobuf.message import Message

from grounds.audit.v1 import bodies_pb2
from grounds_record.header import SUBJECT_LABEL
from server.edges.explanations import timestamp
from server.edges.received_request import ReceivedRequest
from server.edges.recording.recorder import Recorder
from server.edges.request_digest import content_sha256
from server.edges.thread_pool import StoreThreads
from server.errors import StoreUnavailable
from server.stores.record_log.entries import LogEntry, Precondition, PreconditionFailed, Record
from server.stores.record_log.log import RecordLog

_ATTEMPTS_MAX = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event that passed all checks and can be recorded.

    Attributes:
        kind: The kind of the record.
        record_id: The id of the record.
        subject_id: The id of the record that the event is about.
        customer: Market and customer_id of the customer.
        answer: The message that is recorded and returned to the caller.
        labels: Labels for the record's header, in addition to market and subject.
        precondition: The condition for appending the event; None if there is none.
    """

    kind: str
    record_id: str
    subject_id: str
    customer: tuple[str, str] = field(repr=False)
    answer: Message = field(repr=False)
    labels: Mapping[str, str] = field(default_factory=dict)
    precondition: Precondition | None = None


class EventRecorder:
    """Records events, one for each request_id."""

    def __init__(
        self, log: RecordLog, recorder: Recorder, threads: StoreThreads, clock: Callable[[], dt.datetime]
    ) -> None:
        self._log, self._recorder, self._threads, self._clock = log, recorder, threads, clock

    async def record(self, request: Message, received: ReceivedRequest, draft: Callable[[dt.datetime], Event]) -> bytes:
        """Record one event per request_id, and return the bytes of the answer.

        Args:
            request: The request, which has passed validation and has a request_id.
            received: The same request with its bytes as received.
            draft: Checks the request at a time; returns the event, or raises a ServerError. It runs in a thread, and again
                for each retry.

        Raises:
            StoreUnavailable: Another event was recorded during every attempt, or the database does not answer.
            ServerError: `draft` rejected the event.
        """
        content = bytes.fromhex(content_sha256(request, without="request_id"))
        request_id: str = request.request_id.lower()  # type: ignore[attr-defined] # every such request has one
        # Check the event against a snapshot, and append it only if its precondition still holds. Otherwise, retry.
        for _ in range(_ATTEMPTS_MAX):
            try:
                return event_answer(await self._attempt(request_id, received, content, draft))
            except PreconditionFailed:
                continue
        raise StoreUnavailable("too many concurrent updates to the same record; retry")

    async def _attempt(
        self, request_id: str, received: ReceivedRequest, content: bytes, draft: Callable[[dt.datetime], Event]
    ) -> Record:
        """Check the event against the current state and append it, or return the record of an equal earlier request.

        Raises:
            PreconditionFailed: Another event was recorded after the state was read.
        """
        at, caller = self._clock(), received.caller.name
        try:
            event = await self._threads.run(draft, at)
        except Exception:
            # A repeated request may fail now although it succeeded earlier. In that case, return the record of the
            # earlier request.
            earlier = await self._threads.run(self._log.find_by_request, caller, request_id, content)
            if earlier is None:
                raise
            return earlier
        entry = LogEntry(
            kind=event.kind,
            record_id=event.record_id,
            time=at,
            caller=caller,
            body=_event_body(received, event.answer, at),
            customer=event.customer,
            request_id=request_id,
            content=content,
            labels={"market": event.customer[0], SUBJECT_LABEL: event.subject_id, **event.labels},
            precondition=event.precondition,
        )
        return await self._recorder.record(entry)


def event_answer(record: Record) -> bytes:
    """Return the encoded answer to the caller, from the record of an event."""
    return bodies_pb2.EventRecord.FromString(record.body).answer


def _event_body(received: ReceivedRequest, answer: Message, at: dt.datetime) -> bytes:
    """Return the body of an event's record."""
    body = bodies_pb2.EventRecord(
        request=received.content,
        answer=answer.SerializeToString(deterministic=True),
        caller=received.caller.name,
        receive_time=timestamp(at),
    )
    return body.SerializeToString(deterministic=True)
