"""Record logs for tests, and entries to append to them."""

import datetime as dt
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from grounds_record.checkpoint import Checkpoint, open_checkpoint
from server.stores.database import Database
from server.stores.record_log.entries import LogEntry
from server.stores.record_log.log import RecordLog
from server.stores.record_log.opening import KeyLocations, open_log
from server.stores.record_log.proofs import ProofReader
from tests.conftest import key_settings

NOW = dt.datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=dt.UTC)
ORIGIN = "example.com/log"


def key_locations(folder: Path, **changes: Any) -> KeyLocations:
    """Return the locations of a log's keys in a folder."""
    return KeyLocations(**{**key_settings(folder), "origin": ORIGIN, **changes})


@contextmanager
def open_test_log(url: str, folder: Path, **changes: Any) -> Iterator[RecordLog]:
    """Open a log on a database, and close it at the end of the block."""
    database = Database(url)
    try:
        database.migrate()
        log = open_log(database, key_locations(folder, **changes))
        try:
            yield log
        finally:
            log.close()
    finally:
        database.close()


def entry(body: bytes = b"body", **changes: Any) -> LogEntry:
    """Return an entry with a new id and a new request; `changes` replaces fields."""
    asked: dict[str, Any] = {
        "kind": "CREDIT_DECISION",
        "record_id": str(uuid.uuid4()),
        "time": NOW,
        "caller": "local",
        "body": body,
        "customer": ("DE", "C1"),
        "request_id": str(uuid.uuid4()),
        "content": b"content",
        "labels": {"market": "DE", "bundle": "0" * 64, "decision": "APPROVE", "grade": "A+"},
    }
    return LogEntry(**{**asked, **changes})


def newest_checkpoint(log: RecordLog) -> Checkpoint:
    """Verify the signature of the newest checkpoint, and return the checkpoint."""
    return open_checkpoint(ProofReader(log.database).read_head().checkpoint, log.verifier)
