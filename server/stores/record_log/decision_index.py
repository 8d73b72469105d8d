"""Decisions by what their headers say: filtered and paged over one index, no record is read."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, or_, select

from server.stores.database import Database
from server.stores.record_log.entries import EPOCH, MICROSECOND
from server.stores.tables import RECORDS

CREDIT_DECISION = "CREDIT_DECISION"
ALWAYS = (-(2**62), 2**62)  # before and after every record, microseconds since 1970
SUMMARY = ("record_id", "record_index", "time_us", "market", "bundle_id", "decision", "grade", "caller")


@dataclass(frozen=True, slots=True)
class DecisionQuery:
    """Which decisions; None and "" hold for all.

    Attributes:
        start: Decided at or after it.
        end: Decided before it.
    """

    start: dt.datetime | None = None
    end: dt.datetime | None = None
    market: str = ""
    bundle_id: str = ""
    decision: str = ""
    grade: str = ""
    caller: str = ""

    def clauses(self) -> list[ColumnElement[bool]]:
        """Give the conditions on columns, all of one index."""
        start, end = self.between()
        found = [RECORDS.c.kind == CREDIT_DECISION]
        # A bound that excludes nothing would hide another one from SQLite, which enters an index by one of them.
        if self.start is not None:
            found.append(RECORDS.c.time_us >= start)
        if self.end is not None:
            found.append(RECORDS.c.time_us < end)
        return found + [RECORDS.c[name] == wanted for name, wanted in self.equal().items()]

    def between(self) -> tuple[int, int]:
        """Give the times [start, end), in microseconds since 1970."""
        start = ALWAYS[0] if self.start is None else (self.start - EPOCH) // MICROSECOND
        return start, ALWAYS[1] if self.end is None else (self.end - EPOCH) // MICROSECOND

    def equal(self) -> dict[str, str]:
        """Give the columns that must have a value."""
        given = {name: getattr(self, name) for name in ("market", "bundle_id", "decision", "grade", "caller")}
        return {name: wanted for name, wanted in given.items() if wanted}


@dataclass(frozen=True, slots=True)
class DecisionCursor:
    """Where a page ended: the last decision of it."""

    time_us: int
    index: int


class DecisionIndex:
    """Lists decisions, newest first. Its methods may be called from any thread."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def read_page(self, condition: DecisionQuery, after: DecisionCursor | None, count: int) -> Sequence[Row[Any]]:
        """Give the next decisions, at most `count`; of equal times the one that is later in the log first."""
        wanted = select(*(RECORDS.c[name] for name in SUMMARY)).where(*condition.clauses())
        if after is not None:
            earlier = RECORDS.c.time_us < after.time_us
            same = and_(RECORDS.c.time_us == after.time_us, RECORDS.c.record_index < after.index)
            # The first clause alone would do; it lets the index be entered at the right place.
            wanted = wanted.where(RECORDS.c.time_us <= after.time_us, or_(earlier, same))
        wanted = wanted.order_by(RECORDS.c.time_us.desc(), RECORDS.c.record_index.desc()).limit(count)
        with self.database.reading() as connection:
            return connection.execute(wanted).all()
