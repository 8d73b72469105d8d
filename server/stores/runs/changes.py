"""What a copy of a market must be told: every customer, or what differs between two runs, by page."""

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, FromClause, Row, Select, and_, func, or_, select

from server.stores.database import Database
from server.stores.runs.predictions import LIST_COLUMNS, ScoringRun, check_available
from server.stores.tables import RISK_TOMBSTONES, RISKS

# A sync goes through its phases in this order, so that a tombstone never comes before the customer's risk.
SyncPhase = Literal["CHANGED", "REMOVED", "ERASED"]
NEXT_PHASE: dict[SyncPhase, SyncPhase | None] = {"CHANGED": "REMOVED", "REMOVED": "ERASED", "ERASED": None}
SCANNED_MAX = 50_000  # customers that one page looks at: a page takes no longer where little has changed
# What a CRM would store, and that is the customer's own: a rank moves with every other customer.
COMPARED = (
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
NEW, OLD = RISKS.alias("new"), RISKS.alias("old")


@dataclass(frozen=True, slots=True)
class SyncPlan:
    """From which state of a copy to which.

    Attributes:
        run: The run that the copy will show.
        since: The run that it shows; None for a copy that is empty.
        mark: Tombstones up to this number come with this sync.
        since_mark: Tombstones up to this number came before.
    """

    run: ScoringRun
    since: ScoringRun | None
    mark: int
    since_mark: int


@dataclass(frozen=True, slots=True)
class ChangeCursor:
    """Where a page of a sync ended: the customer it had looked at last, or the number of the last tombstone."""

    phase: SyncPhase
    customer_id: str = ""
    number: int = 0


@dataclass(frozen=True, slots=True)
class ChangePage:
    """A page of a sync; place None means that it was the last."""

    rows: list[Row[Any]]
    removed: list[str]
    cursor: ChangeCursor | None

    @property
    def count(self) -> int:
        """Give how many entries it has."""
        return len(self.rows) + len(self.removed)


class ChangeStore:
    """Reads what changed."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def read_tombstone_mark(self, market: str) -> int:
        """Give the number of the market's last tombstone."""
        last = select(func.max(RISK_TOMBSTONES.c.number)).where(RISK_TOMBSTONES.c.market == market)
        with self.database.reading() as connection:
            return int(connection.execute(last).scalar() or 0)

    def read_page(self, sync: SyncPlan, place: ChangeCursor, size: int) -> ChangePage:
        """Give the next page of a sync; it may be short or empty before the end.

        Raises:
            ResyncRequired: One of the runs is no longer kept.
        """
        with self.database.reading() as connection:
            page = phase_page(connection, sync, place, size)
            # The end of one phase leaves room for the beginning of the next.
            while page.cursor is not None and page.cursor.phase != place.phase and page.count < size:
                place = page.cursor
                following = phase_page(connection, sync, place, size - page.count)
                page = ChangePage([*page.rows, *following.rows], [*page.removed, *following.removed], following.cursor)
            check_available(connection, sync.run, *([sync.since] if sync.since else []))
        return page


def phase_page(connection: Connection, sync: SyncPlan, place: ChangeCursor, size: int) -> ChangePage:
    """Give the next page within one phase; its place is in the next one at the end."""
    if sync.since is None:
        return full_page(connection, sync.run, place, size)
    if place.phase == "ERASED":
        return erased_page(connection, sync, place, size)
    if sync.since.number == sync.run.number:
        return ChangePage([], [], ChangeCursor("ERASED", number=sync.since_mark))
    return compared_page(connection, sync, place, size)


def full_page(connection: Connection, run: ScoringRun, place: ChangeCursor, size: int) -> ChangePage:
    """Give the next customers of a run; a copy that was empty needs no tombstones."""
    wanted = select(*LIST_COLUMNS).where(RISKS.c.run_number == run.number, RISKS.c.customer_id > place.customer_id)
    rows = list(connection.execute(wanted.order_by(RISKS.c.customer_id).limit(size + 1)).all())
    more = len(rows) > size
    rows = rows[:size]
    return ChangePage(rows, [], ChangeCursor("CHANGED", rows[-1].customer_id) if more else None)


def compared_page(connection: Connection, sync: SyncPlan, place: ChangeCursor, size: int) -> ChangePage:
    """Give the next customers that differ, or that the new run no longer has."""
    assert sync.since is not None
    changed = place.phase == "CHANGED"
    scanned, run, query = (NEW, sync.run, changed_rows(sync)) if changed else (OLD, sync.since, removed_rows(sync))
    last = last_scanned(connection, scanned, run, place.customer_id)
    query = query.where(scanned.c.customer_id > place.customer_id)
    query = query if last is None else query.where(scanned.c.customer_id <= last)
    rows = list(connection.execute(query.order_by(scanned.c.customer_id).limit(size)).all())
    if len(rows) == size:
        after: ChangeCursor | None = ChangeCursor(place.phase, rows[-1].customer_id)
    elif last is not None:
        after = ChangeCursor(place.phase, last)
    else:
        following = NEXT_PHASE[place.phase]
        after = ChangeCursor(following, number=sync.since_mark) if following else None
    return ChangePage(rows if changed else [], [] if changed else [row.customer_id for row in rows], after)


def changed_rows(sync: SyncPlan) -> Select[Any]:
    """Ask for the customers of the new run that the old one has otherwise, or not at all."""
    assert sync.since is not None
    same = and_(OLD.c.run_number == sync.since.number, OLD.c.customer_id == NEW.c.customer_id)
    differs = [NEW.c[name].is_distinct_from(OLD.c[name]) for name in COMPARED]
    columns = [NEW.c[column.name] for column in LIST_COLUMNS]
    return (
        select(*columns)
        .select_from(NEW.outerjoin(OLD, same))
        .where(NEW.c.run_number == sync.run.number, or_(OLD.c.customer_id.is_(None), *differs))
    )


def removed_rows(sync: SyncPlan) -> Select[Any]:
    """Ask for the customers of the old run that the new one does not have."""
    assert sync.since is not None
    same = and_(NEW.c.run_number == sync.run.number, NEW.c.customer_id == OLD.c.customer_id)
    return (
        select(OLD.c.customer_id)
        .select_from(OLD.outerjoin(NEW, same))
        .where(OLD.c.run_number == sync.since.number, NEW.c.customer_id.is_(None))
    )


def last_scanned(connection: Connection, scanned: FromClause, run: ScoringRun, after: str) -> str | None:
    """Give the last customer that a page looks at; None where it looks at all that are left."""
    ids = select(scanned.c.customer_id).where(scanned.c.run_number == run.number, scanned.c.customer_id > after)
    return connection.execute(ids.order_by(scanned.c.customer_id).offset(SCANNED_MAX - 1).limit(1)).scalar()


def erased_page(connection: Connection, sync: SyncPlan, place: ChangeCursor, size: int) -> ChangePage:
    """Give the next tombstones, but for customers who are in the run again."""
    stones = RISK_TOMBSTONES.c
    there = and_(RISKS.c.run_number == sync.run.number, RISKS.c.customer_id == stones.customer_id)
    wanted = (
        select(stones.number, stones.customer_id)
        .select_from(RISK_TOMBSTONES.outerjoin(RISKS, there))
        .where(stones.market == sync.run.market, stones.number > place.number, stones.number <= sync.mark)
        .where(RISKS.c.customer_id.is_(None))
        .order_by(stones.number)
        .limit(size + 1)
    )
    found = connection.execute(wanted).all()
    after = ChangeCursor("ERASED", number=found[size - 1].number) if len(found) > size else None
    return ChangePage([], [row.customer_id for row in found[:size]], after)
