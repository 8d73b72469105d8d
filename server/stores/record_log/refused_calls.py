"""Reads the records of kind CALLS_REFUSED, which contain the numbers of denied and refused calls."""

import datetime as dt

from sqlalchemy import select

from server.errors import RecordRemoved
from server.stores.record_log.entries import time_from_us, us_since_epoch
from server.stores.record_log.log import RecordLog
from server.stores.tables import RECORDS

CALLS_REFUSED = "CALLS_REFUSED"
_RECORDS_MAX = 500
_US_MAX = 2**62


class RefusedCallReader:
    """Reads the bodies of these records. It may be used from any thread."""

    def __init__(self, log: RecordLog) -> None:
        self._log = log

    def read(self, start: dt.datetime | None, end: dt.datetime | None) -> tuple[list[bytes], dt.datetime | None]:
        """Return the bodies of the newest records of a period, at most 500, and where to continue.

        Args:
            start: Earliest time of a record (inclusive); None for no limit.
            end: Latest time of a record (exclusive); None for no limit.

        Returns:
            The bodies; and the `end` with which the earlier records of the period are read, or None if there are none.

        Raises:
            RecordDamaged: A record was changed after it was written.
        """
        first = -_US_MAX if start is None else us_since_epoch(start)
        last = _US_MAX if end is None else us_since_epoch(end)
        wanted = (
            select(RECORDS.c.record_id, RECORDS.c.time_us)
            .where(RECORDS.c.kind == CALLS_REFUSED, RECORDS.c.time_us >= first, RECORDS.c.time_us < last)
            .order_by(RECORDS.c.time_us.desc(), RECORDS.c.record_index.desc())
            .limit(_RECORDS_MAX + 1)
        )
        with self._log.database.reading() as connection:
            rows = connection.execute(wanted).all()
        bodies = []
        for row in rows[:_RECORDS_MAX]:
            try:
                found = self._log.find_by_id(row.record_id)
            except RecordRemoved:
                continue  # retention removed the numbers
            if found is not None:
                bodies.append(found.body)
        # Each process writes one record a minute, so two records hardly ever have the same microsecond.
        return bodies, time_from_us(rows[_RECORDS_MAX - 1].time_us) if len(rows) > _RECORDS_MAX else None
