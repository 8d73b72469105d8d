"""A loaded churn run as one record of the log, and whether the run in the tables is still the one that was recorded.

The record's name is the run's, written as a UUID. Its body and its header name, for each market, the root over the rows
(`run_rows`, `leaves`); that of the header can be checked without any key. An erasure takes a row and leaves its leaf: the
erasure's record has the leaf hash, so the row is accounted for. Records of earlier releases have one digest over all rows
of a market instead, which proves them together only.
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
from server.stores.runs.leaves import leaf_block_problem, read_leaves
from server.stores.runs.predictions import LOADED
from server.stores.runs.row_encoding import ROW_COLUMNS, legacy_row_sha256, legacy_rows_digest, row_leaf
from server.stores.tables import RECORDS, RISKS, RUNS

CHURN_RUN = "CHURN_RUN"
ROWS_AT_ONCE = 1000  # read: without it PostgreSQL's driver holds a whole run
LOADER = "load"  # the caller of records that `python -m server load` writes
OTHER_ROWS = "its rows are not those that were recorded"


@dataclass(frozen=True, slots=True)
class MarketRows:
    """A run's rows in one market: how many, and the root over them."""

    market: str
    as_of: dt.datetime
    count: int
    root: bytes


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What is recorded of a run; manifest as the table keeps it."""

    run_id: str
    bundle_id: str
    baseline_sha256: str
    manifest: str
    markets: Sequence[MarketRows]


@dataclass(frozen=True, slots=True)
class RowDigest:
    """A customer's row of a run, by its hash: that of its leaf, or of an earlier release."""

    run_id: str
    market: str
    sha256: bytes


def record_run(connection: Connection, log: RecordLog, run: RunSummary, load_time: dt.datetime) -> None:
    """Record a run in the transaction that loads it: run and record are there together, or neither is.

    Raises:
        LoadRefused: A run of this name was recorded with other rows.
    """
    name = run_record_id(run.run_id)
    body = pb.RunRecord(run_id=run.run_id, bundle_id=run.bundle_id, baseline_sha256=run.baseline_sha256)
    body.manifest_sha256 = manifest_sha256(run.manifest)
    labels = {"run": run.run_id, "bundle": run.bundle_id}
    for each in run.markets:
        as_of = timestamp(each.as_of)
        body.markets.add(market=each.market, as_of_time=as_of, customer_count=each.count, rows_root=each.root)
        labels[rows_root_label(each.market)] = RowsRoot(each.count, each.root).text()
    content = body.SerializeToString(deterministic=True)
    body.load_time.CopyFrom(timestamp(load_time))
    entry = LogEntry(
        kind=CHURN_RUN,
        record_id=name,
        time=load_time,
        caller=LOADER,
        body=body.SerializeToString(deterministic=True),
        request_id=name,
        content=content,
        labels=labels | ({"market": run.markets[0].market} if len(run.markets) == 1 else {}),
    )
    (outcome,), _ = log.append_within(connection, [entry])
    if isinstance(outcome, RequestIdReused):
        raise LoadRefused(f"run {run.run_id} was loaded before with other rows; score it again under a new name")
    if isinstance(outcome, Exception):
        raise outcome


def run_record_id(run_id: str) -> str:
    """Give the name of a run's record."""
    return str(uuid.UUID(hex=run_id))


def manifest_sha256(manifest: str) -> str:
    """Give the digest of a run's manifest as the table keeps it."""
    return hashlib.sha256(manifest.encode()).hexdigest()


def run_salt_key(log: RecordLog, run_id: str, market: str) -> bytes:
    """Give the key from which the salts of a run's rows follow."""
    return row_salt_key(run_id, market, log.tags_key)


def read_run_header(connection: Connection, run_id: str) -> Header | None:
    """Give the header of a run's record; None where there is none.

    Raises:
        RecordDamaged: It is not what was written.
    """
    row = connection.execute(select(RECORDS).where(RECORDS.c.record_id == run_record_id(run_id))).first()
    return None if row is None else header_from_row(row)


def recorded_root(header: Header, market: str) -> RowsRoot | None:
    """Give what a header says of the rows in a market; None where an earlier release wrote it.

    No key is needed for it, and retention leaves it.
    """
    return parse_rows_root(header.labels, market)


def read_customer_rows(connection: Connection, log: RecordLog, market: str, customer_id: str) -> list[RowDigest]:
    """Give a customer's rows of all runs, those that are being loaded included."""
    wanted = rows_with_runs().where(RUNS.c.market == market, RISKS.c.customer_id == customer_id)
    found = []
    for row in connection.execute(wanted).mappings().all():
        header = read_run_header(connection, row["run"])
        is_old = header is not None and recorded_root(header, market) is None
        sha256 = legacy_row_sha256(row) if is_old else row_leaf(row, run_salt_key(log, row["run"], market))
        found.append(RowDigest(row["run"], market, sha256))
    return found


def rows_with_runs() -> Any:
    """Select rows, each with the name and the market of its run."""
    columns = [RISKS.c[name] for name in ROW_COLUMNS]
    return select(RUNS.c.run_id.label("run"), RUNS.c.market.label("of"), *columns).join_from(RISKS, RUNS)


def run_problems(log: RecordLog, erased: Iterable[RowDigest]) -> Iterator[str]:
    """Hold every run against its record, and say what differs.

    Args:
        log: The log, on the database that has the runs.
        erased: The rows that erasures took, from their records.
    """
    gone: dict[tuple[str, str], list[bytes]] = {}
    for each in erased:
        gone.setdefault((each.run_id, each.market), []).append(each.sha256)
    wanted = select(RUNS.c.run_number, RUNS.c.run_id, RUNS.c.market, RUNS.c.header)
    with log.database.reading() as connection:
        runs = connection.execute(wanted.where(RUNS.c.state == LOADED)).all()
    for run in runs:
        try:
            kept = log.find_by_id(run_record_id(run.run_id))
        except RecordRemoved:
            continue  # retention took it, and `verify` demands the record of that
        name = f"run {run.run_id}, market {run.market}"
        if kept is None:
            yield f"{name}: has no record"
            continue
        body = pb.RunRecord.FromString(kept.body)
        told = {each.market: each for each in body.markets}.get(run.market, pb.RunInMarket())
        mine = gone.get((run.run_id, run.market), [])
        if problem := old_problem(log, run, told, mine) if told.rows_sha256 else problem_of(log, run, told, mine):
            yield f"{name}: {problem}"
        if body.manifest_sha256 and body.manifest_sha256 != manifest_sha256(run.header):
            yield f"{name}: its manifest is not the one that was recorded"


def problem_of(log: RecordLog, run: Any, told: pb.RunInMarket, gone: Sequence[bytes]) -> str:
    """Say what is wrong with a run that has leaves; "" where nothing is."""
    with log.database.reading() as connection:
        if problem := leaf_block_problem(connection, run.run_number):
            return problem
        leaves = read_leaves(connection, run.run_number)
        if (len(leaves), merkle_root(leaves)) != (told.customer_count, told.rows_root):
            return "its leaves are not those that were recorded"
        key = run_salt_key(log, run.run_id, run.market)
        hashes = {row_leaf(row, key) for row in rows_of(connection, run)}
    # An erasure leaves the leaf, and its record names it; of a load that was killed it may name more.
    return "" if hashes <= set(leaves) <= hashes | set(gone) else OTHER_ROWS


def old_problem(log: RecordLog, run: Any, told: pb.RunInMarket, gone: Sequence[bytes]) -> str:
    """Say what is wrong with a run that an earlier release recorded; "" where nothing is."""
    with log.database.reading() as connection:
        hashes = [legacy_row_sha256(row) for row in rows_of(connection, run)]
    return "" if told.rows_sha256 == legacy_rows_digest([*hashes, *gone]) else OTHER_ROWS


def rows_of(connection: Connection, run: Any) -> Iterable[RowMapping]:
    """Read the rows of a run."""
    columns = [RISKS.c[name] for name in ROW_COLUMNS]
    wanted = select(*columns).where(RISKS.c.run_number == run.run_number)
    return connection.execute(wanted, execution_options={"yield_per": ROWS_AT_ONCE}).mappings()


def timestamp(time: dt.datetime) -> Timestamp:
    """Write a time."""
    written = Timestamp()
    written.FromDatetime(time.astimezone(dt.UTC))
    return written
