"""Removes scoring runs that are no longer kept, or were never published, in small transactions."""

import datetime as dt
from dataclasses import dataclass
from typing import Self

from sqlalchemy import Connection, delete, select, update

from server.config import Settings
from server.stores.database import Database
from server.stores.features import utc
from server.stores.runs.erasure import delete_expired_tombstones
from server.stores.runs.predictions import LOADED, NEWEST_FIRST, PRUNING
from server.stores.tables import RISK_CHUNKS, RISK_LEAVES, RISKS, RUNS

_ROWS_PER_TRANSACTION = 5000
_BLOBS_PER_TRANSACTION = 10  # chunks and leaf tiles, which are large


@dataclass(frozen=True, slots=True)
class RunRetention:
    """Which runs are kept.

    Attributes:
        runs: How many of the newest runs of each market.
        token_days: How many days every other run stays after a newer one was loaded, because tokens may ask for it.
    """

    runs: int
    token_days: float

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Return what the configuration says."""
        return cls(settings.churn_runs_kept, settings.churn_token_days)


def delete_unfinished_runs(database: Database) -> None:
    """Delete runs that a killed process left half loaded or half deleted; only under `lock_loading`."""
    with database.reading() as connection:
        numbers = connection.execute(select(RUNS.c.run_number).where(RUNS.c.state != LOADED)).scalars().all()
    for number in numbers:
        _delete_run(database, number)


def prune_runs(database: Database, retention: RunRetention, now: dt.datetime) -> int:
    """Delete runs and tombstones that are no longer kept; return how many runs. Only under `lock_loading`."""
    superseded_before = now - dt.timedelta(days=retention.token_days)
    with database.writing() as connection:
        markets = connection.execute(select(RUNS.c.market).distinct()).scalars().all()
        expired = [
            number for market in markets for number in _expired_runs(connection, market, retention, superseded_before)
        ]
        # The state first, in a transaction of its own: readers check it after reading, and so never return a part of a run.
        connection.execute(update(RUNS).where(RUNS.c.run_number.in_(expired)).values(state=PRUNING))
        delete_expired_tombstones(connection, now, retention.token_days)
    for number in expired:
        _delete_run(database, number)
    return len(expired)


def _expired_runs(
    connection: Connection, market: str, retention: RunRetention, superseded_before: dt.datetime
) -> list[int]:
    """Return the numbers of a market's runs that are not among the newest, and had a newer one before a time."""
    wanted = select(RUNS.c.run_number, RUNS.c.load_time).where(RUNS.c.market == market, RUNS.c.state == LOADED)
    runs = connection.execute(wanted.order_by(*NEWEST_FIRST)).all()
    expired = []
    superseded = dt.datetime.max.replace(tzinfo=dt.UTC)  # when the first newer run was loaded
    for position, run in enumerate(runs):
        if position >= retention.runs and superseded < superseded_before:
            expired.append(run.run_number)
        superseded = min(superseded, utc(run.load_time))
    return expired


def _delete_run(database: Database, number: int) -> None:
    """Delete a run that no reader sees, a few rows in each transaction."""
    parts = (
        (RISKS, RISKS.c.customer_id, _ROWS_PER_TRANSACTION),
        (RISK_CHUNKS, RISK_CHUNKS.c.chunk, _BLOBS_PER_TRANSACTION),
        (RISK_LEAVES, RISK_LEAVES.c.block, _BLOBS_PER_TRANSACTION),
    )
    for table, key, row_count in parts:
        some = select(key).where(table.c.run_number == number).limit(row_count)
        while True:
            with database.writing() as connection:
                result = connection.execute(delete(table).where(table.c.run_number == number, key.in_(some)))
            if result.rowcount < row_count:
                break
    # The line of RUNS last: until then a start finds what is left of the run.
    with database.writing() as connection:
        connection.execute(delete(RUNS).where(RUNS.c.run_number == number))
