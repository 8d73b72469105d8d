"""Runs come and go in small transactions, so that the loan desk never waits long; readers see whole ones only."""

import datetime as dt
import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, delete, func, select, update

from grounds_record.leaf_tiles import build_leaf_tiles
from grounds_record.merkle import merkle_root
from server.config import Settings
from server.errors import StoreUnavailable
from server.stores.database import Database
from server.stores.features import utc
from server.stores.record_log.log import RecordLog
from server.stores.runs.erasure import delete_expired_tombstones
from server.stores.runs.leaves import stage_leaves
from server.stores.runs.predictions import LOADED, LOADING, NEWEST_FIRST, PRUNING
from server.stores.runs.records import MarketRows, RunSummary, record_run, run_salt_key
from server.stores.runs.row_encoding import row_leaf
from server.stores.tables import RISK_CHUNKS, RISK_LEAVES, RISKS, RUNS

DELETED_ROWS = 5000  # in one transaction
Chunk = dict[str, Any]  # a row of RISK_CHUNKS
LOADING_LOCK = 0x6C6F6164696E67  # "loading"; any number that nobody else uses


@dataclass(frozen=True, slots=True)
class RunRetention:
    """Which runs are kept.

    Attributes:
        runs: The newest so many of each market.
        token_days: And every other until so long after a newer one was loaded, while tokens may ask for it.
    """

    runs: int
    token_days: float

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Read them from the configuration."""
        return cls(settings.churn_runs_kept, settings.churn_token_days)


@contextmanager
def lock_loading(database: Database) -> Iterator[None]:
    """Let one process at a time load a file or erase customers; the lock goes with the process, however it ends.

    An erasure would record rows that are being loaded and may never be recorded; a load would bring back who is
    erased meanwhile.

    Raises:
        StoreUnavailable: Another one is at it; nothing was done.
    """
    refusal = StoreUnavailable(
        "a load or an erasure is under way on this database; nothing was done: try again when it has ended"
    )
    url = database.engine.url
    if url.get_backend_name() == "postgresql":
        with database.reading() as connection:
            if not connection.execute(select(func.pg_try_advisory_lock(LOADING_LOCK))).scalar():
                raise refusal
            connection.commit()  # the lock is the session's: an open transaction would only be in the way of VACUUM
            try:
                yield
            finally:
                connection.execute(select(func.pg_advisory_unlock(LOADING_LOCK)))
        return
    with Path(f"{url.database}.loading").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise refusal from error
        yield


@dataclass(frozen=True, slots=True)
class StagedRun:
    """A run in one market that no reader sees yet.

    Attributes:
        number: Of the run.
        salt_key: From which the salts of its rows follow.
        leaves: Hashes of its rows, for its record: 32 bytes a customer.
    """

    number: int
    salt_key: bytes = field(repr=False)
    leaves: list[bytes] = field(default_factory=list)


def create_run(log: RecordLog, line: dict[str, Any]) -> StagedRun:
    """Add the line of a run that no reader sees yet to the database of the log."""
    with log.database.writing() as connection:
        added = connection.execute(
            RUNS.insert().values(**line, state=LOADING, customer_count=0, scored_count=0).returning(RUNS.c.run_number)
        )
        return StagedRun(int(added.scalar_one()), run_salt_key(log, line["run_id"], line["market"]))


def stage_rows(
    database: Database, run: StagedRun, rows: list[tuple[Any, ...]], chunks: list[Chunk], scored: int
) -> None:
    """Add some customers, with their parts of the export; a row holds the values of RISKS, in its order."""
    counts = {"customer_count": RUNS.c.customer_count + len(rows), "scored_count": RUNS.c.scored_count + scored}
    with database.writing() as connection:
        if rows:
            insert_all(connection, rows)
        connection.execute(RISK_CHUNKS.insert(), chunks)
        connection.execute(update(RUNS).where(RUNS.c.run_number == run.number).values(**counts))
    names = [column.name for column in RISKS.c]
    run.leaves.extend(row_leaf(dict(zip(names, row, strict=True)), run.salt_key) for row in rows)


def insert_all(connection: Connection, rows: list[tuple[Any, ...]]) -> None:
    """Insert rows of RISKS as the driver takes them: SQLAlchemy's own way takes as long again as the database."""
    names = [column.name for column in RISKS.c]
    statement = RISKS.insert().compile(dialect=connection.dialect, column_keys=names)
    if statement.positional:
        assert statement.positiontup == names
        connection.exec_driver_sql(str(statement), rows)
    else:
        connection.exec_driver_sql(str(statement), [dict(zip(names, row, strict=True)) for row in rows])


def publish_run(log: RecordLog, staged: list[StagedRun], load_time: dt.datetime) -> None:
    """Record a run and show it to readers, in all its markets at once.

    Raises:
        LoadRefused: A run of this name was recorded with other rows.
    """
    runs = {run.number: run for run in staged}
    roots = {}
    for run in staged:  # before the head is locked, for that is what the desk waits for
        blocks = build_leaf_tiles(run.leaves)
        stage_leaves(log.database, run.number, blocks)
        roots[run.number] = merkle_root([block.root for block in blocks])
    with log.database.writing() as connection:
        lines = connection.execute(select(RUNS).where(RUNS.c.run_number.in_(runs)).order_by(RUNS.c.market)).all()
        markets = [
            MarketRows(line.market, utc(line.as_of), len(runs[line.run_number].leaves), roots[line.run_number])
            for line in lines
        ]
        manifest = lines[0].header
        header = json.loads(manifest)
        facts = RunSummary(lines[0].run_id, header["bundle_id"], header["baseline_sha256"], manifest, markets)
        record_run(connection, log, facts, load_time)
        shown = update(RUNS).where(RUNS.c.run_number.in_(runs))
        connection.execute(shown.values(state=LOADED, load_time=load_time))


def delete_unfinished_runs(database: Database) -> None:
    """Remove what a load that was killed has left, of a run half loaded or half removed. Only `alone`."""
    with database.reading() as connection:
        numbers = connection.execute(select(RUNS.c.run_number).where(RUNS.c.state != LOADED)).scalars().all()
    for number in numbers:
        remove(database, number)


def prune_runs(database: Database, keep: RunRetention, now: dt.datetime) -> int:
    """Remove runs and tombstones that are no longer kept; gives how many runs. Only `alone`."""
    before = now - dt.timedelta(days=keep.token_days)
    with database.writing() as connection:
        gone = [number for market in markets(connection) for number in not_kept(connection, market, keep, before)]
        # Readers are told first; a row goes only when nobody can begin to read it.
        connection.execute(update(RUNS).where(RUNS.c.run_number.in_(gone)).values(state=PRUNING))
        delete_expired_tombstones(connection, now, keep.token_days)
    for number in gone:
        remove(database, number)
    return len(gone)


def markets(connection: Connection) -> list[str]:
    """Give every market that has a run."""
    return list(connection.execute(select(RUNS.c.market).distinct()).scalars())


def not_kept(connection: Connection, market: str, keep: RunRetention, before: dt.datetime) -> list[int]:
    """Give the runs of a market that are neither among the newest nor were the newest lately."""
    wanted = select(RUNS.c.run_number, RUNS.c.load_time).where(RUNS.c.market == market, RUNS.c.state == LOADED)
    runs = connection.execute(wanted.order_by(*NEWEST_FIRST)).all()
    gone = []
    superseded = dt.datetime.max.replace(tzinfo=dt.UTC)  # when the first newer one was loaded
    for place, run in enumerate(runs):
        if place >= keep.runs and superseded < before:
            gone.append(run.run_number)
        superseded = min(superseded, utc(run.load_time))
    return gone


def remove(database: Database, number: int) -> None:
    """Remove a run that no reader sees, little by little."""
    parts = ((RISKS, RISKS.c.customer_id), (RISK_CHUNKS, RISK_CHUNKS.c.chunk), (RISK_LEAVES, RISK_LEAVES.c.block))
    for table, key in parts:
        rows = DELETED_ROWS if table is RISKS else 10
        some = select(key).where(table.c.run_number == number).limit(rows)
        while True:
            with database.writing() as connection:
                done = connection.execute(delete(table).where(table.c.run_number == number, key.in_(some)))
            if done.rowcount < rows:
                break
    with database.writing() as connection:
        connection.execute(delete(RUNS).where(RUNS.c.run_number == number))
