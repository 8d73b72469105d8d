"""Readings of evidence: what was recorded is given to an auditor only after it is durable who reads it, and why."""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from grounds.audit.v1 import audit_pb2, evidence_pb2
from record.export import StoredRecord
from record.header import parse_header
from server.edges.access import LOCAL_CALLER
from server.edges.explanations import timestamp
from server.edges.recorder import Recorder
from server.edges.threads import Threads
from server.errors import DecisionUnknown, RecordDamaged, RecordRemoved
from server.stores.decisions import CREDIT_DECISION
from server.stores.entries import Entry, Kept, new_record_id
from server.stores.proofs import Proofs

EVIDENCE_READING = "EVIDENCE_READING"


class Records(Protocol):
    """Reads records; see server.stores.records.RecordLog."""

    def with_stored(self, record_id: str) -> tuple[Kept, StoredRecord] | None:
        """Give a record by its name, opened and as it is stored."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is left of a decision's record.

    Attributes:
        body: None where it cannot be opened.
        kept: The opened record.
        stored: The same as it is stored.
        damage: Why it cannot, though nobody removed it; "" where somebody did.
    """

    body: audit_pb2.DecisionRecord | None
    damage: str = ""
    kept: Kept | None = None
    stored: StoredRecord | None = None


@dataclass(frozen=True, slots=True)
class OfRun:
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
    of_run: OfRun | None = None


class Readings:
    """Finds decisions, and records that they are read."""

    def __init__(
        self,
        recorder: Recorder,
        records: Records,
        proofs: Proofs,
        threads: Threads,
        *,
        clock: Callable[[], dt.datetime],
    ) -> None:
        self.recorder, self.records, self.proofs = recorder, records, proofs
        self.threads, self.clock = threads, clock

    async def find(self, decision_id: str) -> Found:
        """Find a decision, whatever is left of it. Nobody has seen it yet.

        Raises:
            DecisionUnknown: There is no such decision.
        """
        try:
            found = await self.threads.run(self.records.with_stored, decision_id)
        except RecordRemoved as error:
            if await self.threads.run(self.kind, decision_id) != CREDIT_DECISION:
                raise unknown(decision_id) from error
            return Found(None)
        except RecordDamaged as error:
            return Found(None, str(error))
        if found is None or found[0].header.kind != CREDIT_DECISION:
            raise unknown(decision_id)
        kept, stored = found
        return Found(audit_pb2.DecisionRecord.FromString(kept.body), kept=kept, stored=stored)

    def kind(self, record_id: str) -> str:
        """Give what a record is whose body is gone."""
        _, record, _ = self.proofs.newest_inclusion(record_id)
        return parse_header(record.header).kind

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
        entry = Entry(
            kind=EVIDENCE_READING,
            record_id=new_record_id(time),
            time=time,
            caller=LOCAL_CALLER,
            body=body.SerializeToString(deterministic=True),
            about=of_run.tag if of_run else "",
            labels={"about": reading.record_id, "method": reading.method},
        )
        kept = await self.recorder.keep(entry)
        return evidence_pb2.EvidenceReading(record_id=entry.record_id, index=kept.index)


def unknown(decision_id: str) -> DecisionUnknown:
    """Say that there is no such decision."""
    return DecisionUnknown("there is no such decision", decision_id=decision_id)
