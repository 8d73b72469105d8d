"""Deletes scoring runs that are no longer needed or were never published, in short transactions."""

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
    """The rules that determine which runs are kept.

    Attributes:
        runs: Number of the newest runs of each market and family that are always kept.
        token_days: Number of days for which a run is kept after a newer run was loaded, because tokens may refer to the
            old run.
    """

    runs: int
    token_days: float

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Return the rules from the configuration."""
        return cls(settings.churn_runs_kept, settings.churn_token_days)


def delete_unfinished_runs(database: Database) -> None:
    """Delete runs whose load or deletion was interrupted. Call this only under `lock_loading`."""
    with database.reading() as connection:
        numbers = connection.execute(select(RUNS.c.run_number).where(RUNS.c.state != LOADED)).scalars().all()
    for number in numbers:
        _delete_run(database, number)


def prune_runs(database: Database, retention: RunRetention, now: dt.datetime) -> int:
    """Delete expired runs and tombstones; return the number of deleted runs. Call this only under `lock_loading`."""
    superseded_before = now - dt.timedelta(days=retention.token_days)
    with database.writing() as connection:
        kinds = connection.execute(select(RUNS.c.market, RUNS.c.family).distinct()).all()
        expired = [
            number
            for market, family in kinds
            for number in _expired_runs(connection, market, family, retention, superseded_before)
        ]
        # Change the state first in a separate transaction. Readers check the state after reading, so they never return a partial run.
        connection.execute(update(RUNS).where(RUNS.c.run_number.in_(expired)).values(state=PRUNING))
        delete_expired_tombstones(connection, now, retention.token_days)
    for number in expired:
        _delete_run(database, number)
    return len(expired)


def _expired_runs(
    connection: Connection, market: str, family: str, retention: RunRetention, superseded_before: dt.datetime
) -> list[int]:
    """Return the numbers of the runs of a family in a market that can be deleted.

    Such a run is not among the newest runs, and a newer run was loaded before `superseded_before`.
    """
    wanted = select(RUNS.c.run_number, RUNS.c.load_time).where(RUNS.c.market == market, RUNS.c.family == family)
    wanted = wanted.where(RUNS.c.state == LOADED)
    runs = connection.execute(wanted.order_by(*NEWEST_FIRST)).all()
    expired = []
    superseded = dt.datetime.max.replace(tzinfo=dt.UTC)  # earliest load time of all newer runs
    for position, run in enumerate(runs):
        if position >= retention.runs and superseded < superseded_before:
            expired.append(run.run_number)
        superseded = min(superseded, utc(run.load_time))
    return expired


def _delete_run(database: Database, number: int) -> None:
    """Delete a run that is not visible to readers, with few rows per transaction."""
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
    # Delete the row of RUNS last, so that `delete_unfinished_runs` finds the run if this process is killed.
    with database.writing() as connection:
        connection.execute(delete(RUNS).where(RUNS.c.run_number == number))
