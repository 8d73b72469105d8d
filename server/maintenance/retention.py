"""Applies the retention table: removes the ciphertext of old records, keeps header and hash, and records the removal.

One transaction removes up to 500 records and appends the RETENTION record that lists them. So if the command is killed
at any moment, every removal is recorded. Running the same command again continues where the command stopped.
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
from grounds_record.header import REMOVED_MAX, RETENTION_KIND, RemovedRecord, mismatched_columns, parse_header
from server.decisions.retention import ALL_MARKETS, PERMANENT_KINDS, RetentionCutoff, RetentionTable
from server.errors import ClockRefused, RetentionRefused
from server.stores.clock import Clock
from server.stores.record_log.entries import LogEntry, new_record_id, stored_record, us_since_epoch
from server.stores.record_log.holds import OPERATOR, read_tags_on_hold
from server.stores.record_log.log import RecordLog
from server.stores.runs.records import timestamp
from server.stores.secure_delete import reclaim_deleted_rows
from server.stores.tables import RECORDS

_ROWS_PER_FETCH = 10_000
_SHARE_MAX = 0.2  # a larger share of the records needs a second confirmation


@dataclass(frozen=True, slots=True)
class DueCount:
    """The number of records that one line of the retention table removes.

    Attributes:
        due_line: The line with its cut-off time.
        due: Number of records whose ciphertext the line removes.
        on_hold: Number of records that are old enough but remain because of a legal hold.
        present: Number of all records to which the line applies and whose ciphertext still exists, regardless of their
            age.
    """

    due_line: RetentionCutoff
    due: int
    on_hold: int
    present: int


def preview_retention(log: RecordLog, table: RetentionTable, now: dt.datetime) -> tuple[list[DueCount], dict[str, int]]:
    """Count the records whose ciphertext `remove_due_content` would remove. Change nothing.

    Returns:
        The counts for each line of the table, and the number of records of each kind that has no line.
    """
    with log.database.reading() as connection:
        tags_on_hold = read_tags_on_hold(connection)
        lines = []
        for due in table.cutoffs(now):
            conditions = _line_conditions(due)
            present = select(func.count()).select_from(RECORDS).where(*_scope_conditions(due))
            tags = select(RECORDS.c.customer_tag, func.count()).where(*conditions).group_by(RECORDS.c.customer_tag)
            counts = {row[0]: row[1] for row in connection.execute(tags)}
            count_on_hold = sum(count for tag, count in counts.items() if tag in tags_on_hold)
            present_count = connection.execute(present).scalar_one()
            lines.append(DueCount(due, sum(counts.values()) - count_on_hold, count_on_hold, present_count))
        kinds = select(RECORDS.c.kind, func.count()).group_by(RECORDS.c.kind)
        without = {row[0]: row[1] for row in connection.execute(kinds) if row[0] not in table.kinds() | PERMANENT_KINDS}
    return lines, without


def check_share(counts: Sequence[DueCount], confirmed: int | None) -> None:
    """Check that a large share of the records is removed only after a second confirmation.

    Args:
        counts: The counts of `preview_retention`.
        confirmed: The number of records whose removal the operator confirmed; None if there was no confirmation.

    Raises:
        RetentionRefused: More than _SHARE_MAX of the records would be removed, and `confirmed` is not their number.
    """
    due, present = sum(count.due for count in counts), sum(count.present for count in counts)
    if confirmed is not None and confirmed != due:
        raise RetentionRefused(f"--confirm-records is {confirmed}, but {due} records are due; nothing was changed")
    if confirmed is None and due > _SHARE_MAX * present:
        raise RetentionRefused(
            f"{due} of {present} records are due, which is more than {_SHARE_MAX:.0%}; check the clock and the retention table, then "
            f"confirm the number with --confirm-records {due}; nothing was changed"
        )


def remove_due_content(
    log: RecordLog, table: RetentionTable, now: dt.datetime, batch: int = REMOVED_MAX, clock: Clock | None = None
) -> Iterator[int]:
    """Remove the ciphertext of due records. After each transaction, yield the number of records that it changed.

    The search for due records needs no lock. Each batch locks the head of the log while its records are checked again
    and their ciphertext is removed.

    Args:
        log: The record log.
        table: The retention table.
        now: The present time, from which the age of a record is counted.
        batch: Largest number of records in one transaction.
        clock: Clock that is checked before each transaction; None for no check.

    Raises:
        ClockRefused: The clock was changed while this function ran. The removed records are recorded.
        RetentionRefused: A record is damaged. Its ciphertext remains as evidence.
        StoreUnavailable: The database does not respond, or readers keep it busy. The operator can retry.
    """
    lines = list(table.cutoffs(now))
    indexes = _due_indexes(log, lines)
    for start in range(0, len(indexes), batch):
        if clock is not None and (problem := clock.step_problem()):
            raise ClockRefused(problem)
        with log.database.writing() as connection:
            log.lock_head(connection)
            rows = _rows_still_due(connection, lines, indexes[start : start + batch])
            if rows:
                log.append_or_raise(connection, [_retention_entry(rows, table, now)])
                removal = update(RECORDS).where(RECORDS.c.record_index.in_([row.record_index for row, _ in rows]))
                connection.execute(removal.values(ciphertext=None))
        if rows:
            yield len(rows)
    reclaim_deleted_rows(log.database, RECORDS.name)


def _due_indexes(log: RecordLog, lines: Sequence[RetentionCutoff]) -> "array[int]":
    """Return the indexes of due records without a hold, ascending.

    The result is an array, which needs only 8 bytes per index, because millions of records may be due.
    """
    indexes = array("q")
    if not lines:
        return indexes
    columns = select(RECORDS.c.record_index, RECORDS.c.customer_tag)
    statement = columns.where(_due_condition(lines)).order_by(RECORDS.c.record_index)
    with log.database.reading() as connection:
        tags_on_hold = read_tags_on_hold(connection)
        for row in connection.execute(statement, execution_options={"yield_per": _ROWS_PER_FETCH}):
            if row.customer_tag not in tags_on_hold:
                indexes.append(row.record_index)
    return indexes


def _rows_still_due(
    connection: Connection, lines: Sequence[RetentionCutoff], indexes: Sequence[int]
) -> list[tuple[Row[Any], RetentionCutoff]]:
    """Return the records among `indexes` that are still due, each with its line. Call it with the head locked.

    Since `_due_indexes`, a hold may have been placed, or a different process may have removed some of the records.
    """
    tags_on_hold = read_tags_on_hold(connection)
    statement = select(RECORDS).where(RECORDS.c.record_index.in_(indexes), _due_condition(lines))
    rows = connection.execute(statement.order_by(RECORDS.c.record_index)).all()
    due = [row for row in rows if row.customer_tag not in tags_on_hold]
    for row in due:
        _check_intact(row)
    return [(row, _matching_line(row, lines)) for row in due]


def _due_condition(lines: Sequence[RetentionCutoff]) -> ColumnElement[bool]:
    """Return the condition for records that at least one line removes, ignoring holds."""
    return or_(*(and_(*_line_conditions(due)) for due in lines))


def _line_conditions(due: RetentionCutoff) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions for records that one line removes, ignoring holds."""
    return *_scope_conditions(due), RECORDS.c.time_us < us_since_epoch(due.before)


def _scope_conditions(due: RetentionCutoff) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions for records of any age to which one line applies and whose ciphertext exists."""
    line, market = due.rule, RECORDS.c.market
    in_market = (
        or_(market.is_(None), market.not_in(due.others)) if line.market == ALL_MARKETS else market == line.market
    )
    return RECORDS.c.kind == line.kind, in_market, RECORDS.c.ciphertext.is_not(None)


def _matching_line(row: Row[Any], lines: Sequence[RetentionCutoff]) -> RetentionCutoff:
    """Return the line that removes a due record. No record matches two lines."""
    return next(
        due
        for due in lines
        if due.rule.kind == row.kind
        and (row.market == due.rule.market or (due.rule.market == ALL_MARKETS and row.market not in due.others))
    )


def _check_intact(row: Row[Any]) -> None:
    """Raise RetentionRefused if a record is damaged. The damage could no longer be proved without the ciphertext."""
    record = stored_record(row)
    try:
        intact = not mismatched_columns(parse_header(record.header), record.columns or {})
    except RecordError:
        intact = False
    if not intact or record.nodes[:1] != (record.compute_leaf_hash(),):
        raise RetentionRefused(
            f"record {row.record_index} is damaged: it differs from what was written. No record of its batch was removed. "
            "Run: python -m server doctor"
        )


def _retention_entry(
    rows: Sequence[tuple[Row[Any], RetentionCutoff]], table: RetentionTable, now: dt.datetime
) -> LogEntry:
    """Return the RETENTION entry.

    The header lists the index and the header hash of each removed record. The body lists the lines of the table that
    removed records, and how many records each line removed.
    """
    body = pb.RetentionRecord(table_version=table.document.version, table_sha256=table.sha256)
    counts = Counter(due.rule for _, due in rows)
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
        removed=tuple(
            RemovedRecord(row.record_index, hashlib.sha256(stored_record(row).header).hexdigest()) for row, _ in rows
        ),
    )
