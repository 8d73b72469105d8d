"""The record of a published scoring run, and the check that the run in the tables is still the one that was recorded.

A run is one record, whose id is the run id written as a UUID. Its body and its header name, for each market, the Merkle root
over the rows (`row_encoding`, `leaves`); the header's can be checked without any key. An erasure deletes a row and keeps its
leaf, and the erasure's record names the leaf hash, so every leaf is accounted for. Records of earlier releases have one
digest over all rows of a market instead, which proves them only together.
"""

import datetime as dt
import hashlib
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import Connection, RowMapping, select

from grounds.audit.v1 import bodies_pb2 as pb
from grounds_record.customer_keys import row_salt_key
from grounds_record.header import Header
from grounds_record.merkle import merkle_root
from grounds_record.rows_root import RowsRoot, parse_rows_root, rows_root_label
from server.errors import LoadRefused, RecordRemoved, RequestIdReused
from server.stores.record_log.entries import LogEntry
from server.stores.record_log.log import RecordLog
from server.stores.record_log.record_reader import header_from_row
from server.stores.runs.leaves import read_leaves, row_tile_problem
from server.stores.runs.predictions import LOADED
from server.stores.runs.row_encoding import ROW_COLUMNS, legacy_row_sha256, legacy_rows_digest, row_leaf
from server.stores.tables import RECORDS, RISKS, RUNS

CHURN_RUN = "CHURN_RUN"
_LOADER = "load"  # the caller of records that `python -m server load` writes
_FETCH_ROWS = 1000  # otherwise PostgreSQL's driver keeps a whole run in memory
_ROWS_DIFFER = "its rows are not those that were recorded"


@dataclass(frozen=True, slots=True)
class MarketRows:
    """A run's rows in one market: the cut, how many rows, and the root over them."""

    market: str
    as_of: dt.datetime
    count: int
    root: bytes


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What is recorded of a run.

    Attributes:
        manifest: As RUNS stores it.
    """

    run_id: str
    bundle_id: str
    baseline_sha256: str
    manifest: str
    markets: Sequence[MarketRows]


@dataclass(frozen=True, slots=True)
class RowDigest:
    """A customer's row of a run, named by its leaf hash, or by the digest that an earlier release recorded."""

    run_id: str
    market: str
    sha256: bytes


def record_run(connection: Connection, log: RecordLog, run: RunSummary, load_time: dt.datetime) -> None:
    """Append the record of a run, as part of the transaction that publishes it.

    Raises:
        LoadRefused: A run with this id was recorded with other rows.
    """
    record_id = run_record_id(run.run_id)
    body = pb.RunRecord(run_id=run.run_id, bundle_id=run.bundle_id, baseline_sha256=run.baseline_sha256)
    body.manifest_sha256 = manifest_sha256(run.manifest)
    labels = {"run": run.run_id, "bundle": run.bundle_id}
    for each in run.markets:
        as_of = timestamp(each.as_of)
        body.markets.add(market=each.market, as_of_time=as_of, customer_count=each.count, rows_root=each.root)
        labels[rows_root_label(each.market)] = RowsRoot(each.count, each.root).text()
    # The content of the request is the body without the load time: loading the same run again is the same request.
    content = body.SerializeToString(deterministic=True)
    body.load_time.CopyFrom(timestamp(load_time))
    entry = LogEntry(
        kind=CHURN_RUN,
        record_id=record_id,
        time=load_time,
        caller=_LOADER,
        body=body.SerializeToString(deterministic=True),
        request_id=record_id,
        content=content,
        labels=labels | ({"market": run.markets[0].market} if len(run.markets) == 1 else {}),
    )
    (result,), _ = log.append_within(connection, [entry])
    if isinstance(result, RequestIdReused):
        raise LoadRefused(f"run {run.run_id} was loaded before with other rows; score it again under a new run id")
    if isinstance(result, Exception):
        raise result


def run_record_id(run_id: str) -> str:
    """Return the id of a run's record."""
    return str(uuid.UUID(hex=run_id))


def manifest_sha256(manifest: str) -> str:
    """Return the digest of a run's manifest as RUNS stores it."""
    return hashlib.sha256(manifest.encode()).hexdigest()


def run_salt_key(log: RecordLog, run_id: str, market: str) -> bytes:
    """Return the key that derives the salts of a run's rows."""
    return row_salt_key(run_id, market, log.tags_key)


def read_run_header(connection: Connection, run_id: str) -> Header | None:
    """Return the header of a run's record; None if there is none.

    Raises:
        RecordDamaged: It is not what was written.
    """
    row = connection.execute(select(RECORDS).where(RECORDS.c.record_id == run_record_id(run_id))).first()
    return None if row is None else header_from_row(row)


def recorded_root(header: Header, market: str) -> RowsRoot | None:
    """Return what a header says of a run's rows in a market; None if an earlier release wrote it.

    No key is needed for it, and retention keeps it.
    """
    return parse_rows_root(header.labels, market)


def read_customer_rows(connection: Connection, log: RecordLog, market: str, customer_id: str) -> list[RowDigest]:
    """Return the digests of a customer's rows in all runs of a market, staged runs included."""
    columns = [RISKS.c[name] for name in ROW_COLUMNS]
    wanted = select(RUNS.c.run_id.label("run"), *columns).join_from(RISKS, RUNS)
    wanted = wanted.where(RUNS.c.market == market, RISKS.c.customer_id == customer_id)
    found = []
    for row in connection.execute(wanted).mappings().all():
        header = read_run_header(connection, row["run"])
        is_legacy = header is not None and recorded_root(header, market) is None
        sha256 = legacy_row_sha256(row) if is_legacy else row_leaf(row, run_salt_key(log, row["run"], market))
        found.append(RowDigest(row["run"], market, sha256))
    return found


def run_problems(log: RecordLog, erased: Iterable[RowDigest]) -> Iterator[str]:
    """Yield a sentence for each published run that does not match its record.

    Args:
        log: On the database of the runs.
        erased: The rows that erasures deleted, from their records.
    """
    erased_digests: dict[tuple[str, str], list[bytes]] = {}
    for each in erased:
        erased_digests.setdefault((each.run_id, each.market), []).append(each.sha256)
    # Runs that are being loaded have no record yet, and pruned ones no rows.
    wanted = select(RUNS.c.run_number, RUNS.c.run_id, RUNS.c.market, RUNS.c.header)
    with log.database.reading() as connection:
        runs = connection.execute(wanted.where(RUNS.c.state == LOADED)).all()
    for run in runs:
        try:
            record = log.find_by_id(run_record_id(run.run_id))
        except RecordRemoved:
            continue  # retention removed it, and `verify` demands the retention record
        name = f"run {run.run_id}, market {run.market}"
        if record is None:
            yield f"{name}: has no record"
            continue
        body = pb.RunRecord.FromString(record.body)
        recorded = {each.market: each for each in body.markets}.get(run.market, pb.RunInMarket())
        gone = erased_digests.get((run.run_id, run.market), [])
        find_problem = _legacy_rows_problem if recorded.rows_sha256 else _rows_problem
        if problem := find_problem(log, run, recorded, gone):
            yield f"{name}: {problem}"
        if body.manifest_sha256 and body.manifest_sha256 != manifest_sha256(run.header):
            yield f"{name}: its manifest is not the one that was recorded"


def _rows_problem(log: RecordLog, run: Any, recorded: pb.RunInMarket, gone: Sequence[bytes]) -> str:
    """Return how the leaves or rows of a run differ from its record; "" if they do not."""
    with log.database.reading() as connection:
        if problem := row_tile_problem(connection, run.run_number):
            return problem
        leaves = read_leaves(connection, run.run_number)
        if (len(leaves), merkle_root(leaves)) != (recorded.customer_count, recorded.rows_root):
            return "its leaves are not those that were recorded"
        # The root proves the leaves; now each row must be one of them.
        key = run_salt_key(log, run.run_id, run.market)
        row_leaves = {row_leaf(row, key) for row in _read_rows(connection, run)}
    # Every row has a leaf, and every leaf a row or an erasure. An erasure may name more: rows of a load that was killed.
    return "" if row_leaves <= set(leaves) <= row_leaves | set(gone) else _ROWS_DIFFER


def _legacy_rows_problem(log: RecordLog, run: Any, recorded: pb.RunInMarket, gone: Sequence[bytes]) -> str:
    """Return how the rows of a run differ from the record of an earlier release; "" if they do not."""
    with log.database.reading() as connection:
        hashes = [legacy_row_sha256(row) for row in _read_rows(connection, run)]
    return "" if recorded.rows_sha256 == legacy_rows_digest([*hashes, *gone]) else _ROWS_DIFFER


def _read_rows(connection: Connection, run: Any) -> Iterable[RowMapping]:
    """Read the rows of a run, some at a time."""
    columns = [RISKS.c[name] for name in ROW_COLUMNS]
    wanted = select(*columns).where(RISKS.c.run_number == run.run_number)
    return connection.execute(wanted, execution_options={"yield_per": _FETCH_ROWS}).mappings()


def timestamp(time: dt.datetime) -> Timestamp:
    """Return a time as a protobuf Timestamp."""
    message = Timestamp()
    message.FromDatetime(time.astimezone(dt.UTC))
    return message
