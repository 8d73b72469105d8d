"""Entries (records to append), records of the log, and the conversion between a record and its row of RECORDS."""

import datetime as dt
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row

from grounds_record.export import StoredRecord
from grounds_record.header import Header, RemovedRecord, header_columns
from grounds_record.merkle import split_hashes
from grounds_record.sealed_record import SealedRecord
from server.errors import RecordDamaged, RequestIdReused

# The columns of RECORDS that are derived from the header.
_HEADER_COLUMNS = (
    *("kind", "record_id", "time_us", "caller", "request_id", "key_id", "customer_tag", "content_tag"),
    *("market", "bundle_id", "decision", "grade"),
)
_MICROSECOND = dt.timedelta(microseconds=1)
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class PreconditionFailed(Exception):
    """A related record was appended after the precondition was read. The caller must read, decide and append again."""


@dataclass(frozen=True, slots=True)
class Precondition:
    """The expected number of related records, which is checked when an entry is appended (optimistic concurrency check).

    Attributes:
        tag: Tag of the customer whose records are counted.
        kinds: Kinds of the counted records.
        label: Name and value of a label of the counted records.
        count: The expected number of these records.
    """

    tag: str
    kinds: tuple[str, ...]
    label: tuple[str, str]
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """A record to append.

    Attributes:
        kind: Kind in uppercase letters and underscores, such as CREDIT_DECISION.
        record_id: UUID of the record. A decision or a run is recorded under its own id. Other records have an id from
            `new_record_id`.
        time: Time of the record, with a time zone.
        caller: Name of the calling system.
        body: The bytes to seal.
        customer: Market and customer_id of the customer whose key seals the record; None if the log's own key seals it.
        request_id: UUID of the caller's request; "" if there is none. Only one record is appended for each request.
        content: Digest of the request's content. A request with the same request_id and a different content is rejected.
        labels: Labels of the header. The header is not encrypted, so values must be codes without personal data.
        subject_tag: Tag of the customer whom the record concerns, if the log's own key seals the record. The record then stays
            readable after the customer's key is destroyed. Must be "" if `customer` is set.
        removed: The records whose ciphertexts retention removed. Empty unless the kind is RETENTION.
        precondition: Condition that is checked when the entry is appended; None for no check. If the condition is false, the
            result is PreconditionFailed.
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
        index: Index of the record in the log, from 0.
        header: The header.
        body: The decrypted body.
    """

    index: int
    header: Header
    body: bytes = field(repr=False)


AppendResult = Record | Exception
RequestKey = tuple[str, str]  # caller, request_id


def new_record_id(at: dt.datetime) -> str:
    """Return a new UUID of version 7 (RFC 9562). Its first 48 bits are the milliseconds since 1970. Most other bits are random.

    Ids of about the same time are adjacent in the database index of ids. With random ids, every append to a large log would read
    and write a different page of the index.

    Args:
        at: Time of the record, 1970 or later.
    """
    # Layout: 48 bits of time, 4 bits of version, 12 random bits, 2 bits of variant, 62 random bits.
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
        index: Index of the record in the log.
        header: The parsed header.
        record: The bytes of header and ciphertext.
        nodes: Hashes of the tree nodes that the record completes, beginning with its leaf hash.
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
    """Return a row of RECORDS as a StoredRecord. The row is not checked, so columns may contain any value."""
    columns = {name: str(getattr(row, name)) for name in _HEADER_COLUMNS if getattr(row, name) is not None}
    ciphertext = None if row.ciphertext is None else as_bytes(row.ciphertext)
    return StoredRecord(row.record_index, as_bytes(row.header), ciphertext, split_hashes(as_bytes(row.nodes)), columns)


def as_bytes(content: Any) -> bytes:
    """Return the value of a binary column as bytes, even if a text or a number was stored in the column."""
    return bytes(content) if isinstance(content, bytes | memoryview) else str(content).encode()


def record_damaged(row: Row[Any]) -> RecordDamaged:
    """Return the error for a record that was changed after it was written."""
    return RecordDamaged(
        "the record was changed after it was written; run: python -m server doctor", place=str(row.record_index)
    )


def request_id_reused(request_id: str) -> RequestIdReused:
    """Return the error for a request_id that was already used for a different request."""
    return RequestIdReused(
        "request_id: was already used for a request with different content; use a new request_id", request_id=request_id
    )
