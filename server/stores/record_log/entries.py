"""What goes into the log, what comes out of it, and how it stands in a row."""

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
from grounds_record.merkle import HASH_BYTES
from grounds_record.sealed_record import SealedRecord
from server.errors import RecordDamaged, RequestIdReused

# The columns that follow from the header.
COLUMNS = (
    *("kind", "record_id", "time_us", "caller", "request_id", "key_id", "customer_tag", "content_tag"),
    *("market", "bundle_id", "decision", "grade"),
)
MICROSECOND = dt.timedelta(microseconds=1)
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class PreconditionFailed(Exception):
    """Another record came between: look again at what there is, and judge again."""


@dataclass(frozen=True, slots=True)
class Precondition:
    """What was there when an entry was judged: so many records of these kinds about a customer, with a label."""

    tag: str
    kinds: tuple[str, ...]
    label: tuple[str, str]
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """What is to be recorded.

    Attributes:
        kind: In capitals, such as CREDIT_DECISION.
        record_id: A UUID of its own, from `new_record_id`, or of what it is about; the decision_id of a decision.
        time: When it was made.
        caller: The system that asked.
        body: What is sealed.
        customer: (market, customer_id) whose key seals it; None where it is about no customer.
        request_id: UUID of the caller's request, of which the caller gets one record; "" where there was none.
        content: Digest of what was sent: another one under the same request_id is refused.
        labels: For the header; codes only.
        about: Tag of a customer whom the record is about although the log's own key seals it, so that it outlives the
            customer's key. Only without `customer`.
        removed: What retention removed; only of kind RETENTION.
        after: What must be all that there is when it is appended, else it is PreconditionFailed; None where that does not matter.
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
    """A record that is in the log, with its body in the clear."""

    index: int
    header: Header
    body: bytes = field(repr=False)


AppendResult = Record | Exception
RequestKey = tuple[str, str]  # caller, request_id


def new_record_id(at: dt.datetime) -> str:
    """Name a record that is made at this time: a UUID of version 7 (RFC 9562), its first 48 bits the milliseconds since 1970.

    The time is 1970 or later, as a header's must be.

    By time, names that are made together stand together in the index of names: a random one would have a page of its own read
    and written for every record of a large log.
    """
    milliseconds = (at - EPOCH) // dt.timedelta(milliseconds=1)
    return str(
        uuid.UUID(int=milliseconds << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62))
    )


def record_row(place: int, header: Header, record: SealedRecord, nodes: tuple[bytes, ...]) -> dict[str, Any]:
    """Write a row."""
    columns: dict[str, Any] = dict.fromkeys(COLUMNS) | header_columns(header)
    return columns | {
        "record_index": place,
        "time_us": header.time_us,
        "header": record.header,
        "ciphertext": record.ciphertext,
        "nodes": b"".join(nodes),
    }


def stored_record(row: Row[Any]) -> StoredRecord:
    """Read a row as it is, whatever it holds by now."""
    columns = {name: str(getattr(row, name)) for name in COLUMNS if getattr(row, name) is not None}
    ciphertext = None if row.ciphertext is None else as_bytes(row.ciphertext)
    return StoredRecord(row.record_index, as_bytes(row.header), ciphertext, split_hashes(as_bytes(row.nodes)), columns)


def split_hashes(hashes: bytes) -> tuple[bytes, ...]:
    """Take hashes apart; what is left over is one too, which no proof will take."""
    return tuple(hashes[start : start + HASH_BYTES] for start in range(0, len(hashes), HASH_BYTES))


def as_bytes(content: Any) -> bytes:
    """Give bytes, also where somebody put a text or a number into a column of bytes."""
    return bytes(content) if isinstance(content, bytes | memoryview) else str(content).encode()


def record_damaged(row: Row[Any]) -> RecordDamaged:
    """Say that a record is not what was written."""
    return RecordDamaged(
        "the record is not what was written; run: python -m server doctor", place=str(row.record_index)
    )


def request_id_reused(request_id: str) -> RequestIdReused:
    """Say that a request had another content."""
    return RequestIdReused("this request_id was used for another content; choose a new one", request_id=request_id)
