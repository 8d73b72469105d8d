"""Readings of evidence: before an auditor gets evidence, the record log durably contains who reads what, and why."""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from grounds.audit.v1 import evidence_pb2
from grounds_record.header import SUBJECT_LABEL
from server.edges.explanations import timestamp
from server.edges.recording.recorder import Recorder
from server.stores.record_log.decision_index import DecisionQuery
from server.stores.record_log.entries import LogEntry, new_record_id
from server.stores.record_log.holds import OPERATOR
from server.stores.record_log.log import RecordLog

EVIDENCE_READING = "EVIDENCE_READING"


@dataclass(frozen=True, slots=True)
class CustomerReading:
    """The customer of a reading that does not name a decision: of churn evidence, or of a list of decisions.

    Attributes:
        market: The market of the customer.
        tag: The keyed hash that identifies the customer in record headers.
        run_id: The id of the scoring run; "" for a list of decisions.
    """

    market: str
    tag: str
    run_id: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """A reading of evidence, to be recorded.

    Attributes:
        caller: The name of the caller.
        record_id: The id of the record that is read: a decision's record or a scoring run's record; "" for a list.
        method: The name of the AuditService method.
        purpose: The purpose that the auditor stated.
        modes: The modes of a replay; empty for other readings.
        bundle_id: The id of the bundle of a what-if; "" if the request has no what-if.
        customer: The customer, for churn evidence and for a list; None for a decision.
    """

    caller: str
    record_id: str
    method: str
    purpose: str
    modes: Sequence[evidence_pb2.ReplayMode] = ()
    bundle_id: str = ""
    customer: CustomerReading | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowReading:
    """A reading of all decisions of a window by a command, to be recorded.

    Attributes:
        method: The name of the command.
        window: Conditions on the decisions, with a start and an end.
        decision_count: The number of decisions in the window.
        purpose: The purpose that the operator stated.
        operator: The account of the operator.
        bundle_id: The id of the bundle that is tried; "" if there is none.
        policy_sha256: The digest of the policy that is tried; "" if there is none.
    """

    method: str
    window: DecisionQuery
    decision_count: int
    purpose: str
    operator: str
    bundle_id: str = ""
    policy_sha256: str = ""


def record_window_reading(log: RecordLog, reading: WindowReading, at: dt.datetime) -> None:
    """Record durably that a command reads the evidence of a window, once for the whole window.

    Raises:
        StoreUnavailable: The reading was not recorded, so the evidence must not be read.
    """
    window = reading.window
    assert window.start is not None, "a window has a start"
    assert window.end is not None, "a window has an end"
    body = evidence_pb2.EvidenceReadingRecord(
        method=reading.method,
        purpose=reading.purpose,
        bundle_id=reading.bundle_id,
        caller=OPERATOR,
        read_time=timestamp(at),
        market=window.market,
        start_time=timestamp(window.start),
        end_time=timestamp(window.end),
        decision_count=reading.decision_count,
        policy_sha256=reading.policy_sha256,
        operator=reading.operator,
    )
    entry = LogEntry(
        kind=EVIDENCE_READING,
        record_id=new_record_id(at),
        time=at,
        caller=OPERATOR,
        body=body.SerializeToString(deterministic=True),
        labels={"method": reading.method},
    )
    with log.database.writing() as connection:
        log.append_or_raise(connection, [entry])


class ReadingRecorder:
    """Records readings of decisions and of churn predictions."""

    def __init__(self, recorder: Recorder, *, clock: Callable[[], dt.datetime]) -> None:
        self._recorder, self._clock = recorder, clock

    async def record(self, reading: Reading) -> evidence_pb2.EvidenceReading:
        """Record a reading durably.

        The record is encrypted with the log's own key, not with the customer's key, so that it stays readable after the
        customer is erased. The record of a reading refers to the record that was read. A decision's record identifies
        its customer. A run's record and a list cover many records, so the reading's header contains the customer's tag.

        Raises:
            StoreUnavailable: The reading was not recorded, so the evidence must not be returned.
        """
        time, customer = self._clock(), reading.customer
        subject = {SUBJECT_LABEL: reading.record_id} if reading.record_id else {}
        body = evidence_pb2.EvidenceReadingRecord(
            decision_id="" if customer else reading.record_id,
            run_id=customer.run_id if customer else "",
            market=customer.market if customer else "",
            method=reading.method,
            purpose=reading.purpose,
            modes=reading.modes,
            bundle_id=reading.bundle_id,
            caller=reading.caller,
            read_time=timestamp(time),
        )
        entry = LogEntry(
            kind=EVIDENCE_READING,
            record_id=new_record_id(time),
            time=time,
            caller=reading.caller,
            body=body.SerializeToString(deterministic=True),
            subject_tag=customer.tag if customer else "",
            labels=subject | {"method": reading.method},
        )
        record = await self._recorder.record(entry)
        return evidence_pb2.EvidenceReading(record_id=entry.record_id, index=record.index)
