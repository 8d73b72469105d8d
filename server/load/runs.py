"""Loads a run file. Rows are first staged in batches, invisible to readers, and then published in one transaction.

If a load is killed before it publishes the run, the next load deletes the staged rows.
"""

import datetime as dt
import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import select

from server.errors import LoadRefused
from server.load.batch_preparation import PreparedBatch, PreviousBands, prepare_batch
from server.load.customer_columns import KEY_COLUMNS, check_columns, check_customers, rows_to_load
from server.load.drivers import DriversInvalid
from server.load.manifest import RunManifest, parse_manifest
from server.load.parquet_limits import LimitedParquet, open_parquet
from server.load.row_checks import RUN_COLUMNS, find_problem, find_rank_problem
from server.stores.database import Database
from server.stores.record_log.erased_customers import ErasedCustomers
from server.stores.record_log.log import RecordLog
from server.stores.runs.export_chunks import EXPORT_SCHEMA, encode_chunk
from server.stores.runs.predictions import find_run_before
from server.stores.runs.pruning import RunRetention, delete_unfinished_runs, prune_runs
from server.stores.runs.publication import StagedRun, create_run, publish_run, stage_rows
from server.stores.tables import RISK_CHUNKS, RUNS

_Element = TypeVar("_Element")
BATCH_ROWS = 8192  # rows staged in one transaction, which takes a few tenths of a second


@dataclass(slots=True)
class _MarketLoad:
    """The load of a run in one market.

    Attributes:
        staged: The staged rows of the run in this market.
        previous_bands: The bands of the market's customers in the previous run.
        rows_read: Number of rows of the market that were read from the file so far.
        chunk_count: Number of export chunks that were staged so far.
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
    retention: RunRetention,
    erased_customers: ErasedCustomers,
) -> tuple[int, int, int]:
    """Load a run with all of its customers, and append its record to the record log. Call it only under `lock_loading`.

    Returns:
        Three numbers of customers: added now, loaded earlier, and skipped because they were erased.

    Raises:
        LoadRefused: The file is invalid. None of its rows was loaded.
    """
    run_manifest, database = parse_manifest(path, manifest), log.database
    with path.open("rb") as content:
        file_sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    with open_parquet(path) as file:
        check_columns(path, file.schema, {**KEY_COLUMNS, **RUN_COLUMNS})
        if known := _loaded_customer_count(database, path, run_manifest.run_id, file_sha256):
            return 0, known, sum(run_manifest.counts.values()) - known
        customers = _check_file(path, file, run_manifest, load_time)
        pa.default_memory_pool().release_unused()  # the check of the whole file needs more memory than its batches
        line = {"load_time": load_time, "file_sha256": file_sha256, "header": json.dumps(manifest, sort_keys=True)}
        try:
            runs = {market: _begin_market(log, run_manifest, part, line) for market, part in customers.items()}
            added = 0
            for staged, batch in _compute_ahead(_prepare_batches(path, file, run_manifest, runs, erased_customers)):
                stage_rows(database, staged, batch.rows, batch.leaves, batch.chunks, batch.scored)
                added += len(batch.rows)
            for run in runs.values():
                if not run.chunk_count:  # every customer was erased; an export has at least one chunk
                    stage_rows(database, run.staged, [], [], [_empty_chunk(run.staged.number)], 0)
            publish_run(log, [run.staged for run in runs.values()], load_time)
        except BaseException:
            delete_unfinished_runs(database)
            raise
        prune_runs(database, retention, load_time)
    return added, 0, sum(run.rows_read for run in runs.values()) - added


def _loaded_customer_count(database: Database, path: Path, run_id: str, file_sha256: str) -> int:
    """Return the number of customers of this run in the database; 0 if the run is not loaded.

    Raises:
        LoadRefused: The run was loaded from a file with different content.
    """
    columns = select(RUNS.c.customer_count, RUNS.c.file_sha256).where(RUNS.c.run_id == run_id)
    with database.reading() as connection:
        runs = connection.execute(columns).all()
    if any(run.file_sha256 != file_sha256 for run in runs):
        raise LoadRefused(
            f"{path}: run {run_id} was already loaded from a file with different content; a run cannot change"
        )
    return sum(run.customer_count for run in runs)


def _check_file(path: Path, file: LimitedParquet, manifest: RunManifest, load_time: dt.datetime) -> dict[str, pa.Table]:
    """Check customers, ranks and counts, which need the whole file. Return the key columns by market."""
    table = file.read_columns([*KEY_COLUMNS, "status", "rank", "pd"])
    check_customers(path, table, load_time)
    counts = {count["values"]: count["counts"] for count in pc.value_counts(table["status"]).to_pylist()}
    if counts != {status: count for status, count in manifest.counts.items() if count}:
        raise LoadRefused(f"{path}: manifest: counts: must equal the number of rows for each status")
    customers = {}
    for market in sorted(pc.unique(table["market"]).to_pylist()):
        part = table.filter(pc.equal(table["market"], market))
        cuts = pc.unique(part["as_of"]).to_pylist()
        if len(cuts) != 1:
            raise LoadRefused(
                f"{path}: market {market}: column 'as_of': must be the same in every row, found {len(cuts)} values"
            )
        if problem := find_rank_problem(part):
            raise LoadRefused(f"{path}: market {market}: {problem}")
        customers[market] = part.select(list(KEY_COLUMNS))
    return customers


def _begin_market(log: RecordLog, manifest: RunManifest, customers: pa.Table, line: dict[str, Any]) -> _MarketLoad:
    """Create a run in one market, and read the band history from the previous run.

    The previous run is the latest run of the same family with an earlier as-of time. Loaded runs with a later as-of time are not changed.
    """
    market, as_of = customers["market"][0].as_py(), customers["as_of"][0].as_py()
    with log.database.reading() as connection:
        previous = find_run_before(connection, market, manifest.family, as_of)
        chunks = select(RISK_CHUNKS.c.content).order_by(RISK_CHUNKS.c.chunk)
        chunks = chunks.where(RISK_CHUNKS.c.run_number == previous.number) if previous else chunks.limit(0)
        # Fetch chunk by chunk, because otherwise PostgreSQL's driver reads the whole export of the previous run into
        # memory.
        rows = connection.execute(chunks, execution_options={"yield_per": 1}).scalars()
        contents = (bytes(content) for content in rows)
        previous_bands = PreviousBands(contents, customers["customer_id"])
    identity = {"run_id": manifest.run_id, "market": market, "family": manifest.family}
    identity["previous_run_id"] = previous.run_id if previous else None
    times = {"as_of": as_of, "valid_until": as_of + dt.timedelta(days=manifest.valid_days)}
    return _MarketLoad(create_run(log, {**line, **identity, **times}), previous_bands)


def _empty_chunk(number: int) -> dict[str, Any]:
    """Return the single chunk of an export without customers."""
    return {"run_number": number, "chunk": 0, "row_count": 0, "content": encode_chunk(EXPORT_SCHEMA.empty_table())}


def _compute_ahead(elements: Iterator[_Element]) -> Iterator[_Element]:
    """Yield the elements of an iterator. A thread computes the next one while the caller uses the current one."""
    with ThreadPoolExecutor(1) as executor:
        following = executor.submit(next, elements, None)
        while (current := following.result()) is not None:
            following = executor.submit(next, elements, None)
            yield current


def _prepare_batches(
    path: Path,
    file: LimitedParquet,
    manifest: RunManifest,
    runs: dict[str, _MarketLoad],
    erased_customers: ErasedCustomers,
) -> Iterator[tuple[StagedRun, PreparedBatch]]:
    """Read the file in batches, check them, and yield the customers of each market except erased ones."""
    for batch in file.iterate_batches(BATCH_ROWS, [*KEY_COLUMNS, *RUN_COLUMNS]):
        if problem := find_problem(batch, manifest):
            raise LoadRefused(f"{path}: {problem}")
        for market in pc.unique(batch["market"]).to_pylist():
            run = runs[market]
            part = batch.filter(pc.equal(batch["market"], market))
            before = run.previous_bands.batch_history(run.rows_read, part.num_rows)
            run.rows_read += part.num_rows
            included = rows_to_load(part, erased_customers)
            part, before = part.filter(included), before.filter(included)
            if not part.num_rows:
                continue
            try:
                prepared = prepare_batch(part, manifest, before, run.staged, run.chunk_count)
            except DriversInvalid as error:
                raise LoadRefused(f"{path}: {error}") from error
            run.chunk_count += len(prepared.chunks)
            yield run.staged, prepared
