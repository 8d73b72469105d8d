"""Readings of evidence: what was recorded is given to an auditor only after it is durable who reads it, and why."""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from grounds.audit.v1 import evidence_pb2
from server.edges.authorization import LOCAL_CALLER
from server.edges.explanations import timestamp
from server.edges.recorder import Recorder
from server.stores.record_log.entries import LogEntry, new_record_id

EVIDENCE_READING = "EVIDENCE_READING"


@dataclass(frozen=True, slots=True)
class RunReading:
    """Whose risk is read, of which run.

    Attributes:
        tag: Of the customer.
    """

    run_id: str
    market: str
    tag: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What is recorded of a reading.

    Attributes:
        record_id: The decision's, or of the run's record.
        of_run: None where a decision is read.
    """

    record_id: str
    method: str
    purpose: str
    modes: Sequence[evidence_pb2.ReplayMode] = ()
    bundle_id: str = ""
    of_run: RunReading | None = None


class ReadingRecorder:
    """Records that decisions and risks are read."""

    def __init__(self, recorder: Recorder, *, clock: Callable[[], dt.datetime]) -> None:
        self.recorder, self.clock = recorder, clock

    async def record(self, reading: Reading) -> evidence_pb2.EvidenceReading:
        """Record a reading, durably.

        It is sealed under the log's own key: who read what of a customer is still to be known when the customer is
        erased. A decision names its customer itself; of a run the customer is in the header, as a tag.

        Raises:
            StoreUnavailable: It is not recorded, so nothing may be read.
        """
        time, of_run = self.clock(), reading.of_run
        body = evidence_pb2.EvidenceReadingRecord(
            decision_id="" if of_run else reading.record_id,
            run_id=of_run.run_id if of_run else "",
            market=of_run.market if of_run else "",
            method=reading.method,
            purpose=reading.purpose,
            modes=reading.modes,
            bundle_id=reading.bundle_id,
            caller=LOCAL_CALLER,
            read_time=timestamp(time),
        )
        entry = LogEntry(
            kind=EVIDENCE_READING,
            record_id=new_record_id(time),
            time=time,
            caller=LOCAL_CALLER,
            body=body.SerializeToString(deterministic=True),
            subject_tag=of_run.tag if of_run else "",
            labels={"about": reading.record_id, "method": reading.method},
        )
        kept = await self.recorder.record(entry)
        return evidence_pb2.EvidenceReading(record_id=entry.record_id, index=kept.index)
