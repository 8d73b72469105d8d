"""A loaded churn run as one record of the log, and whether the run in the tables is still the one that was recorded.

The record's name is the run's, written as a UUID. The digest of a market's rows is SHA-256 over the SHA-256 of every row,
sorted: in no order of its own, and with the hash of a row that an erasure took, which the erasure's record keeps, it can be
computed again. Such a hash tells nothing to who cannot guess a whole row, every double to the bit.
"""

import datetime as dt
import hashlib
import struct
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import Connection, RowMapping, select

from grounds.audit.v1 import bodies_pb2 as pb
from server.errors import LoadRefused, RecordRemoved, RequestIdReused
from server.stores.entries import Entry, raw
from server.stores.records import RecordLog
from server.stores.risks import LOADED
from server.stores.tables import RISKS, RUNS

CHURN_RUN = "CHURN_RUN"
ROWS_AT_ONCE = 1000  # read: without it PostgreSQL's driver holds a whole run
LOADER = "load"  # the caller of records that `python -m server load` writes
# What the database alone knows a row by is not what was loaded.
ROW_COLUMNS = tuple(sorted(column.name for column in RISKS.c if column.name not in {"run_id", "run_number", "chunk"}))


@dataclass(frozen=True, slots=True)
class MarketRows:
    """A run's rows in one market: how many, and their digest."""

    market: str
    as_of: dt.datetime
    count: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What is recorded of a run."""

    run_id: str
    bundle_id: str
    baseline_sha256: str
    markets: Sequence[MarketRows]


@dataclass(frozen=True, slots=True)
class RunRow:
    """A customer's row of a run, by its hash."""

    run_id: str
    market: str
    sha256: bytes


def record_run(connection: Connection, log: RecordLog, run: RunFacts, load_time: dt.datetime) -> None:
    """Record a run in the transaction that loads it: run and record are there together, or neither is.

    Raises:
        LoadRefused: A run of this name was recorded with other rows.
    """
    name = record_name(run.run_id)
    body = pb.RunRecord(run_id=run.run_id, bundle_id=run.bundle_id, baseline_sha256=run.baseline_sha256)
    for each in run.markets:
        as_of = stamp(each.as_of)
        body.markets.add(market=each.market, as_of_time=as_of, customer_count=each.count, rows_sha256=each.sha256)
    content = body.SerializeToString(deterministic=True)
    body.load_time.CopyFrom(stamp(load_time))
    markets = [each.market for each in run.markets]
    entry = Entry(
        kind=CHURN_RUN,
        record_id=name,
        time=load_time,
        caller=LOADER,
        body=body.SerializeToString(deterministic=True),
        request_id=name,
        content=content,
        labels={"run": run.run_id, "bundle": run.bundle_id} | ({"market": markets[0]} if len(markets) == 1 else {}),
    )
    (outcome,), _ = log.append_within(connection, [entry])
    if isinstance(outcome, RequestIdReused):
        raise LoadRefused(f"run {run.run_id} was loaded before with other rows; score it again under a new name")
    if isinstance(outcome, Exception):
        raise outcome


def record_name(run_id: str) -> str:
    """Give the name of a run's record."""
    return str(uuid.UUID(hex=run_id))


def digest_of(hashes: Iterable[bytes]) -> bytes:
    """Give the digest of rows, from their hashes in any order."""
    return hashlib.sha256(b"".join(sorted(hashes))).digest()


def row_sha256(row: Mapping[str, Any] | RowMapping) -> bytes:
    """Hash a row as the table holds it."""
    digest = hashlib.sha256()
    for name in ROW_COLUMNS:
        content = value_bytes(row[name])
        digest.update(b"%s %d " % (name.encode(), len(content)) + content)
    return digest.digest()


def value_bytes(value: Any) -> bytes:
    """Write a value with its type, to the bit."""
    if value is None:
        return b"-"
    if isinstance(value, float):
        return b"d" + struct.pack("<d", value)
    if isinstance(value, int):  # a boolean too: SQLite keeps it as a number
        return b"i%d" % value
    return b"s" + (value.encode() if isinstance(value, str) else raw(value))


def rows_of_customer(connection: Connection, market: str, customer_id: str) -> list[RunRow]:
    """Give a customer's rows of all runs."""
    wanted = rows_with_runs().where(RUNS.c.market == market, RISKS.c.customer_id == customer_id)
    return [RunRow(row["run"], row["of"], row_sha256(row)) for row in connection.execute(wanted).mappings()]


def rows_with_runs() -> Any:
    """Select rows, each with the name and the market of its run."""
    columns = [RISKS.c[name] for name in ROW_COLUMNS]
    return select(RUNS.c.run_id.label("run"), RUNS.c.market.label("of"), *columns).join_from(RISKS, RUNS)


def run_problems(log: RecordLog, erased: Iterable[RunRow]) -> Iterator[str]:
    """Hold every run against its record, and say what differs.

    Args:
        log: The log, on the database that has the runs.
        erased: The rows that erasures took, from their records.
    """
    gone: dict[tuple[str, str], list[bytes]] = {}
    for each in erased:
        gone.setdefault((each.run_id, each.market), []).append(each.sha256)
    with log.database.reading() as connection:
        runs = connection.execute(select(RUNS.c.run_id, RUNS.c.market).where(RUNS.c.state == LOADED)).all()
    for run_id, market in runs:
        try:
            kept = log.of_id(record_name(run_id))
        except RecordRemoved:
            continue  # retention took it, and `verify` demands the record of that
        if kept is None:
            yield f"run {run_id}, market {market}: has no record"
            continue
        told = {each.market: each.rows_sha256 for each in pb.RunRecord.FromString(kept.body).markets}
        with log.database.reading() as connection:
            wanted = rows_with_runs().where(RUNS.c.run_id == run_id, RUNS.c.market == market)
            rows = connection.execute(wanted, execution_options={"yield_per": ROWS_AT_ONCE}).mappings()
            hashes = [row_sha256(row) for row in rows]
        if told.get(market) != digest_of([*hashes, *gone.get((run_id, market), [])]):
            yield f"run {run_id}, market {market}: its rows are not those that were recorded"


def stamp(time: dt.datetime) -> Timestamp:
    """Write a time."""
    written = Timestamp()
    written.FromDatetime(time.astimezone(dt.UTC))
    return written
