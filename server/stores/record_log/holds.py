"""Legal holds: while one is on a customer, nothing recorded about them is erased or removed. Each is a record of the log."""

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import Connection, select

from grounds.audit.v1 import bodies_pb2 as pb
from grounds_record.header import Header
from server.errors import ErasureRefused
from server.stores.record_log.entries import EPOCH, MICROSECOND, LogEntry, new_record_id
from server.stores.record_log.log import RecordLog
from server.stores.record_log.record_reader import header_from_row, read_related_headers
from server.stores.tables import RECORDS

LEGAL_HOLD, RELEASE = "LEGAL_HOLD", "LEGAL_HOLD_RELEASE"
OF = "hold"  # the label of a release that names the hold
OPERATOR = "operator"  # the caller of records that an operator's commands write


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold that is not released."""

    hold_id: str
    since: dt.datetime


def place_hold(log: RecordLog, market: str, customer_id: str, reason: str, at: dt.datetime) -> str:
    """Put a hold on a customer; gives its name. There may be several, each released by its own name."""
    hold_id = new_record_id(at)
    entry = hold_entry(LEGAL_HOLD, hold_id, log.customer_tag(market, customer_id), reason, at, {"market": market})
    with log.database.writing() as connection:
        append_entry(log, connection, entry)
    return hold_id


def read_hold_subject(log: RecordLog, hold_id: str) -> tuple[str, str]:
    """Give the market and the tag of the customer whom a hold is on, released or not.

    Raises:
        ErasureRefused: There is no such hold.
    """
    with log.database.reading() as connection:
        header = hold_of(connection, hold_id)
    return header.labels["market"], header.customer_tag


def release_hold(log: RecordLog, hold_id: str, reason: str, at: dt.datetime) -> None:
    """Release a hold.

    Raises:
        ErasureRefused: There is no such hold, or it was released already.
    """
    with log.database.writing() as connection:
        log.lock_head(connection)
        header = hold_of(connection, hold_id)
        if hold_id not in {hold.hold_id for hold in read_active_holds(connection, header.customer_tag)}:
            raise ErasureRefused("this hold was released already")
        labels = {OF: hold_id, "market": header.labels["market"]}
        append_entry(log, connection, hold_entry(RELEASE, new_record_id(at), header.customer_tag, reason, at, labels))


def hold_of(connection: Connection, hold_id: str) -> Header:
    """Read the header of a hold."""
    wanted = select(RECORDS).where(RECORDS.c.record_id == hold_id, RECORDS.c.kind == LEGAL_HOLD)
    row = connection.execute(wanted).first()
    if row is None:
        raise ErasureRefused("there is no such hold; `hold` printed its name, and a refused erasure prints it again")
    return header_from_row(row)


def hold_entry(kind: str, name: str, tag: str, reason: str, at: dt.datetime, labels: dict[str, str]) -> LogEntry:
    """Give the entry of a hold or a release: under the log's own key, for it must outlive the customer's."""
    body = pb.HoldRecord(reason=reason).SerializeToString(deterministic=True)
    return LogEntry(kind=kind, record_id=name, time=at, caller=OPERATOR, body=body, subject_tag=tag, labels=labels)


def append_entry(log: RecordLog, connection: Connection, entry: LogEntry) -> None:
    """Append one entry."""
    (outcome,), _ = log.append_within(connection, [entry])
    if isinstance(outcome, Exception):
        raise outcome


def read_active_holds(connection: Connection, tag: str) -> list[Hold]:
    """Give the holds on a customer that are not released."""
    return standing([header for _, header in read_related_headers(connection, tag, (LEGAL_HOLD, RELEASE))])


def read_tags_on_hold(connection: Connection) -> set[str]:
    """Give the tags of all customers on whom there is a hold."""
    wanted = select(RECORDS).where(RECORDS.c.kind.in_((LEGAL_HOLD, RELEASE))).order_by(RECORDS.c.record_index)
    headers = [header_from_row(row) for row in connection.execute(wanted).all()]
    names = {hold.hold_id for hold in standing(headers)}
    return {header.customer_tag for header in headers if header.record_id in names}


def standing(headers: list[Header]) -> list[Hold]:
    """Give the holds that no release names."""
    released = {header.labels.get(OF) for header in headers if header.kind == RELEASE}
    return [
        Hold(header.record_id, EPOCH + header.time_us * MICROSECOND)
        for header in headers
        if header.kind == LEGAL_HOLD and header.record_id not in released
    ]
