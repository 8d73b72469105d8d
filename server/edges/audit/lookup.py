"""Finds the decision that an auditor asks for, whatever is left of it."""

from dataclasses import dataclass

from grounds.audit.v1 import audit_pb2
from grounds_record.export import StoredRecord
from grounds_record.header import parse_header
from server.errors import DecisionUnknown, RecordDamaged, RecordRemoved
from server.stores.record_log.decision_index import CREDIT_DECISION
from server.stores.record_log.entries import Record
from server.stores.record_log.record_reader import RecordReader


@dataclass(frozen=True, slots=True)
class DecisionLookup:
    """What is left of a decision's record.

    Attributes:
        body: None where it cannot be opened.
        kept: The opened record.
        stored: The same as it is stored.
        damage: Why it cannot, though nobody removed it; "" where somebody did.
    """

    body: audit_pb2.DecisionRecord | None
    damage: str = ""
    kept: Record | None = None
    stored: StoredRecord | None = None


def find_decision(records: RecordReader, decision_id: str) -> DecisionLookup:
    """Find a decision.

    Raises:
        DecisionUnknown: There is no such decision.
    """
    try:
        found = records.find_stored(decision_id)
    except RecordRemoved as error:
        stored = records.read_stored(decision_id)
        if parse_header(stored.header).kind != CREDIT_DECISION:
            raise unknown(decision_id) from error
        return DecisionLookup(None, stored=stored)
    except RecordDamaged as error:
        return DecisionLookup(None, str(error))
    if found is None or found[0].header.kind != CREDIT_DECISION:
        raise unknown(decision_id)
    kept, stored = found
    return DecisionLookup(audit_pb2.DecisionRecord.FromString(kept.body), kept=kept, stored=stored)


def unknown(decision_id: str) -> DecisionUnknown:
    """Say that there is no such decision."""
    return DecisionUnknown("there is no such decision", decision_id=decision_id)
