"""The record of a published scoring run, and the check that the rows in the database match the record.

There is one record for each run. Its id is the run id in the format of a UUID. Body and header contain the Merkle root over the
rows of each market (`row_encoding`, `leaves`); the root in the header can be verified without a key. An erasure deletes a row but
not its leaf hash, and the record of the erasure contains the leaf hash. So every leaf hash belongs to a row or to an erasure.
Records of earlier releases contain one digest over all rows of a market instead, which cannot prove a single row.
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
_LOADER = "load"  # caller in the records that `python -m server load` writes
_FETCH_ROWS = 1000  # without this limit, PostgreSQL's driver would load a whole run into memory
_ROWS_DIFFER = "its rows differ from the record"


@dataclass(frozen=True, slots=True)
class MarketRows:
    """A summary of a run's rows in one market.

    Attributes:
        market: The market.
        as_of: The as-of time of the run: the predictions use data up to this time.
        count: Number of rows.
        root: Merkle root over the rows, 32 bytes.
    """

    market: str
    as_of: dt.datetime
    count: int
    root: bytes


@dataclass(frozen=True, slots=True)
class RunSummary:
    """The facts about a run that its record contains.

    Attributes:
        run_id: Id of the run, 32 hexadecimal digits.
        bundle_id: Id of the bundle that scored the customers.
        baseline_sha256: SHA-256 of the baseline of the explanations, in hexadecimal.
        manifest: Manifest of the run file, as stored in RUNS.
        markets: Summary of the rows in each market.
    """

    run_id: str
    bundle_id: str
    baseline_sha256: str
    manifest: str
    markets: Sequence[MarketRows]


@dataclass(frozen=True, slots=True)
class RowDigest:
    """The digest of a customer's row in a run: the leaf hash of the row, or its hash in the format of earlier releases."""

    run_id: str
    market: str
    sha256: bytes


def record_run(connection: Connection, log: RecordLog, run: RunSummary, load_time: dt.datetime) -> None:
    """Append the record of a run, as part of the transaction that publishes the run.

    Raises:
        LoadRefused: A run with this id was already recorded with different rows.
    """
    record_id = run_record_id(run.run_id)
    body = pb.RunRecord(run_id=run.run_id, bundle_id=run.bundle_id, baseline_sha256=run.baseline_sha256)
    body.manifest_sha256 = manifest_sha256(run.manifest)
    labels = {"run": run.run_id, "bundle": run.bundle_id}
    for each in run.markets:
        as_of = timestamp(each.as_of)
        body.markets.add(market=each.market, as_of_time=as_of, customer_count=each.count, rows_root=each.root)
        labels[rows_root_label(each.market)] = RowsRoot(each.count, each.root).text()
    # Exclude the load time from the content of the request, so that loading the same run again counts as the same
    # request.
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
        raise LoadRefused(f"run {run.run_id} was already loaded with different rows; score again under a new run id")
    if isinstance(result, Exception):
        raise result


def run_record_id(run_id: str) -> str:
    """Return the record id of a run: the run id in the format of a UUID."""
    return str(uuid.UUID(hex=run_id))


def manifest_sha256(manifest: str) -> str:
    """Return the SHA-256 of a run's manifest, as stored in RUNS, in hexadecimal."""
    return hashlib.sha256(manifest.encode()).hexdigest()


def run_salt_key(log: RecordLog, run_id: str, market: str) -> bytes:
    """Return the key that derives the salts of a run's rows in a market."""
    return row_salt_key(run_id, market, log.tags_key)


def read_run_header(connection: Connection, run_id: str) -> Header | None:
    """Return the header of a run's record; None if the run has no record.

    Raises:
        RecordDamaged: The header is invalid.
    """
    row = connection.execute(select(RECORDS).where(RECORDS.c.record_id == run_record_id(run_id))).first()
    return None if row is None else header_from_row(row)


def recorded_root(header: Header, market: str) -> RowsRoot | None:
    """Return the number of rows and their root from the header of a run's record; None if an earlier release wrote the header.

    Reading the header needs no key, and the header remains after retention has removed the body.
    """
    return parse_rows_root(header.labels, market)


def read_customer_rows(connection: Connection, log: RecordLog, market: str, customer_id: str) -> list[RowDigest]:
    """Return the digests of a customer's rows in all runs of a market, including runs that are not published yet."""
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
        log: Log in the database of the runs.
        erased: Digests of the rows that erasures deleted, from the records of the erasures.
    """
    erased_digests: dict[tuple[str, str], list[bytes]] = {}
    for each in erased:
        erased_digests.setdefault((each.run_id, each.market), []).append(each.sha256)
    # Check only published runs: unpublished runs have no record yet, and runs that are being pruned lack rows.
    wanted = select(RUNS.c.run_number, RUNS.c.run_id, RUNS.c.market, RUNS.c.header)
    with log.database.reading() as connection:
        runs = connection.execute(wanted.where(RUNS.c.state == LOADED)).all()
    for run in runs:
        try:
            record = log.find_by_id(run_record_id(run.run_id))
        except RecordRemoved:
            continue  # retention removed the body; `verify` checks that a retention record lists it
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
            yield f"{name}: its manifest differs from the record"


def _rows_problem(log: RecordLog, run: Any, recorded: pb.RunInMarket, gone: Sequence[bytes]) -> str:
    """Return how the leaf hashes or the rows of a run differ from its record; "" if they match."""
    with log.database.reading() as connection:
        if problem := row_tile_problem(connection, run.run_number):
            return problem
        leaves = read_leaves(connection, run.run_number)
        if (len(leaves), merkle_root(leaves)) != (recorded.customer_count, recorded.rows_root):
            return "its leaf hashes differ from the record"
        # The recorded root proves the stored leaf hashes. Each row must have one of these leaf hashes.
        key = run_salt_key(log, run.run_id, run.market)
        row_leaves = {row_leaf(row, key) for row in _read_rows(connection, run)}
    # Every leaf hash must belong to a row or an erasure. An erasure may list additional rows, from a load that was
    # killed.
    return "" if row_leaves <= set(leaves) <= row_leaves | set(gone) else _ROWS_DIFFER


def _legacy_rows_problem(log: RecordLog, run: Any, recorded: pb.RunInMarket, gone: Sequence[bytes]) -> str:
    """Return how the rows of a run differ from the record of an earlier release; "" if they match."""
    with log.database.reading() as connection:
        hashes = [legacy_row_sha256(row) for row in _read_rows(connection, run)]
    return "" if recorded.rows_sha256 == legacy_rows_digest([*hashes, *gone]) else _ROWS_DIFFER


def _read_rows(connection: Connection, run: Any) -> Iterable[RowMapping]:
    """Return an iterable of the rows of a run.

    The driver fetches the rows in chunks, so that they need little memory.
    """
    columns = [RISKS.c[name] for name in ROW_COLUMNS]
    wanted = select(*columns).where(RISKS.c.run_number == run.run_number)
    return connection.execute(wanted, execution_options={"yield_per": _FETCH_ROWS}).mappings()


def timestamp(time: dt.datetime) -> Timestamp:
    """Return a time as a protobuf Timestamp."""
    message = Timestamp()
    message.FromDatetime(time.astimezone(dt.UTC))
    return message
