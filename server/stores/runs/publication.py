"""Publishes a scoring run: inserts its rows in short transactions, then records and publishes it in one transaction.

    lock loading -> create the run (LOADING) -> insert rows in batches -> insert leaf tiles
    -> record and publish the run (LOADED)

Every transaction is short, because SQLite has only one writer at a time and decisions wait for it. Readers see a run
only in the state LOADED. After a crash, an unpublished run remains in the state LOADING until `delete_unfinished_runs`
deletes it.
"""

import datetime as dt
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select, update

from grounds_record.leaf_tiles import build_leaf_tiles
from grounds_record.merkle import merkle_root
from grounds_record.private_files import open_lock_file
from server.errors import StoreUnavailable
from server.stores.database import Database
from server.stores.driver_sql import marks
from server.stores.features import utc
from server.stores.record_log.log import RecordLog
from server.stores.runs.leaves import stage_leaf_tiles
from server.stores.runs.predictions import LOADED, LOADING
from server.stores.runs.records import MarketRows, RunSummary, record_run, run_salt_key
from server.stores.tables import RISK_CHUNKS, RISKS, RUNS

Chunk = dict[str, Any]  # a row of RISK_CHUNKS
_ROWS_PER_STATEMENT = 64
_LOADING_LOCK = 0x6C6F6164696E67  # "loading" in ASCII; any number that no other application uses as a lock


@contextmanager
def lock_loading(database: Database) -> Iterator[None]:
    """Lock loads and erasures, so that only one process can run either of them.

    Without the lock, an erasure could record leaf hashes of rows that are never published, and a load could restore a
    customer who is erased while the load runs. The lock is released even if the process is killed.

    Raises:
        StoreUnavailable: Another process has the lock.
    """
    refusal = StoreUnavailable(
        "another load or erasure is running on this database; nothing was done; retry after it has finished"
    )
    url = database.engine.url
    if url.get_backend_name() == "postgresql":
        with database.reading() as connection:
            if not connection.execute(select(func.pg_try_advisory_lock(_LOADING_LOCK))).scalar():
                raise refusal
            connection.commit()  # the session keeps the lock; an open transaction would block VACUUM
            try:
                yield
            finally:
                connection.execute(select(func.pg_advisory_unlock(_LOADING_LOCK)))
        return
    with os.fdopen(open_lock_file(Path(f"{url.database}.loading")), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise refusal from error
        yield


def fill_families(database: Database) -> None:
    """Store the family of the manifest in runs that have none.

    A loader of release 0.1.0 that was running during the upgrade publishes such runs. Until this function runs, lists of
    families do not show them.
    """
    unnamed = select(RUNS.c.run_number, RUNS.c.header).where(RUNS.c.family.is_(None))
    with database.reading() as connection:
        found = connection.execute(unnamed).all()
    if not found:
        return
    with database.writing() as connection:
        for number, header in found:
            family = json.loads(header)["family"]
            connection.execute(update(RUNS).where(RUNS.c.run_number == number).values(family=family))


@dataclass(frozen=True, slots=True)
class StagedRun:
    """A run in one market that is not published yet.

    Attributes:
        number: Run number that the database assigned.
        salt_key: Key that derives the salts of the run's rows.
        leaves: Leaf hashes of the rows in the order of insertion, 32 bytes per customer.
    """

    number: int
    salt_key: bytes = field(repr=False)
    leaves: list[bytes] = field(default_factory=list)


def create_run(log: RecordLog, line: dict[str, Any]) -> StagedRun:
    """Insert a run in the state LOADING.

    Args:
        log: Log in the database of the runs.
        line: Values of a row of RUNS, without run number, state and counts.
    """
    with log.database.writing() as connection:
        inserted = connection.execute(
            RUNS.insert().values(**line, state=LOADING, customer_count=0, scored_count=0).returning(RUNS.c.run_number)
        )
        return StagedRun(int(inserted.scalar_one()), run_salt_key(log, line["run_id"], line["market"]))


def stage_rows(
    database: Database,
    run: StagedRun,
    rows: list[tuple[Any, ...]],
    leaves: list[bytes],
    chunks: list[Chunk],
    scored: int,
) -> None:
    """Insert some customers of a run, in one transaction.

    Args:
        database: Database of the runs.
        run: The run, which is not published yet.
        rows: Rows of RISKS, each with values in the order of the columns.
        leaves: The leaf hash of each row.
        chunks: Rows of RISK_CHUNKS with the same customers.
        scored: Number of these customers with a score.
    """
    counts = {"customer_count": RUNS.c.customer_count + len(rows), "scored_count": RUNS.c.scored_count + scored}
    with database.writing() as connection:
        if rows:
            _insert_rows(connection, rows)
        connection.execute(RISK_CHUNKS.insert(), chunks)
        connection.execute(update(RUNS).where(RUNS.c.run_number == run.number).values(**counts))
    run.leaves.extend(leaves)


def _insert_rows(connection: Connection, rows: list[tuple[Any, ...]]) -> None:
    """Insert rows of RISKS directly through the driver, which takes half as long as SQLAlchemy's executemany."""
    names = [column.name for column in RISKS.c]
    statement = RISKS.insert().compile(dialect=connection.dialect, column_keys=names)
    if not statement.positional:
        connection.exec_driver_sql(str(statement), [dict(zip(names, row, strict=True)) for row in rows])
        return
    assert statement.positiontup == names
    # SQLite's driver releases the interpreter's lock once per statement, and waits for it while the next batch is
    # prepared. So one statement inserts many rows.
    whole = len(rows) - len(rows) % _ROWS_PER_STATEMENT
    groups = [rows[first : first + _ROWS_PER_STATEMENT] for first in range(0, whole, _ROWS_PER_STATEMENT)]
    if groups:
        values = ", ".join([marks(len(names))] * _ROWS_PER_STATEMENT)
        sql = f"INSERT INTO {RISKS.name} ({', '.join(names)}) VALUES {values}"  # noqa: S608 - names of tables.py
        connection.exec_driver_sql(sql, [tuple(chain.from_iterable(group)) for group in groups])
    if rows[whole:]:
        connection.exec_driver_sql(str(statement), rows[whole:])


def publish_run(log: RecordLog, staged: list[StagedRun], load_time: dt.datetime) -> None:
    """Record a run and publish it in all its markets, in one transaction.

    Args:
        log: Log in the database of the runs.
        staged: The run in each of its markets, with all rows inserted.
        load_time: The current time.

    Raises:
        LoadRefused: A run with this id was already recorded with different rows.
    """
    runs = {run.number: run for run in staged}
    roots = {}
    # Write the tiles before the head of the log is locked, because decisions wait while it is locked.
    for run in staged:
        tiles = build_leaf_tiles(run.leaves)
        stage_leaf_tiles(log.database, run.number, tiles)
        roots[run.number] = merkle_root([tile.root for tile in tiles])
    # Append the record and change the state in one transaction, so that a run is published if and only if it is
    # recorded.
    with log.database.writing() as connection:
        lines = connection.execute(select(RUNS).where(RUNS.c.run_number.in_(runs)).order_by(RUNS.c.market)).all()
        markets = [
            MarketRows(line.market, utc(line.as_of), len(runs[line.run_number].leaves), roots[line.run_number])
            for line in lines
        ]
        content = lines[0].header
        manifest = json.loads(content)
        summary = RunSummary(lines[0].run_id, manifest["bundle_id"], manifest["baseline_sha256"], content, markets)
        record_run(connection, log, summary, load_time)
        published = update(RUNS).where(RUNS.c.run_number.in_(runs))
        connection.execute(published.values(state=LOADED, load_time=load_time))
