"""Applies the retention table: takes the ciphertext of old records, leaves header and hash, and records what it took.

Each 500 records are one transaction with the RETENTION record that names them, so that a kill at any moment leaves no gap
without one; the same command again goes on where it stopped.
"""

import datetime as dt
import hashlib
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, func, or_, select, update

from grounds.audit.v1 import bodies_pb2 as pb
from grounds_record.errors import RecordError
from grounds_record.header import REMOVED_MAX, RETENTION_KIND, RemovedRecord, parse_header
from grounds_record.header_columns import mismatched_columns
from server.decisions.retention import PERMANENT_KINDS, RetentionCutoff, RetentionTable
from server.errors import RetentionRefused
from server.stores.record_log.entries import EPOCH, MICROSECOND, LogEntry, new_record_id, stored_record
from server.stores.record_log.holds import OPERATOR, append_entry, read_tags_on_hold
from server.stores.record_log.log import RecordLog
from server.stores.runs.records import timestamp
from server.stores.secure_delete import reclaim_deleted_rows
from server.stores.tables import RECORDS

_ROWS_PER_FETCH = 10_000


@dataclass(frozen=True, slots=True)
class DueCount:
    """What a line of the table finds.

    Attributes:
        due: Records whose ciphertext it removes.
        held: Records that are old enough, but under a legal hold.
    """

    due_line: RetentionCutoff
    due: int
    held: int


def preview_retention(log: RecordLog, table: RetentionTable, now: dt.datetime) -> tuple[list[DueCount], dict[str, int]]:
    """Say what `remove` would do, line by line, and how many records there are of kinds without a line."""
    with log.database.reading() as connection:
        held = read_tags_on_hold(connection)
        counted = []
        for due in table.cutoffs(now):
            tags = (
                select(RECORDS.c.customer_tag, func.count())
                .where(*_line_conditions(due))
                .group_by(RECORDS.c.customer_tag)
            )
            counts = {row[0]: row[1] for row in connection.execute(tags)}
            kept = sum(count for tag, count in counts.items() if tag in held)
            counted.append(DueCount(due, sum(counts.values()) - kept, kept))
        kinds = select(RECORDS.c.kind, func.count()).group_by(RECORDS.c.kind)
        without = {row[0]: row[1] for row in connection.execute(kinds) if row[0] not in table.kinds() | PERMANENT_KINDS}
    return counted, without


def remove_due_content(
    log: RecordLog, table: RetentionTable, now: dt.datetime, batch: int = REMOVED_MAX
) -> Iterator[int]:
    """Remove what is due, little by little; gives how many after each transaction.

    What is due is found while others write; the head of the log is locked only for those records of a batch.

    Raises:
        RetentionRefused: A record is not what was written: it stays, as evidence of that.
        StoreUnavailable: The database does not answer, or is read all the time; run it again.
    """
    lines = list(table.cutoffs(now))
    places = _due_indexes(log, lines)
    for start in range(0, len(places), batch):
        with log.database.writing() as connection:
            log.lock_head(connection)
            found = _rows_still_due(connection, lines, places[start : start + batch])
            if found:
                append_entry(log, connection, _retention_entry(found, table, now))
                gone = update(RECORDS).where(RECORDS.c.record_index.in_([row.record_index for row, _ in found]))
                connection.execute(gone.values(ciphertext=None))
        if found:
            yield len(found)
    reclaim_deleted_rows(log.database, RECORDS.name)


def _due_indexes(log: RecordLog, lines: Sequence[RetentionCutoff]) -> "array[int]":
    """Give the places of the records that are due and not held, ascending: 8 bytes each, read in one pass."""
    found = array("q")
    if not lines:
        return found
    wanted = (
        select(RECORDS.c.record_index, RECORDS.c.customer_tag)
        .where(_due_condition(lines))
        .order_by(RECORDS.c.record_index)
    )
    with log.database.reading() as connection:
        held = read_tags_on_hold(connection)
        for row in connection.execute(wanted, execution_options={"yield_per": _ROWS_PER_FETCH}):
            if row.customer_tag not in held:
                found.append(row.record_index)
    return found


def _rows_still_due(
    connection: Connection, lines: Sequence[RetentionCutoff], places: Sequence[int]
) -> list[tuple[Row[Any], RetentionCutoff]]:
    """Give which of these records are due and not held now that nobody else writes, checked."""
    held = read_tags_on_hold(connection)
    wanted = select(RECORDS).where(RECORDS.c.record_index.in_(places), _due_condition(lines))
    rows = connection.execute(wanted.order_by(RECORDS.c.record_index)).all()
    return [(_check_intact(row), _matching_line(row, lines)) for row in rows if row.customer_tag not in held]


def _due_condition(lines: Sequence[RetentionCutoff]) -> ColumnElement[bool]:
    """Give the condition for records that any line removes, holds aside."""
    return or_(*(and_(*_line_conditions(due)) for due in lines))


def _line_conditions(due: RetentionCutoff) -> tuple[ColumnElement[bool], ...]:
    """Give the condition for records that a line removes, holds aside."""
    line, market = due.rule, RECORDS.c.market
    of_market = or_(market.is_(None), market.not_in(due.others)) if line.market == "*" else market == line.market
    old = RECORDS.c.time_us < (due.before - EPOCH) // MICROSECOND
    return RECORDS.c.kind == line.kind, of_market, old, RECORDS.c.ciphertext.is_not(None)


def _matching_line(row: Row[Any], lines: Sequence[RetentionCutoff]) -> RetentionCutoff:
    """Give the line that removes a record."""
    return next(
        due
        for due in lines
        if due.rule.kind == row.kind
        and (row.market == due.rule.market or (due.rule.market == "*" and row.market not in due.others))
    )


def _check_intact(row: Row[Any]) -> Row[Any]:
    """Refuse a record that is not what was written: its header would pass for the true one ever after."""
    record = stored_record(row)
    try:
        intact = not mismatched_columns(parse_header(record.header), record.columns or {})
    except RecordError:
        intact = False
    if not intact or record.nodes[:1] != (record.compute_leaf_hash(),):
        raise RetentionRefused(
            f"record {row.record_index} is not what was written; nothing of its batch was removed; "
            "run: python -m server doctor"
        )
    return row


def _retention_entry(
    found: Sequence[tuple[Row[Any], RetentionCutoff]], table: RetentionTable, now: dt.datetime
) -> LogEntry:
    """Give the entry that records what is removed: places and hashes in its header, the lines in its body."""
    body = pb.RetentionRecord(table_version=table.document.version, table_sha256=table.sha256)
    counts = Counter(due.rule for _, due in found)
    for due in table.cutoffs(now):
        if count := counts[due.rule]:
            line = due.rule
            before = timestamp(due.before)
            body.lines.add(market=line.market, kind=line.kind, years=line.years, before_time=before, count=count)
    return LogEntry(
        kind=RETENTION_KIND,
        record_id=new_record_id(now),
        time=now,
        caller=OPERATOR,
        body=body.SerializeToString(deterministic=True),
        removed=tuple(RemovedRecord(row.record_index, _sha256_hex(stored_record(row).header)) for row, _ in found),
    )


def _sha256_hex(content: bytes) -> str:
    """Give SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
