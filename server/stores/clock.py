"""The clock of a process, compared with a steady clock, with the clock of PostgreSQL, and with the newest record.

A wrong clock selects the wrong section of the policy, dates records wrongly, and lets retention remove records that are
not due. The wall clock is therefore compared with clocks that do not depend on it:

- while the process runs, with the time since the boot of the machine, which no change of the wall clock affects;
- with the time of the newest record, which must not be later than the wall clock;
- with the clock of the database server, if the database is PostgreSQL.
"""

import datetime as dt
import time
from collections.abc import Callable

from sqlalchemy import Connection, func, select

from server.stores.tables import RECORDS

CLOCK_CONFIRMED = "CLOCK_CONFIRMED"  # kind of the record by which an operator confirms the date
# The clocks of several servers may differ by this much, and a record may wait this long before it is appended.
_TOLERANCE = dt.timedelta(minutes=5)
_IDLE_MAX = dt.timedelta(days=31)  # a log in use gets a record more often than this
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def utc_now() -> dt.datetime:
    """Return the time of the wall clock, in UTC."""
    return dt.datetime.now(dt.UTC)


def _seconds_since_boot() -> float:
    """Return the seconds since the boot of the machine, including the time in which the machine was suspended."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Clock:
    """The wall clock of this process, and the checks that it must pass."""

    def __init__(
        self, wall: Callable[[], dt.datetime] = utc_now, steady: Callable[[], float] = _seconds_since_boot
    ) -> None:
        """Remember the present times of both clocks.

        Args:
            wall: Returns the time of the wall clock, in UTC.
            steady: Returns seconds that no change of the wall clock affects.
        """
        self._wall, self._steady = wall, steady
        self._start = wall() - dt.timedelta(seconds=steady())

    def now(self) -> dt.datetime:
        """Return the time of the wall clock, in UTC, without a check."""
        return self._wall()

    def step_problem(self) -> str:
        """Return a problem if the wall clock was changed since this object was created; "" if not."""
        now = self._wall()
        expected = self._start + dt.timedelta(seconds=self._steady())
        if abs(now - expected) <= _TOLERANCE:
            return ""
        return (
            f"the clock shows {_text(now)}, but by the time since the start of this process it is {_text(expected)}; "
            "correct the clock, or restart this process if the clock is right now"
        )

    def entry_problem(self, time: dt.datetime) -> str:
        """Return a problem if an entry that is about to be appended has a time that was not shown by a correct clock; "" if not.

        The wall clock may have been wrong when the entry received its time, and may be right again now. Therefore the
        time is compared with the steady clock.

        Args:
            time: The time of the entry. An entry is appended within seconds after it has received its time.
        """
        expected = self._start + dt.timedelta(seconds=self._steady())
        if abs(time - expected) <= _TOLERANCE:
            return ""
        return (
            f"a record with the time {_text(time)} was to be appended, but by the time since the start of this process it is "
            f"{_text(expected)}, so the clock was wrong for a while; correct the clock if it is wrong now; callers retry"
        )

    def behind_problem(self, newest: dt.datetime | None, source: str = "the newest record") -> str:
        """Return a problem if the clock is behind a time that has already passed; "" if not.

        Args:
            newest: The time that has passed; None for no check.
            source: What the time was read from, for the message.
        """
        now = self._wall()
        if newest is None or now >= newest - _TOLERANCE:
            return ""
        return (
            f"the clock shows {_text(now)}, but {source} is of {_text(newest)}; correct the clock, or run confirm-clock if "
            "the clock is right"
        )

    def idle_problem(self, newest: dt.datetime | None) -> str:
        """Return a problem if the clock is so far ahead of the newest record that it may be wrong; "" if not."""
        now = self._wall()
        if newest is None or now <= newest + _IDLE_MAX:
            return ""
        return (
            f"the clock shows {_text(now)}, but the newest record is of {_text(newest)}; correct the clock, or, if the log was idle "
            f"for more than {_IDLE_MAX.days} days, run confirm-clock"
        )

    def database_problem(self, connection: Connection) -> str:
        """Return a problem if the clock differs from the clock of PostgreSQL; "" if it does not, or for SQLite."""
        if connection.dialect.name != "postgresql":
            return ""
        before = self._wall()
        theirs: dt.datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
        after = self._wall()
        if before - _TOLERANCE <= theirs <= after + _TOLERANCE:
            return ""
        return (
            f"the clock shows {_text(after)}, but the clock of the database server shows {_text(theirs)}; correct the clock that "
            "is wrong"
        )


def read_newest_record(connection: Connection) -> tuple[dt.datetime, str] | None:
    """Return the time and the kind of the record with the largest index; None if the log is empty."""
    # Search by the largest index, because SQLite plans ORDER BY with LIMIT 1 as a scan of the table.
    last = select(func.max(RECORDS.c.record_index)).scalar_subquery()
    newest = select(RECORDS.c.time_us, RECORDS.c.kind).where(RECORDS.c.record_index == last)
    row = connection.execute(newest).first()
    return None if row is None else (_EPOCH + dt.timedelta(microseconds=row.time_us), str(row.kind))


def _text(time: dt.datetime) -> str:
    """Return a time as text, to the second."""
    return f"{time.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"
