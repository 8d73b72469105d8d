"""Entries to append, records in the log, and how a record is stored in a row of RECORDS."""

import datetime as dt
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row

from grounds_record.export import StoredRecord
from grounds_record.header import Header, RemovedRecord
from grounds_record.header_columns import header_columns
from grounds_record.merkle import split_hashes
from grounds_record.sealed_record import SealedRecord
from server.errors import RecordDamaged, RequestIdReused

# The columns that follow from the header.
_HEADER_COLUMNS = (
    *("kind", "record_id", "time_us", "caller", "request_id", "key_id", "customer_tag", "content_tag"),
    *("market", "bundle_id", "decision", "grade"),
)
_MICROSECOND = dt.timedelta(microseconds=1)
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class PreconditionFailed(Exception):
    """Another record was appended since the entry's precondition was read: read again, decide again, and retry."""


@dataclass(frozen=True, slots=True)
class Precondition:
    """What must hold when an entry is appended, for an optimistic concurrency check.

    Attributes:
        tag: Of the customer whose records are counted.
        kinds: Of the records.
        label: Name and value of a label that they have.
        count: How many there are.
    """

    tag: str
    kinds: tuple[str, ...]
    label: tuple[str, str]
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """A record to append.

    Attributes:
        kind: Capitals and underscores, such as CREDIT_DECISION.
        record_id: A UUID from `new_record_id`, or that of the decision or run that it records.
        time: When it was made, with its zone.
        caller: The system that asked.
        body: The bytes to seal.
        customer: (market, customer_id) whose key seals it; None if it concerns no customer.
        request_id: UUID of the caller's request; of each request the caller gets one record. "" if there was none.
        content: Digest of what the caller sent; another one under the same request_id is rejected.
        labels: For the header, which is not encrypted: codes only.
        subject_tag: Tag of the customer that a record sealed by the log's own key concerns, so that the record outlives the
            customer's key. Only without `customer`.
        removed: What retention removed; only of kind RETENTION.
        precondition: What must hold when it is appended, else the result is PreconditionFailed; None for no check.
    """

    kind: str
    record_id: str
    time: dt.datetime
    caller: str
    body: bytes = field(repr=False)
    customer: tuple[str, str] | None = field(default=None, repr=False)
    request_id: str = ""
    content: bytes = field(default=b"", repr=False)
    labels: Mapping[str, str] = field(default_factory=dict)
    subject_tag: str = ""
    removed: tuple[RemovedRecord, ...] = ()
    precondition: Precondition | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """A record in the log, with its body decrypted.

    Attributes:
        index: Its position in the log, from 0.
        header: Not encrypted.
        body: The bytes that were sealed.
    """

    index: int
    header: Header
    body: bytes = field(repr=False)


AppendResult = Record | Exception
RequestKey = tuple[str, str]  # caller, request_id


def new_record_id(at: dt.datetime) -> str:
    """Return a new UUID of version 7 (RFC 9562): its first 48 bits are the milliseconds since 1970, the others random.

    Ids that are made together stand together in the database index of ids. With random ids, appending to a large log would
    read and write a page of its own for every record.

    Args:
        at: 1970 or later, as the time of a header.
    """
    # Layout: 48 bits of time, 4 of version, 12 random, 2 of variant, 62 random.
    milliseconds = (at - EPOCH) // dt.timedelta(milliseconds=1)
    return str(
        uuid.UUID(int=milliseconds << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62))
    )


def us_since_epoch(time: dt.datetime) -> int:
    """Return a time in whole microseconds since 1970, as headers and columns store it."""
    return (time - EPOCH) // _MICROSECOND


def time_from_us(microseconds: int) -> dt.datetime:
    """Return the time, in UTC, of microseconds since 1970."""
    return EPOCH + microseconds * _MICROSECOND


def record_row(index: int, header: Header, record: SealedRecord, nodes: tuple[bytes, ...]) -> dict[str, Any]:
    """Return the row of RECORDS for a sealed record.

    Args:
        index: Its position in the log.
        header: Parsed.
        record: Header and ciphertext.
        nodes: The hashes that it completes, its leaf hash first.
    """
    columns: dict[str, Any] = dict.fromkeys(_HEADER_COLUMNS) | header_columns(header)
    return columns | {
        "record_index": index,
        "time_us": header.time_us,
        "header": record.header,
        "ciphertext": record.ciphertext,
        "nodes": b"".join(nodes),
    }


def stored_record(row: Row[Any]) -> StoredRecord:
    """Return a row of RECORDS as a StoredRecord; nothing is checked, and columns may have any value."""
    columns = {name: str(getattr(row, name)) for name in _HEADER_COLUMNS if getattr(row, name) is not None}
    ciphertext = None if row.ciphertext is None else as_bytes(row.ciphertext)
    return StoredRecord(row.record_index, as_bytes(row.header), ciphertext, split_hashes(as_bytes(row.nodes)), columns)


def as_bytes(content: Any) -> bytes:
    """Return the value of a binary column as bytes, also if somebody stored a text or a number in it."""
    return bytes(content) if isinstance(content, bytes | memoryview) else str(content).encode()


def record_damaged(row: Row[Any]) -> RecordDamaged:
    """Return the error for a record that is not what was written."""
    return RecordDamaged(
        "the record is not what was written; run: python -m server doctor", place=str(row.record_index)
    )


def request_id_reused(request_id: str) -> RequestIdReused:
    """Return the error for a request_id that an earlier request with another content used."""
    return RequestIdReused(
        "request_id: was used for a request with another content; use a new one", request_id=request_id
    )
