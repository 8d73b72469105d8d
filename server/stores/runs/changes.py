"""The change feed, from which a CRM updates its copy of a market's predictions, page by page.

A full sync returns every customer of a run. A delta sync returns the differences between two runs, in three phases.
Each phase is sorted by a key, so that a cursor can mark where the next page starts:

    CHANGED   customers of the new run that are new or changed, sorted by customer_id
    REMOVED   customers of the old run that are not in the new run, sorted by customer_id
    ERASED    tombstones that were written after the last sync, sorted by number

Tombstones are last. So a CRM that applies the pages in order never adds a customer again whom a tombstone deleted.
"""

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, FromClause, Row, Select, and_, func, or_, select, true

from server.stores.database import Database
from server.stores.runs.predictions import LIST_COLUMNS, ScoringRun, check_available, contactable_condition
from server.stores.tables import RISK_TOMBSTONES, RISKS

SyncPhase = Literal["CHANGED", "REMOVED", "ERASED"]
_NEXT_PHASE: dict[SyncPhase, SyncPhase | None] = {"CHANGED": "REMOVED", "REMOVED": "ERASED", "ERASED": None}
# Limit of compared customers per page of a phase. Without the limit, a page would take long if few customers changed.
SCANNED_MAX = 50_000
# The columns that are compared. The rank is not compared, because it changes with the ranks of other customers.
_COMPARED = (
    "status",
    "log_odds",
    "band",
    "previous_band",
    "band_since",
    "value_at_risk_minor",
    "expected_spend_minor",
    "decline_pd",
    "hold_out",
    "suppressions",
    "drivers",
)
_NEW, _OLD = RISKS.alias("new"), RISKS.alias("old")


@dataclass(frozen=True, slots=True)
class SyncPlan:
    """The state of the caller's copy before and after a sync.

    Attributes:
        run: The run that the caller's copy contains after the sync.
        since: The run that the caller's copy contains before the sync; None if the copy is empty.
        mark: Number of the last tombstone that this sync covers.
        since_mark: Number of the last tombstone that an earlier sync covered.
        withheld: Whether the copy has withheld customers.
    """

    run: ScoringRun
    since: ScoringRun | None
    mark: int
    since_mark: int
    withheld: bool

    def copy_condition(self, risks: FromClause) -> ColumnElement[bool]:
        """Return the condition on rows of RISKS, or of an alias, that the copy includes the customer."""
        return true() if self.withheld else contactable_condition(risks)


@dataclass(frozen=True, slots=True)
class ChangeCursor:
    """The end of a page of a sync: the phase, and the last compared customer or the number of the last tombstone."""

    phase: SyncPhase
    customer_id: str = ""
    number: int = 0


@dataclass(frozen=True, slots=True)
class ChangePage:
    """A page of a sync.

    Attributes:
        rows: Rows of new and changed customers.
        removed: Ids of the customers to delete.
        cursor: Position after which the next page starts; None on the last page.
    """

    rows: list[Row[Any]]
    removed: list[str]
    cursor: ChangeCursor | None

    @property
    def count(self) -> int:
        """Return the number of entries on the page."""
        return len(self.rows) + len(self.removed)


class ChangeStore:
    """Reads pages of a sync. Its methods may be called from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read_tombstone_mark(self, market: str) -> int:
        """Return the number of the market's last tombstone; 0 if there is no tombstone."""
        last = select(func.max(RISK_TOMBSTONES.c.number)).where(RISK_TOMBSTONES.c.market == market)
        with self._database.reading() as connection:
            return int(connection.execute(last).scalar() or 0)

    def read_page(self, sync: SyncPlan, cursor: ChangeCursor, size: int) -> ChangePage:
        """Return the next page of a sync.

        A page may have fewer than `size` entries, or none, even if it is not the last page.

        Raises:
            ResyncRequired: One of the runs was pruned.
        """
        with self._database.reading() as connection:
            page = _read_phase_page(connection, sync, cursor, size)
            # If a phase ends before the page is full, continue the page with the next phase.
            while page.cursor is not None and page.cursor.phase != cursor.phase and page.count < size:
                cursor = page.cursor
                following = _read_phase_page(connection, sync, cursor, size - page.count)
                page = ChangePage([*page.rows, *following.rows], [*page.removed, *following.removed], following.cursor)
            # Check after reading, because the page may be incomplete if pruning began in the meantime.
            check_available(connection, sync.run, *([sync.since] if sync.since else []))
        return page


def _read_phase_page(connection: Connection, sync: SyncPlan, cursor: ChangeCursor, size: int) -> ChangePage:
    """Return the next page of one phase. At the end of the phase, the cursor is the start of the next phase."""
    if sync.since is None:
        return _read_full_page(connection, sync, cursor, size)
    if cursor.phase == "ERASED":
        return _read_tombstone_page(connection, sync, cursor, size)
    if sync.since.number == sync.run.number:
        return ChangePage([], [], ChangeCursor("ERASED", number=sync.since_mark))
    return _read_compared_page(connection, sync, cursor, size)


def _read_full_page(connection: Connection, sync: SyncPlan, cursor: ChangeCursor, size: int) -> ChangePage:
    """Return the next page of a full sync. The caller's copy is empty, so it needs no removals and no tombstones."""
    # Read one row more than fits on the page, to determine whether there is a next page.
    wanted = select(*LIST_COLUMNS).where(RISKS.c.run_number == sync.run.number, sync.copy_condition(RISKS))
    wanted = wanted.where(RISKS.c.customer_id > cursor.customer_id)
    rows = list(connection.execute(wanted.order_by(RISKS.c.customer_id).limit(size + 1)).all())
    more = len(rows) > size
    rows = rows[:size]
    return ChangePage(rows, [], ChangeCursor("CHANGED", rows[-1].customer_id) if more else None)


def _read_compared_page(connection: Connection, sync: SyncPlan, cursor: ChangeCursor, size: int) -> ChangePage:
    """Return the changed customers, or in phase REMOVED the removed customers, among the next SCANNED_MAX customers."""
    assert sync.since is not None
    changed = cursor.phase == "CHANGED"
    # Phase CHANGED goes through the customers of the new run, phase REMOVED through those of the old run, in key order.
    scanned, run, query = (
        (_NEW, sync.run, _select_changed(sync)) if changed else (_OLD, sync.since, _select_removed(sync))
    )
    last = _last_compared(connection, scanned, run, cursor.customer_id)
    query = query.where(scanned.c.customer_id > cursor.customer_id)
    query = query if last is None else query.where(scanned.c.customer_id <= last)
    rows = list(connection.execute(query.order_by(scanned.c.customer_id).limit(size)).all())
    # If the page is full, the next page continues after the last row. Otherwise it continues after the last compared
    # customer, or with the next phase if no customers are left to compare.
    if len(rows) == size:
        after: ChangeCursor | None = ChangeCursor(cursor.phase, rows[-1].customer_id)
    elif last is not None:
        after = ChangeCursor(cursor.phase, last)
    else:
        following = _NEXT_PHASE[cursor.phase]
        after = ChangeCursor(following, number=sync.since_mark) if following else None
    return ChangePage(rows if changed else [], [] if changed else [row.customer_id for row in rows], after)


def _select_changed(sync: SyncPlan) -> Select[Any]:
    """Return the statement that selects the customers of the new run who are changed or are not in the old run."""
    assert sync.since is not None
    same_customer = and_(
        _OLD.c.run_number == sync.since.number, _OLD.c.customer_id == _NEW.c.customer_id, sync.copy_condition(_OLD)
    )
    # Unlike <>, IS DISTINCT FROM is true if only one of the values is null, and false if both are null.
    differs = [_NEW.c[name].is_distinct_from(_OLD.c[name]) for name in _COMPARED]
    columns = [_NEW.c[column.name] for column in LIST_COLUMNS]
    return (
        select(*columns)
        .select_from(_NEW.outerjoin(_OLD, same_customer))
        .where(_NEW.c.run_number == sync.run.number, sync.copy_condition(_NEW))
        .where(or_(_OLD.c.customer_id.is_(None), *differs))
    )


def _select_removed(sync: SyncPlan) -> Select[Any]:
    """Return the statement that selects the customers of the old run who are not in the new run."""
    assert sync.since is not None
    same_customer = and_(
        _NEW.c.run_number == sync.run.number, _NEW.c.customer_id == _OLD.c.customer_id, sync.copy_condition(_NEW)
    )
    return (
        select(_OLD.c.customer_id)
        .select_from(_OLD.outerjoin(_NEW, same_customer))
        .where(_OLD.c.run_number == sync.since.number, sync.copy_condition(_OLD), _NEW.c.customer_id.is_(None))
    )


def _last_compared(connection: Connection, scanned: FromClause, run: ScoringRun, after: str) -> str | None:
    """Return the last customer to compare for a page; None if the page compares all remaining customers."""
    ids = select(scanned.c.customer_id).where(scanned.c.run_number == run.number, scanned.c.customer_id > after)
    return connection.execute(ids.order_by(scanned.c.customer_id).offset(SCANNED_MAX - 1).limit(1)).scalar()


def _read_tombstone_page(connection: Connection, sync: SyncPlan, cursor: ChangeCursor, size: int) -> ChangePage:
    """Return the next tombstones, except for customers who are in the new run again."""
    tombstones = RISK_TOMBSTONES.c
    # If a customer is in the new run again, the tombstone would delete a current row from the caller's copy.
    in_run = and_(
        RISKS.c.run_number == sync.run.number, RISKS.c.customer_id == tombstones.customer_id, sync.copy_condition(RISKS)
    )
    wanted = (
        select(tombstones.number, tombstones.customer_id)
        .select_from(RISK_TOMBSTONES.outerjoin(RISKS, in_run))
        .where(tombstones.market == sync.run.market, tombstones.number > cursor.number, tombstones.number <= sync.mark)
        .where(RISKS.c.customer_id.is_(None))
        .order_by(tombstones.number)
        .limit(size + 1)
    )
    found = connection.execute(wanted).all()
    after = ChangeCursor("ERASED", number=found[size - 1].number) if len(found) > size else None
    return ChangePage([], [row.customer_id for row in found[:size]], after)
