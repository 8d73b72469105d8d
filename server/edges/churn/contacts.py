"""Contacts: checks a request to record that a customer of a scoring run was contacted, and builds the contact.

Contacts and the outcomes of the customers show later whether a campaign had an effect.
"""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from grounds.audit.v1 import bodies_pb2
from grounds.churn.v1 import churn_pb2 as pb
from grounds_record.header import SUBJECT_LABEL
from server.edges.explanations import time_from_timestamp, timestamp
from server.edges.received_request import ReceivedRequest
from server.edges.recording.events import Event, EventRecorder, event_answer
from server.errors import ContactInvalid, CustomerUnknown, RunUnknown, Violation, summarize_violations
from server.stores.record_log.entries import Precondition, new_record_id
from server.stores.record_log.erased_customers import read_recorded_erasures
from server.stores.record_log.log import RecordLog
from server.stores.record_log.preconditions import count_records
from server.stores.record_log.record_reader import RecordReader
from server.stores.runs.predictions import PredictionStore
from server.stores.runs.records import CHURN_RUN, run_record_id

CHURN_CONTACT = "CHURN_CONTACT"
_KINDS = (CHURN_CONTACT,)
CLOCK_TOLERANCE = dt.timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class _RunFacts:
    """What a contact needs to know about a run and its prediction for the customer.

    Attributes:
        as_of: As-of time of the run.
        campaign: The campaign of the run; "" if there is none, or if the run is no longer kept.
        withheld: Whether the run withholds the customer; None if the run is no longer kept.
    """

    as_of: dt.datetime
    campaign: str
    withheld: bool | None


class ContactRecorder:
    """Records contacts with the customers of scoring runs."""

    def __init__(self, log: RecordLog, predictions: PredictionStore, recorder: EventRecorder) -> None:
        self._log, self._predictions, self._recorder = log, predictions, recorder

    async def record(self, request: pb.RecordContactRequest, received: ReceivedRequest) -> pb.Contact:
        """Record one contact per request_id, and return it.

        Raises:
            RunUnknown: The market never had this run.
            CustomerUnknown: The run has no prediction for the customer.
            ContactInvalid: The contact is invalid; the error lists every invalid field.
            StoreUnavailable: The contact was not recorded, or it is unknown whether it was.
            RequestIdReused, RecordRemoved, RecordDamaged: See RecordLog.append.
        """
        answer = await self._recorder.record(request, received, lambda at: self._draft(request, at))
        return pb.Contact.FromString(answer)

    def _draft(self, request: pb.RecordContactRequest, at: dt.datetime) -> Event:
        """Check a contact against its run and the contact that it corrects, and return the event to record."""
        customer, subject = (request.customer.market, request.customer.customer_id), run_record_id(request.run_id)
        run = self._read_run(request)
        corrected = request.corrects_contact_id.lower()
        problems, precondition = [*_time_violations(request, run, at)], None
        if corrected:
            earlier, precondition = self._read_contacts(customer, subject)
            problems += _correction_violations(corrected, earlier)
        elif request.channel == pb.CONTACT_CHANNEL_NONE:
            problems.append(
                Violation("channel", "must not be NONE unless this contact corrects another one", "CHANNEL")
            )
        if problems:
            raise ContactInvalid(summarize_violations(problems), violations=problems)
        contact = pb.Contact(
            contact_id=new_record_id(at),
            request_id=request.request_id,
            customer=request.customer,
            run_id=request.run_id,
            record_time=timestamp(at),
            contact_time=request.contact_time,
            channel=request.channel,
            campaign=request.campaign or run.campaign,
            corrects_contact_id=corrected,
            withheld=run.withheld,
        )
        return Event(
            kind=CHURN_CONTACT,
            record_id=contact.contact_id,
            subject_id=subject,
            customer=customer,
            answer=contact,
            precondition=precondition,
        )

    def _read_run(self, request: pb.RecordContactRequest) -> _RunFacts:
        """Return the facts about the run of a contact.

        Raises:
            RunUnknown: The market never had this run.
            CustomerUnknown: The run has no prediction for the customer.
        """
        run_id, market = request.run_id, request.customer.market
        run = self._predictions.find_run(run_id, market)
        if run is None:
            return self._recorded_run(request)
        row = self._predictions.find_prediction(run, request.customer.customer_id)
        if row is None:
            if self._predictions.find_run(run_id, market) is None:  # its predictions were deleted after the first look
                return self._recorded_run(request)
            problem = f"run {run_id} has no prediction for this customer in {market}"
            raise CustomerUnknown(problem, run_id=run_id, market=market)
        withheld = bool(row.hold_out or row.suppressions)
        return _RunFacts(run.as_of, run.manifest.get("campaign", ""), withheld)

    def _recorded_run(self, request: pb.RecordContactRequest) -> _RunFacts:
        """Return what the record log still states about a run whose predictions are no longer kept.

        Nobody can tell any longer which customers the run had, but an erased customer must not be recorded again.
        """
        run_id, market = request.run_id, request.customer.market
        unknown = RunUnknown(
            f"market {market} never had a run {run_id}; check the run_id", run_id=run_id, market=market
        )
        record = self._log.find_by_id(run_record_id(run_id))
        if record is None or record.header.kind != CHURN_RUN:
            raise unknown
        with self._log.database.reading() as connection:
            if read_recorded_erasures(connection, self._log.customer_tag(market, request.customer.customer_id)):
                problem = f"run {run_id} has no prediction for this customer in {market}"
                raise CustomerUnknown(problem, run_id=run_id, market=market)
        for each in bodies_pb2.RunRecord.FromString(record.body).markets:
            if each.market == market:
                return _RunFacts(time_from_timestamp(each.as_of_time), "", None)
        raise unknown

    def _read_contacts(self, customer: tuple[str, str], subject: str) -> tuple[list[pb.Contact], Precondition]:
        """Return a customer's contacts of one run, and the condition that no other one is recorded."""
        tag, label = self._log.customer_tag(*customer), (SUBJECT_LABEL, subject)
        with self._log.database.snapshot() as snapshot:
            records = RecordReader(snapshot, self._log.key_store)
            found = [pb.Contact.FromString(event_answer(each)) for each in records.read_related(tag, _KINDS, {subject})]
            with snapshot.reading() as connection:
                return found, Precondition(tag, _KINDS, label, count_records(connection, tag, _KINDS, label))


def _time_violations(request: pb.RecordContactRequest, run: _RunFacts, at: dt.datetime) -> Iterator[Violation]:
    """Yield violations of the time, which must lie between the as-of time of the run and now."""
    time = time_from_timestamp(request.contact_time)
    if time < run.as_of - CLOCK_TOLERANCE:
        problem = f"must not be before the as-of time of the run, {run.as_of:%Y-%m-%d %H:%M} UTC"
        yield Violation("contact_time", problem, "RANGE")
    if time > at + CLOCK_TOLERANCE:
        yield Violation("contact_time", "must not be in the future", "RANGE")


def _correction_violations(corrected_id: str, contacts: list[pb.Contact]) -> Iterator[Violation]:
    """Yield violations of a correction: the corrected contact must exist, and must not have been corrected before."""
    if corrected_id not in {each.contact_id for each in contacts}:
        problem = "must be the contact_id of a contact of this customer and run"
        yield Violation("corrects_contact_id", problem, "UNKNOWN")
    corrections = [each.contact_id for each in contacts if each.corrects_contact_id == corrected_id]
    if corrections:
        problem = f"this contact was corrected before; correct contact {corrections[0]} instead"
        yield Violation("corrects_contact_id", problem, "CORRECTED")
