"""Benchmark of an auditor's calls among millions of records: evidence, a proof, a sample, a page of a list.

The records are generated in bulk. Each record has the body of a real decision, sealed under the key of its customer with a new
header, and the records form a valid Merkle tree. The calls go to a server process over gRPC. The server records each reading of
evidence.
"""

import json
import random
import tempfile
import time
import tomllib
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
from sqlalchemy import Connection, event, select

import demo
from grounds.audit.v1 import sample_pb2 as pb
from grounds_client import Amount, Client
from grounds_record.header import Header
from grounds_record.merkle import Frontier, split_hashes
from grounds_record.sealed_record import SealedRecord, open_record, seal_record
from server.config import read_settings
from server.stores.database import Database
from server.stores.record_log.decision_index import CREDIT_DECISION
from server.stores.record_log.entries import new_record_id, record_row, time_from_us
from server.stores.record_log.header_chunks import build_chunks
from server.stores.record_log.log import RecordLog
from server.stores.record_log.opening import KeyLocations, open_log
from server.stores.record_log.tiles import write_tiles
from server.stores.tables import LOG_HEAD, RECORDS
from tests.bench.record import databases, prepare_server

REAL = 256  # number of decisions that the server makes; the bodies of all other records are copies of these decisions
BATCH_ROWS = 20_000
BATCHES_AHEAD = 4
SAID_RECORDS = 500_000
READS = 500
SAMPLES = 3
AMOUNT = Decimal(100_000)
PURPOSE = "Benchmark"
STEP_US = 10  # microseconds between two decisions; a server stops deciding if the newest record is in the future
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Template:
    """A real decision: its header, its body, and the key of its customer."""

    header: Header
    body: bytes
    key: bytes


def measure_audit(
    bundle_folder: Path, features: Path, count: int, kind: str, say: Say, kept: Path | None = None
) -> dict[str, Any]:
    """Generate `count` records in a database of a kind, and time an auditor's calls.

    Args:
        bundle_folder: Folder of the bundle that scores the real decisions.
        features: Feature file of the customers.
        count: Number of records of the record log.
        kind: SQLite or PostgreSQL.
        say: Function that is called with progress messages.
        kept: Folder in which SQLite's records are kept; if it has records of an earlier run, these are measured again.
    """
    with (
        filled_log(bundle_folder, features, count, kind, say, kept) as (config, sizes),
        serve_log(config) as address,
        Client(address, deadline_seconds=120) as client,
    ):
        return sizes | _ask(client, draw_decisions(config, 2 * READS)) | {"database": kind}


@contextmanager
def filled_log(
    bundle_folder: Path, features: Path, count: int, kind: str, say: Say, kept: Path | None
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the settings of a server whose record log has `count` records, and the sizes of the records.

    The arguments are those of `measure_audit`.
    """
    with tempfile.TemporaryDirectory() as name:
        for known, url in databases(kept or Path(name)):
            if known == kind:
                folder = (kept or Path(name)) / kind
                config = folder / "config.toml"
                if not config.exists():
                    folder.mkdir(parents=True)
                    config = prepare_server(folder, url, bundle_folder, features)
                yield config, _fill_once(config, features, count, say)
                return
    raise ValueError(f"there is no database of kind {kind}")


def _fill_once(config: Path, features: Path, count: int, say: Say) -> dict[str, Any]:
    """Generate the records unless an earlier run has left them; return their sizes."""
    sizes = config.with_name("sizes.json")
    if not sizes.exists():
        customers = pq.read_table(features, columns=["customer_id"]).column("customer_id").to_pylist()
        with serve_log(config) as address, Client(address, deadline_seconds=120) as client:
            _make_decisions(client, customers[:REAL])
        begun = time.monotonic()
        found = _fill(config, count, say)
        say(f"{count:,} records in {time.monotonic() - begun:.0f} s: {found['database_bytes'] / 1e9:.2f} GB on disk")
        sizes.write_text(json.dumps({"records": count, **found}), encoding="utf-8")
    made: dict[str, Any] = json.loads(sizes.read_text(encoding="utf-8"))
    return made


@contextmanager
def serve_log(config: Path) -> Iterator[str]:
    """Start a server process; yield its address."""
    settings = tomllib.loads(config.read_text(encoding="utf-8"))
    environment = {f"GROUNDS_{name.upper()}": str(value) for name, value in settings.items()}
    with demo.serving(config.with_name("server.log"), **environment) as address:
        yield address


def _make_decisions(client: Client, customers: Sequence[str]) -> None:
    """Score customers, so that the record log has real decisions."""
    for customer in customers:
        client.score_credit("TW", customer, Amount(AMOUNT, "TWD"))


def _fill(config: Path, count: int, say: Say) -> dict[str, Any]:
    """Append records until the record log has `count` records; return the sizes of database and records."""
    settings = read_settings(config)
    database = Database(settings.database)
    event.listen(database.engine, "connect", _enlarge_cache)
    log = open_log(
        database, KeyLocations(settings.keys, settings.master_key, settings.signing_key, settings.log_origin)
    )
    with database.reading() as connection:
        head = connection.execute(select(LOG_HEAD)).one()
        templates = _templates(connection, log)
    frontier = Frontier(head.size, split_hashes(bytes(head.peaks)))
    firsts = iter(range(frontier.size, count, BATCH_ROWS))
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as sealing:

        def more(number: int) -> list[Future[list[tuple[int, Header, SealedRecord]]]]:
            """Submit the next batches for sealing. Sealed batches wait in memory, so only a few are submitted."""
            ranges = [range(first, min(first + BATCH_ROWS, count)) for first in islice(firsts, number)]
            return [sealing.submit(_seal_batch, templates, indices) for indices in ranges]

        ahead = more(BATCHES_AHEAD)
        while ahead:
            rows = []
            for index, header, record in ahead.pop(0).result():
                frontier, nodes = frontier.append(record.leaf_hash())
                rows.append(record_row(index, header, record, nodes))
            ahead += more(1)
            with database.writing() as connection:
                connection.execute(RECORDS.insert(), rows)
                write_tiles(connection, frontier.size - len(rows), frontier.size)
                log._write_head(connection, frontier)
            build_chunks(database)
            if frontier.size // SAID_RECORDS > (frontier.size - len(rows)) // SAID_RECORDS:
                say(f"{frontier.size:,} records")
    sizes = _sizes(database, templates)
    log.close()
    database.close()
    return sizes


def _enlarge_cache(connection: Any, _record: Any) -> None:
    """Enlarge SQLite's page cache while the file is filled; PostgreSQL has no such pragma and needs none."""
    if hasattr(connection, "executescript"):
        connection.executescript("PRAGMA cache_size=-2000000;")


def _templates(connection: Connection, log: RecordLog) -> list[Template]:
    """Decrypt the real decisions; return their headers, bodies and keys."""
    found = []
    for row in connection.execute(select(RECORDS).order_by(RECORDS.c.record_index)).all():
        key = log.key_store.unwrap(log.key_store.find_by_id({row.key_id})[row.key_id])
        header, body = open_record(SealedRecord(bytes(row.header), bytes(row.ciphertext)), key)
        found.append(Template(header, body, key))
    return found


def _seal_batch(templates: Sequence[Template], indices: range) -> list[tuple[int, Header, SealedRecord]]:
    """Return the sealed records of a range of indices; this function runs in a worker process."""
    return [(index, *_seal_copy(templates[index % len(templates)], index)) for index in indices]


def _seal_copy(template: Template, index: int) -> tuple[Header, SealedRecord]:
    """Return a copy of a real record with a new id and time, sealed again."""
    time_us = template.header.time_us + index * STEP_US
    name = new_record_id(time_from_us(time_us))
    header = replace(template.header, record_id=name, request_id=str(uuid.uuid4()), time_us=time_us)
    return header, seal_record(header, template.body, template.key)


def _sizes(database: Database, templates: Sequence[Template]) -> dict[str, Any]:
    """Return the size of the database, and the mean sizes of header and ciphertext of a record, in bytes."""
    with database.reading() as connection:
        if connection.dialect.name == "sqlite":
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            size = pages * connection.exec_driver_sql("PRAGMA page_size").scalar_one()
        else:
            size = connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one()
    sealed = [seal_record(one.header, one.body, one.key) for one in templates]
    return {
        "database_bytes": int(size),
        "header_bytes": float(np.mean([len(one.header) for one in sealed])),
        "ciphertext_bytes": float(np.mean([len(one.ciphertext) for one in sealed])),
    }


def draw_decisions(config: Path, count: int) -> list[str]:
    """Return the ids of decisions at random positions in the record log, up to `count`, in random order."""
    database = Database(read_settings(config).database)
    draw = random.Random(20260101)  # noqa: S311 - the same records in every run
    with database.reading() as connection:
        size = connection.execute(select(LOG_HEAD.c.size)).scalar_one()
        indices = [draw.randrange(REAL, size) for _ in range(count)]
        wanted = select(RECORDS.c.record_id).where(
            RECORDS.c.record_index.in_(indices),
            RECORDS.c.kind == CREDIT_DECISION,  # an earlier run may have appended readings of evidence
        )
        names = list(connection.execute(wanted).scalars())
    database.close()
    draw.shuffle(names)
    return names


def _ask(client: Client, names: Sequence[str]) -> dict[str, Any]:
    """Time the calls of an auditor about decisions."""
    half = len(names) // 2
    rare = pb.DecisionFilter(grade="none", market="TW")
    strata = [pb.STRATUM_KEY_DECISION, pb.STRATUM_KEY_GRADE]
    return {
        "evidence_ms": time_calls(client.get_evidence, [(name, PURPOSE) for name in names[:half]]),
        "proof_ms": time_calls(client.get_inclusion_proof, [(name,) for name in names[half:]]),
        "sample_ms": time_calls(_draw_sample, [(client, seed) for seed in range(SAMPLES)]),
        "strata_ms": time_calls(_draw_sample, [(client, seed, strata) for seed in range(SAMPLES)]),
        "page_ms": time_calls(lambda: next(client.list_decisions(page_size=1000)), [()] * 20),
        "nothing_listed_ms": time_calls(lambda: list(client.list_decisions(rare)), [()] * SAMPLES),
    }


def _draw_sample(client: Client, seed: int, strata: Sequence[pb.StratumKey] = ()) -> None:
    """Draw 60 decisions of each stratum."""
    client.sample_decisions(str(seed), size=60, stratify_by=strata)


def time_calls(call: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> dict[str, float]:
    """Return statistics of the times of consecutive calls in milliseconds.

    `first` is the time of the first call, which may find all caches empty. `stolen` is the share of the CPU time that the host
    of a virtual machine used for other machines during the calls, which makes all calls slower.
    """
    took = []
    stolen = psutil.cpu_times().steal
    for each in arguments:
        begun = time.perf_counter()
        call(*each)
        took.append((time.perf_counter() - begun) * 1e3)
    return {
        "first": took[0],
        "p50": float(np.quantile(took, 0.5)),
        "p95": float(np.quantile(took, 0.95)),
        "p99": float(np.quantile(took, 0.99)),
        "max": max(took),
        "calls": len(took),
        "stolen": (psutil.cpu_times().steal - stolen) * 1e3 / sum(took) / (psutil.cpu_count() or 1),
    }
