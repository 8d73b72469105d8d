"""Run files into the database: staged batch by batch where no reader looks, shown whole, or not at all.

A load that was killed has shown nothing; the next one removes what it left and begins anew.
"""

import datetime as dt
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import select

from server.errors import LoadRefused
from server.load.batch_preparation import PreviousBands, prepare_batch
from server.load.customer_columns import KEY_COLUMNS, check_columns, check_customers, rows_to_load
from server.load.drivers import DriversInvalid
from server.load.manifest import REQUIRED_KEYS, RunManifest, parse_manifest
from server.load.row_checks import RUN_COLUMNS, find_problem, find_rank_problem
from server.stores.database import Database
from server.stores.record_log.erased_customers import ErasedCustomers
from server.stores.record_log.log import RecordLog
from server.stores.runs.arrow_chunks import EXPORT_SCHEMA, encode_chunk
from server.stores.runs.loading import (
    RunRetention,
    StagedRun,
    create_run,
    delete_unfinished_runs,
    prune_runs,
    publish_run,
    stage_rows,
)
from server.stores.runs.predictions import find_run_before
from server.stores.tables import RISK_CHUNKS, RUNS

BATCH_ROWS = 8192  # staged in one transaction: some tenths of a second
RUN_MANIFEST_KEYS = REQUIRED_KEYS


@dataclass(slots=True)
class _MarketLoad:
    """A run in one market while it is loaded.

    Attributes:
        staged: What of it is in the database.
        former: Of the market's customers.
        seen: Customers of the market that were read so far.
        chunks: Parts of the export that were written so far.
    """

    staged: StagedRun
    previous_bands: PreviousBands
    rows_read: int = 0
    chunk_count: int = 0


def load_run(
    log: RecordLog,
    path: Path,
    manifest: dict[str, Any],
    load_time: dt.datetime,
    keep: RunRetention,
    gone: ErasedCustomers,
) -> tuple[int, int, int]:
    """Add a run with all its customers to the database of the log, which records it; while nobody else loads or erases.

    Returns:
        How many customers are new, were known, and were left out because they were erased since.

    Raises:
        LoadRefused: Something that a reader needs is missing or wrong.
    """
    checked, database = parse_manifest(path, manifest), log.database
    with path.open("rb") as content:
        file_sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    with pq.ParquetFile(path) as file:
        check_columns(path, file.schema_arrow, {**KEY_COLUMNS, **RUN_COLUMNS})
        if known := _loaded_customer_count(database, path, checked.run_id, file_sha256):
            return 0, known, sum(checked.counts.values()) - known
        customers = _check_file(path, file, checked)
        line = {"load_time": load_time, "file_sha256": file_sha256, "header": json.dumps(manifest, sort_keys=True)}
        try:
            runs = {market: _begin_market(log, checked, part, line) for market, part in customers.items()}
            added = sum(_stage_batch(database, path, batch, checked, runs, gone) for batch in _read_batches(file))
            for run in runs.values():
                if not run.chunk_count:  # all of its customers were erased; an export has at least one part
                    stage_rows(database, run.staged, [], [_empty_chunk(run.staged.number)], 0)
            publish_run(log, [run.staged for run in runs.values()], load_time)
        except BaseException:
            delete_unfinished_runs(database)
            raise
        prune_runs(database, keep, load_time)
    return added, 0, sum(run.rows_read for run in runs.values()) - added


def _loaded_customer_count(database: Database, path: Path, run_id: str, file_sha256: str) -> int:
    """Give how many customers of this run are there already."""
    wanted = select(RUNS.c.customer_count, RUNS.c.file_sha256).where(RUNS.c.run_id == run_id)
    with database.reading() as connection:
        found = connection.execute(wanted).all()
    if any(run.file_sha256 != file_sha256 for run in found):
        raise LoadRefused(f"{path}: run {run_id} is loaded already, from a file with other content")
    return sum(run.customer_count for run in found)


def _check_file(path: Path, file: pq.ParquetFile, manifest: RunManifest) -> dict[str, pa.Table]:
    """Check what only the whole file can tell: customers, ranks, counts. Gives them by market."""
    table = file.read([*KEY_COLUMNS, "status", "rank", "pd"])
    check_customers(path, table)
    found = {count["values"]: count["counts"] for count in pc.value_counts(table["status"]).to_pylist()}
    if found != {status: count for status, count in manifest.counts.items() if count}:
        raise LoadRefused(f"{path}: the manifest's counts by status are not those of the rows")
    customers = {}
    for market in sorted(pc.unique(table["market"]).to_pylist()):
        part = table.filter(pc.equal(table["market"], market))
        cuts = pc.unique(part["as_of"]).to_pylist()
        if len(cuts) != 1:
            raise LoadRefused(f"{path}: market {market}: a run has one as_of, not {len(cuts)}")
        if problem := find_rank_problem(part):
            raise LoadRefused(f"{path}: market {market}: {problem}")
        customers[market] = part.select(list(KEY_COLUMNS))
    return customers


def _begin_market(log: RecordLog, manifest: RunManifest, customers: pa.Table, line: dict[str, Any]) -> _MarketLoad:
    """Begin a run in one market, against the latest run with an earlier cut.

    A run that is loaded late is held against the one before its own cut; runs with a later cut stay as
    they were shown.
    """
    market, as_of = customers["market"][0].as_py(), customers["as_of"][0].as_py()
    with log.database.reading() as connection:
        previous = find_run_before(connection, market, as_of)
        wanted = select(RISK_CHUNKS.c.content).order_by(RISK_CHUNKS.c.chunk)
        wanted = wanted.where(RISK_CHUNKS.c.run_number == previous.number) if previous else wanted.limit(0)
        # One by one: without it PostgreSQL's driver holds the whole export of the previous run.
        found = connection.execute(wanted, execution_options={"yield_per": 1}).scalars()
        contents = (bytes(content) for content in found)
        former = PreviousBands(contents, customers["customer_id"])
    whose = {"run_id": manifest.run_id, "market": market, "previous_run_id": previous.run_id if previous else None}
    times = {"as_of": as_of, "valid_until": as_of + dt.timedelta(days=manifest.valid_days)}
    return _MarketLoad(create_run(log, {**line, **whose, **times}), former)


def _read_batches(file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    """Read the file little by little."""
    yield from file.iter_batches(BATCH_ROWS, columns=[*KEY_COLUMNS, *RUN_COLUMNS])


def _empty_chunk(number: int) -> dict[str, Any]:
    """Give the only part of an export without customers."""
    return {"run_number": number, "chunk": 0, "row_count": 0, "content": encode_chunk(EXPORT_SCHEMA.empty_table())}


def _stage_batch(
    database: Database,
    path: Path,
    batch: pa.RecordBatch,
    manifest: RunManifest,
    runs: dict[str, _MarketLoad],
    gone: ErasedCustomers,
) -> int:
    """Check a batch and put it where no reader looks, but for who was erased; gives the number of its customers."""
    if problem := find_problem(batch, manifest):
        raise LoadRefused(f"{path}: {problem}")
    added = 0
    for market in pc.unique(batch["market"]).to_pylist():
        run = runs[market]
        part = batch.filter(pc.equal(batch["market"], market))
        before = run.previous_bands.batch_history(run.rows_read, part.num_rows)
        run.rows_read += part.num_rows
        stays = rows_to_load(part, gone)
        part, before = part.filter(stays), before.filter(stays)
        if not part.num_rows:
            continue
        try:
            content = prepare_batch(part, manifest, before, run.staged.number, run.chunk_count)
        except DriversInvalid as error:
            raise LoadRefused(f"{path}: {error}") from error
        stage_rows(database, run.staged, content.rows, content.chunks, content.scored)
        run.chunk_count += len(content.chunks)
        added += part.num_rows
    return added
