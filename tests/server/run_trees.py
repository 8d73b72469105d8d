"""Expected hashes of a run's rows, computed independently of the server, and runs in the form of an earlier release."""

import copy
import hashlib
import json
import struct
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Table, select, update

from grounds.audit.v1 import bodies_pb2 as pb
from server.maintenance.erasure import find_erasure_problems
from server.stores.record_log.entries import LogEntry
from server.stores.record_log.log import RecordLog
from server.stores.runs.records import run_problems
from server.stores.tables import RISK_CHUNKS, RISK_LEAVES, RISKS, RUNS
from tests.server.record_logs import NOW

OLD_ID = "e" * 32


def leaves_of(log: RecordLog, market: str) -> list[bytes]:
    """Read the leaf hashes of the only run of a market."""
    number = select(RUNS.c.run_number).where(RUNS.c.market == market).scalar_subquery()
    wanted = select(RISK_LEAVES.c.hashes).where(RISK_LEAVES.c.run_number == number).order_by(RISK_LEAVES.c.block)
    with log.database.reading() as connection:
        content = b"".join(bytes(each) for each in connection.execute(wanted).scalars())
    return [content[start : start + 32] for start in range(0, len(content), 32)]


def root_over(hashes: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes, which RFC 6962 defines as MTH in section 2.1."""
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return hashlib.sha256(b"\x01" + root_over(hashes[:k]) + root_over(hashes[k:])).digest()


def climb(index: int, size: int, leaf: bytes, hashes: Sequence[bytes]) -> bytes:
    """Return the root that follows from a leaf and its audit path, by the recursive definition."""
    if size == 1:
        return leaf
    k = 1
    while k * 2 < size:
        k *= 2
    if index < k:
        return hashlib.sha256(b"\x01" + climb(index, k, leaf, hashes[:-1]) + hashes[-1]).digest()
    return hashlib.sha256(b"\x01" + hashes[-1] + climb(index - k, size - k, leaf, hashes[:-1])).digest()


def old_digest(rows: Sequence[Any]) -> bytes:
    """Return the digest of rows in the form of the previous release."""
    return hashlib.sha256(b"".join(sorted(old_hash(row) for row in rows))).digest()


def old_hash(row: Any) -> bytes:
    """Hash a row in the same way as the previous release: names ascending, each value with its type and its length."""
    content = b""
    for name in sorted(set(row) - {"run_number", "chunk"}):
        value = row[name]
        if value is None:
            said = b"-"
        elif isinstance(value, float):
            said = b"d" + struct.pack("<d", value)
        elif isinstance(value, int):
            said = b"i" + str(int(value)).encode()
        else:
            said = b"s" + (value.encode() if isinstance(value, str) else bytes(value))
        content += name.encode() + b" " + str(len(said)).encode() + b" " + said
    return hashlib.sha256(content).digest()


def add_old_run(log: RecordLog, market: str, run_id: str = OLD_ID) -> None:
    """Add a copy of a market's run in the form of the previous release, which did not store leaves."""
    with log.database.writing() as connection:
        line = dict(connection.execute(select(RUNS).where(RUNS.c.market == market)).mappings().one())
        old, number = line["run_number"], 1000
        copied = {"run_number": number, "run_id": run_id}
        connection.execute(RUNS.insert().values({**line, **copied}))
        rows = all_of(connection, RISKS, old)
        connection.execute(RISKS.insert(), [{**row, "run_number": number} for row in rows])
        chunks = all_of(connection, RISK_CHUNKS, old)
        connection.execute(RISK_CHUNKS.insert(), [{**chunk, "run_number": number} for chunk in chunks])
    name = f"{run_id[:8]}-{run_id[8:12]}-{run_id[12:16]}-{run_id[16:20]}-{run_id[20:]}"
    told = json.loads(line["header"])
    body = pb.RunRecord(run_id=run_id, bundle_id=told["bundle_id"], baseline_sha256=told["baseline_sha256"])
    body.markets.add(market=market, customer_count=len(rows), rows_sha256=old_digest(rows))
    labels = {"run": run_id, "bundle": told["bundle_id"], "market": market}
    content = body.SerializeToString(deterministic=True)
    loader = copy.copy(log)
    loader._clock = None  # the run is older than the server, whose log rejects entries with an earlier time
    loader.append([LogEntry(kind="CHURN_RUN", record_id=name, time=NOW, caller="load", body=content, labels=labels)])


def all_of(connection: Any, table: Table, number: int) -> list[dict[str, Any]]:
    """Return all rows of a run in a table."""
    return [dict(row) for row in connection.execute(select(table).where(table.c.run_number == number)).mappings()]


def change_row(log: RecordLog, customer_id: str, **values: Any) -> None:
    """Change a customer's row in every run, as an attacker with write access to the database could."""
    with log.database.writing() as connection:
        connection.execute(update(RISKS).where(RISKS.c.customer_id == customer_id).values(**values))


def run_ids(log: RecordLog) -> set[str]:
    """Return the ids of the loaded runs."""
    with log.database.reading() as connection:
        return set(connection.execute(select(RUNS.c.run_id)).scalars())


def problems(log: RecordLog) -> list[str]:
    """Return descriptions of the differences between the runs and their records."""
    return list(run_problems(log, find_erasure_problems(log)[1]))
