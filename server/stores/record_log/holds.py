"""Legal holds: while a customer has a hold, their records are neither erased nor removed. Each hold is a record of the log."""

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import Connection, select

from grounds.audit.v1 import bodies_pb2 as pb
from grounds_record.header import Header
from server.errors import ErasureRefused
from server.stores.record_log.entries import LogEntry, new_record_id, time_from_us
from server.stores.record_log.log import RecordLog
from server.stores.record_log.record_reader import header_from_row, read_related_headers
from server.stores.tables import RECORDS

LEGAL_HOLD, _RELEASE = "LEGAL_HOLD", "LEGAL_HOLD_RELEASE"
OPERATOR = "operator"  # caller in the records that are written by an operator's commands
_HOLD_LABEL = "hold"  # label of a release; its value is the id of the released hold


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold that was not released: its id, and the time at which it was placed."""

    hold_id: str
    since: dt.datetime


def place_hold(log: RecordLog, market: str, customer_id: str, reason: str, at: dt.datetime) -> str:
    """Place a hold on a customer; return its id. A customer may have several holds, which are released separately."""
    hold_id = new_record_id(at)
    entry = _hold_entry(LEGAL_HOLD, hold_id, log.customer_tag(market, customer_id), reason, at, {"market": market})
    with log.database.writing() as connection:
        log.append_or_raise(connection, [entry])
    return hold_id


def read_hold_subject(log: RecordLog, hold_id: str) -> tuple[str, str]:
    """Return the market and the customer tag of a hold, whether released or not.

    Raises:
        ErasureRefused: There is no hold with this id.
    """
    with log.database.reading() as connection:
        header = _read_hold(connection, hold_id)
    return header.labels["market"], header.customer_tag


def release_hold(log: RecordLog, hold_id: str, reason: str, at: dt.datetime) -> None:
    """Release a hold.

    Raises:
        ErasureRefused: There is no hold with this id, or it was already released.
    """
    with log.database.writing() as connection:
        # Lock the head before reading, so that two operators cannot both release the same hold.
        log.lock_head(connection)
        header = _read_hold(connection, hold_id)
        if hold_id not in {hold.hold_id for hold in read_active_holds(connection, header.customer_tag)}:
            raise ErasureRefused("this hold was already released")
        labels = {_HOLD_LABEL: hold_id, "market": header.labels["market"]}
        release = _hold_entry(_RELEASE, new_record_id(at), header.customer_tag, reason, at, labels)
        log.append_or_raise(connection, [release])


def read_active_holds(connection: Connection, customer_tag: str) -> list[Hold]:
    """Return the holds on a customer that were not released, the oldest first."""
    return _active_holds(
        [header for _, header in read_related_headers(connection, customer_tag, (LEGAL_HOLD, _RELEASE))]
    )


def read_tags_on_hold(connection: Connection) -> set[str]:
    """Return the tags of all customers with a hold that was not released."""
    wanted = select(RECORDS).where(RECORDS.c.kind.in_((LEGAL_HOLD, _RELEASE))).order_by(RECORDS.c.record_index)
    headers = [header_from_row(row) for row in connection.execute(wanted).all()]
    active = {hold.hold_id for hold in _active_holds(headers)}
    return {header.customer_tag for header in headers if header.record_id in active}


def _active_holds(headers: list[Header]) -> list[Hold]:
    """Return the holds among the headers, except those that were released by other headers in the list."""
    released = {header.labels.get(_HOLD_LABEL) for header in headers if header.kind == _RELEASE}
    return [
        Hold(header.record_id, time_from_us(header.time_us))
        for header in headers
        if header.kind == LEGAL_HOLD and header.record_id not in released
    ]


def _read_hold(connection: Connection, hold_id: str) -> Header:
    """Return the header of a hold, whether released or not.

    Raises:
        ErasureRefused: There is no hold with this id.
    """
    wanted = select(RECORDS).where(RECORDS.c.record_id == hold_id, RECORDS.c.kind == LEGAL_HOLD)
    row = connection.execute(wanted).first()
    if row is None:
        raise ErasureRefused(
            "there is no hold with this id; the command `hold` printed the id, and a refused erasure prints it too"
        )
    return header_from_row(row)


def _hold_entry(
    kind: str, record_id: str, customer_tag: str, reason: str, at: dt.datetime, labels: dict[str, str]
) -> LogEntry:
    """Return the entry of a hold or a release. The log's own key seals it, so that it outlives the customer's key."""
    body = pb.HoldRecord(reason=reason).SerializeToString(deterministic=True)
    return LogEntry(
        kind=kind, record_id=record_id, time=at, caller=OPERATOR, body=body, subject_tag=customer_tag, labels=labels
    )
