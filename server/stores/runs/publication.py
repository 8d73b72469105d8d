"""Publishes a scoring run: rows are staged in small transactions, then recorded and shown to readers in one.

    lock -> create the run (LOADING) -> stage rows, batch by batch -> stage leaf tiles -> record and show it (LOADED)

The database has one writer at a time, and decisions wait for it: so every transaction is short. Readers see a run only in
the state LOADED. After a crash in between, the run stays in the state LOADING until `delete_unfinished_runs` removes it.
"""

import datetime as dt
import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select, update

from grounds_record.leaf_tiles import build_leaf_tiles
from grounds_record.merkle import merkle_root
from server.errors import StoreUnavailable
from server.stores.database import Database
from server.stores.features import utc
from server.stores.record_log.log import RecordLog
from server.stores.runs.leaves import stage_leaf_tiles
from server.stores.runs.predictions import LOADED, LOADING
from server.stores.runs.records import MarketRows, RunSummary, record_run, run_salt_key
from server.stores.runs.row_encoding import row_leaf
from server.stores.tables import RISK_CHUNKS, RISKS, RUNS

Chunk = dict[str, Any]  # a row of RISK_CHUNKS
_LOADING_LOCK = 0x6C6F6164696E67  # "loading"; any number that nobody else uses


@contextmanager
def lock_loading(database: Database) -> Iterator[None]:
    """Lock loading and erasing: one process at a time does either. The lock ends with the process, even if it is killed.

    Without it, an erasure would record the leaf hashes of rows that are staged and may never be recorded, and a load would
    bring back a customer who is erased meanwhile.

    Raises:
        StoreUnavailable: Another process has the lock; nothing was done.
    """
    refusal = StoreUnavailable(
        "a load or an erasure is under way on this database; nothing was done: try again when it has ended"
    )
    url = database.engine.url
    if url.get_backend_name() == "postgresql":
        with database.reading() as connection:
            if not connection.execute(select(func.pg_try_advisory_lock(_LOADING_LOCK))).scalar():
                raise refusal
            connection.commit()  # the lock is the session's; an open transaction would keep VACUUM from working
            try:
                yield
            finally:
                connection.execute(select(func.pg_advisory_unlock(_LOADING_LOCK)))
        return
    with Path(f"{url.database}.loading").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise refusal from error
        yield


@dataclass(frozen=True, slots=True)
class StagedRun:
    """A run in one market that is not published yet.

    Attributes:
        number: Of the run.
        salt_key: Derives the salts of its rows.
        leaves: Leaf hashes of its rows, in the order of staging: 32 bytes a customer.
    """

    number: int
    salt_key: bytes = field(repr=False)
    leaves: list[bytes] = field(default_factory=list)


def create_run(log: RecordLog, line: dict[str, Any]) -> StagedRun:
    """Insert a run in the state LOADING.

    Args:
        log: On the database of the runs.
        line: Values of RUNS, without the run number, the state and the counts.
    """
    with log.database.writing() as connection:
        inserted = connection.execute(
            RUNS.insert().values(**line, state=LOADING, customer_count=0, scored_count=0).returning(RUNS.c.run_number)
        )
        return StagedRun(int(inserted.scalar_one()), run_salt_key(log, line["run_id"], line["market"]))


def stage_rows(
    database: Database, run: StagedRun, rows: list[tuple[Any, ...]], chunks: list[Chunk], scored: int
) -> None:
    """Insert some customers of a run, in one transaction.

    Args:
        database: Of the runs.
        run: Not published yet.
        rows: Values of RISKS, in the order of its columns.
        chunks: The same customers as chunks of the export.
        scored: How many of them have a score.
    """
    counts = {"customer_count": RUNS.c.customer_count + len(rows), "scored_count": RUNS.c.scored_count + scored}
    with database.writing() as connection:
        if rows:
            _insert_rows(connection, rows)
        connection.execute(RISK_CHUNKS.insert(), chunks)
        connection.execute(update(RUNS).where(RUNS.c.run_number == run.number).values(**counts))
    # Hashed after the commit: other writers wait while the transaction is open.
    names = [column.name for column in RISKS.c]
    run.leaves.extend(row_leaf(dict(zip(names, row, strict=True)), run.salt_key) for row in rows)


def _insert_rows(connection: Connection, rows: list[tuple[Any, ...]]) -> None:
    """Insert rows of RISKS through the driver: SQLAlchemy's own executemany takes as long again as the database."""
    names = [column.name for column in RISKS.c]
    statement = RISKS.insert().compile(dialect=connection.dialect, column_keys=names)
    if statement.positional:
        assert statement.positiontup == names
        connection.exec_driver_sql(str(statement), rows)
    else:
        connection.exec_driver_sql(str(statement), [dict(zip(names, row, strict=True)) for row in rows])


def publish_run(log: RecordLog, staged: list[StagedRun], load_time: dt.datetime) -> None:
    """Record a run and show it to readers, in all its markets at once.

    Args:
        log: On the database of the runs.
        staged: The run in each of its markets, with all its rows.
        load_time: Now.

    Raises:
        LoadRefused: A run with this id was recorded with other rows.
    """
    runs = {run.number: run for run in staged}
    roots = {}
    # Tiles are written before the head is locked: every decision waits while it is.
    for run in staged:
        tiles = build_leaf_tiles(run.leaves)
        stage_leaf_tiles(log.database, run.number, tiles)
        roots[run.number] = merkle_root([tile.root for tile in tiles])
    # Record and state change in one transaction: a crash leaves a published run with its record, or neither.
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
