"""Lists decisions page by page, filtered by header columns. One database index contains all these columns."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import CTE, ColumnElement, FromClause, Row, and_, or_, select

from server.stores.database import Database
from server.stores.record_log.entries import us_since_epoch
from server.stores.tables import RECORDS

CREDIT_DECISION = "CREDIT_DECISION"
_US_MIN, _US_MAX = -(2**62), 2**62  # times before and after all records, in microseconds since 1970
_SUMMARY = ("record_id", "record_index", "time_us", "market", "bundle_id", "decision", "grade", "caller")


@dataclass(frozen=True, slots=True)
class DecisionQuery:
    """Conditions on decisions. A decision must match all of them. A condition that is None or "" matches every decision.

    Attributes:
        start: Earliest time of a decision (inclusive).
        end: Latest time of a decision (exclusive).
        market: Market of the customer.
        bundle_id: Id of the bundle that scored the customer.
        decision: Outcome of the decision.
        grade: Grade of the decision.
        caller: Name of the calling system.
        customer_tag: Tag of the customer. Only pages support it.
    """

    start: dt.datetime | None = None
    end: dt.datetime | None = None
    market: str = ""
    bundle_id: str = ""
    decision: str = ""
    grade: str = ""
    caller: str = ""
    customer_tag: str = ""

    def conditions(self, source: FromClause = RECORDS) -> list[ColumnElement[bool]]:
        """Return the conditions, except on the customer, on columns of a source. One database index contains all of them."""
        columns = source.c
        start, end = self.time_range()
        found = [columns.kind == CREDIT_DECISION]
        # Omit a bound that excludes nothing. SQLite uses only one lower and one upper bound for an index search, and could choose
        # this bound instead of the end of the previous page.
        if self.start is not None:
            found.append(columns.time_us >= start)
        if self.end is not None:
            found.append(columns.time_us < end)
        return found + [columns[name] == wanted for name, wanted in self.column_values().items()]

    def time_range(self) -> tuple[int, int]:
        """Return the time range [start, end) in microseconds since 1970."""
        start = _US_MIN if self.start is None else us_since_epoch(self.start)
        return start, _US_MAX if self.end is None else us_since_epoch(self.end)

    def column_values(self) -> dict[str, str]:
        """Return the required values of columns, by column name."""
        wanted = {name: getattr(self, name) for name in ("market", "bundle_id", "decision", "grade", "caller")}
        return {name: value for name, value in wanted.items() if value}


@dataclass(frozen=True, slots=True)
class DecisionCursor:
    """The end of a page: the time (microseconds since 1970) and the record index of its last decision."""

    time_us: int
    index: int


class DecisionIndex:
    """Lists decisions, the newest first. Its methods may be called from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read_indexes(self, query: DecisionQuery) -> list[int]:
        """Return the record indexes of all decisions that match a query, in ascending order.

        Args:
            query: Conditions on the decisions.
        """
        wanted = select(RECORDS.c.record_index).where(*query.conditions())
        with self._database.reading() as connection:
            return sorted(connection.execute(wanted).scalars())

    def read_markets(self, query: DecisionQuery) -> list[str]:
        """Return the markets of all decisions that match a query, sorted."""
        wanted = select(RECORDS.c.market).where(*query.conditions()).distinct()
        with self._database.reading() as connection:
            return sorted(connection.execute(wanted).scalars())

    def read_event_indexes(
        self, kinds: Sequence[str], start: dt.datetime, end: dt.datetime, market: str = ""
    ) -> list[int]:
        """Return the record indexes of events about decisions, in ascending order.

        Args:
            kinds: Kinds of the events.
            start: Earliest time of an event (inclusive).
            end: Latest time of an event (exclusive).
            market: Market of the customer; "" for all markets.
        """
        wanted = select(RECORDS.c.record_index).where(
            RECORDS.c.kind.in_(kinds),
            RECORDS.c.time_us >= us_since_epoch(start),
            RECORDS.c.time_us < us_since_epoch(end),
        )
        if market:
            wanted = wanted.where(RECORDS.c.market == market)
        with self._database.reading() as connection:
            return sorted(connection.execute(wanted).scalars())

    def read_page(self, query: DecisionQuery, after: DecisionCursor | None, count: int) -> Sequence[Row[Any]]:
        """Return the next page of decisions, sorted by descending time and then by descending record index.

        Args:
            query: Conditions on the decisions.
            after: End of the previous page; None for the first page.
            count: Maximum number of decisions.

        Returns:
            Rows with record_id, record_index, time_us, market, bundle_id, decision, grade and caller.
        """
        source = _decisions_about(query.customer_tag) if query.customer_tag else RECORDS
        columns = source.c
        wanted = select(*(columns[name] for name in _SUMMARY)).where(*query.conditions(source))
        if after is not None:
            earlier = columns.time_us < after.time_us
            same = and_(columns.time_us == after.time_us, columns.record_index < after.index)
            # The first condition is redundant, but the database needs it for the index search.
            wanted = wanted.where(columns.time_us <= after.time_us, or_(earlier, same))
        wanted = wanted.order_by(columns.time_us.desc(), columns.record_index.desc()).limit(count)
        with self._database.reading() as connection:
            return connection.execute(wanted).all()


def _decisions_about(customer_tag: str) -> CTE:
    """Return the decisions about one customer.

    They are read first: with all conditions in one query, a database would rather walk through the decisions about everybody
    in the order of the list.
    """
    found = select(*(RECORDS.c[name] for name in ("kind", *_SUMMARY))).where(
        RECORDS.c.customer_tag == customer_tag, RECORDS.c.kind == CREDIT_DECISION
    )
    return found.cte("decisions_about").prefix_with("MATERIALIZED")
