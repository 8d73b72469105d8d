"""Checks the clock of a command before the command changes data, and records an operator's confirmation of the date.

A command that runs with a clock many years ahead would remove records, runs and tombstones that are not due. With a
clock that is behind, an erasure would be dated before the data that it erased, so that these data could be loaded
again.
"""

import datetime as dt
from pathlib import Path

from grounds.audit.v1 import bodies_pb2 as pb
from server.errors import ClockRefused
from server.stores.clock import CLOCK_CONFIRMED, Clock, read_newest_record
from server.stores.database import Database
from server.stores.record_log.entries import LogEntry, new_record_id
from server.stores.record_log.holds import OPERATOR
from server.stores.record_log.log import RecordLog


def check_clock(
    database: Database,
    clock: Clock,
    *,
    mark: Path | None = None,
    anchor_folder: Path | None = None,
    removes: bool = True,
) -> None:
    """Check that the clock agrees with the newest record, with the files that each commit writes, and with PostgreSQL.

    Args:
        database: The database of the record log.
        clock: The clock of this process.
        mark: The file with the high-water mark; None for no check.
        anchor_folder: The folder with anchored checkpoints; None for no check.
        removes: Whether the command removes data by age. If so, a clock that is far ahead of the newest record is
            rejected too.

    Raises:
        ClockRefused: The clock is wrong, or the log was idle for so long that the clock may be wrong. The message lists
            every contradiction.
        StoreUnavailable: The database does not respond.
    """
    with database.reading() as connection:
        newest = read_newest_record(connection)
        problems = [clock.step_problem() or clock.database_problem(connection)]
    if newest is not None:
        time, kind = newest
        problems += [clock.behind_problem(time), clock.idle_problem(time) if removes else ""]
        if kind != CLOCK_CONFIRMED:  # a confirmation also covers files that were written while the clock was wrong
            problems += [
                clock.behind_problem(_write_time(path), f"the file {path}")
                for path in _written_files(mark, anchor_folder)
            ]
    problems = list(filter(None, problems))
    if problems:
        raise ClockRefused("\n  ".join(["nothing was changed, because the clock may be wrong:", *problems]))


def check_date(clock: Clock, today: dt.date) -> None:
    """Check that the clock shows the date that the operator typed.

    Raises:
        ClockRefused: The clock shows a different date.
    """
    if clock.now().date() != today:
        raise ClockRefused(f"the clock shows {clock.now():%Y-%m-%d} (UTC), but --today is {today}; correct the clock")


def confirm_clock(log: RecordLog, reason: str, clock: Clock) -> None:
    """Record that the clock is right, so that the newest record has the present time.

    Raises:
        ClockRefused: The clock differs from the clock of the database server.
        StoreUnavailable: The record could not be written.
    """
    at = clock.now()
    entry = LogEntry(
        kind=CLOCK_CONFIRMED,
        record_id=new_record_id(at),
        time=at,
        caller=OPERATOR,
        body=pb.ClockConfirmationRecord(reason=reason).SerializeToString(deterministic=True),
    )
    with log.database.writing() as connection:
        if problem := clock.database_problem(connection):
            raise ClockRefused(problem)
        log.append_or_raise(connection, [entry])


def _written_files(mark: Path | None, anchor_folder: Path | None) -> list[Path]:
    """Return the paths of the high-water mark and of the newest anchored checkpoint; omit missing files."""
    anchors = sorted(anchor_folder.glob("checkpoint-*.txt"))[-1:] if anchor_folder is not None else []
    return [path for path in (mark, *anchors) if path is not None and path.exists()]


def _write_time(path: Path) -> dt.datetime:
    """Return the time at which a file was written, in UTC."""
    return dt.datetime.fromtimestamp(path.stat().st_mtime, dt.UTC)
