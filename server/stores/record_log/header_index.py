"""The header index: a columnar copy of record headers, from which samples are drawn. A worker process builds the index.

To draw a sample, the worker for samples reads the headers of all records in the time range of the sample. The index
consists of chunks (server/stores/record_log/header_chunks.py). Each chunk contains the headers of 65,536 records in one
row. Headers that are not in a chunk yet are read from the table of records, so chunks can be built later by a
background process, and decisions do not wait for them. This module does not import pyarrow, because the serving process
imports this module.
"""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Connection, Row, select

from server.stores.database import Database
from server.stores.tables import LISTED_CHUNKS, LOG_HEAD

CHUNK_RECORDS = 65_536
_WORKER_SECONDS_MAX = 600.0  # the next run continues with the chunks that are still missing
WORKER_NICENESS = 10  # low priority of worker processes, so that the server's own work runs first
# This statement is built once, because building a statement takes longer than running it.
CHUNKS = select(*LISTED_CHUNKS.c["first_index", "record_count", "first_us", "last_us"]).order_by(
    LISTED_CHUNKS.c.first_index
)


@dataclass(frozen=True, slots=True)
class _IndexTask:
    """The input of the worker process, which it reads from standard input.

    Attributes:
        url: SQLAlchemy URL of the database.
        length: Number of records per chunk.
    """

    url: str
    length: int


INDEX_TASK = TypeAdapter(_IndexTask)


@dataclass(frozen=True, slots=True)
class RecordRange:
    """The records [first, end).

    Attributes:
        first: Index of the first record.
        end: Index after the last record.
        chunked: Whether the header index has a chunk of exactly these records.
        times: The smallest and the largest time of the records, in microseconds since 1970; None if they are unknown.
    """

    first: int
    end: int
    chunked: bool = False
    times: tuple[int, int] | None = None


class HeaderIndexFailed(Exception):
    """The worker process failed. The error omits the worker's output, which may contain a password."""


class HeaderIndexer:
    """Builds missing chunks in a low-priority process.

    Attributes:
        length: Number of records per chunk.
    """

    def __init__(
        self,
        database: Database,
        length: int = CHUNK_RECORDS,
        run_in_thread: Callable[..., Awaitable[Any]] = asyncio.to_thread,
    ) -> None:
        """Create an indexer.

        Args:
            database: Database of the log.
            length: Number of records per chunk.
            run_in_thread: Runs a function that waits for the database.
        """
        self._database, self.length, self._run_in_thread = database, length, run_in_thread

    async def build_missing_chunks(self) -> None:
        """Run the worker process if a chunk is missing.

        If this call is cancelled, the process is killed. No chunk is left incomplete, because a chunk is a single row.

        Raises:
            StoreUnavailable: The database does not answer.
            HeaderIndexFailed: The worker process failed.
            TimeoutError: The worker process took longer than ten minutes and was killed.
        """
        if not await self._run_in_thread(missing_chunks, self._database, self.length):
            return
        # Pass the URL on standard input, because command line arguments with a password are visible to other users.
        url = self._database.engine.url.render_as_string(hide_password=False)
        command = (sys.executable, "-m", "server.stores.record_log.header_chunks")
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=DEVNULL, stderr=DEVNULL)
        os.setpriority(os.PRIO_PROCESS, process.pid, WORKER_NICENESS)
        try:
            async with asyncio.timeout(_WORKER_SECONDS_MAX):
                await process.communicate(INDEX_TASK.dump_json(_IndexTask(url, self.length)))
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise HeaderIndexFailed


def record_ranges(connection: Connection, size: int, length: int = CHUNK_RECORDS) -> Iterator[RecordRange]:
    """Yield ranges that cover each of the first `size` records once, in order.

    A range is either a chunk, or at most `length` records without a chunk. A chunk is ignored if it ends after `size`,
    overlaps the previous chunk, or has an invalid length. Records of an ignored chunk are treated like records without
    a chunk.
    """
    at = 0
    for chunk in connection.execute(CHUNKS).all():
        end = chunk_end(chunk)
        if not at <= chunk.first_index < end <= size:
            continue
        yield from _unindexed_ranges(at, chunk.first_index, length)
        yield RecordRange(chunk.first_index, end, chunked=True, times=(chunk.first_us, chunk.last_us))
        at = end
    yield from _unindexed_ranges(at, size, length)


def _unindexed_ranges(first: int, end: int, length: int) -> Iterator[RecordRange]:
    """Yield ranges that cover the records [first, end). Each has `length` records, but the last may be shorter."""
    for start in range(first, end, length):
        yield RecordRange(start, min(start + length, end))


def chunk_end(chunk: Row[Any]) -> int:
    """Return the index after the last record of a chunk; its first index if the stored length is not an integer."""
    count = chunk.record_count
    return int(chunk.first_index) + (count if isinstance(count, int) else 0)


def missing_chunks(database: Database, length: int) -> list[RecordRange]:
    """Return the ranges of exactly `length` records that have no chunk. Shorter ranges are omitted."""
    with database.reading() as connection:
        size = connection.execute(select(LOG_HEAD.c.size)).scalar() or 0
        ranges = list(record_ranges(connection, size, length))
    return [each for each in ranges if not each.chunked and each.end - each.first == length]
