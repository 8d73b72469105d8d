"""The header index: which records are in chunks of columns, and the process that builds the chunks that are missing.

A sample reads the headers of every decision. A chunk (server/stores/record_log/header_chunks.py) has those of 65,536 records
in one row; records that are in no chunk yet are read from their table. So chunks may come late, and no decision waits for
one. This module does not import pyarrow: the serving process does without it.
"""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Connection, Row, select

from server.stores.database import Database
from server.stores.tables import LISTED_CHUNKS, LOG_HEAD

CHUNK_RECORDS = 65_536
WORKER_NICENESS = 10  # of worker processes, so that the server's own work comes first
# Built once: building a statement takes longer than running it.
CHUNKS = select(*LISTED_CHUNKS.c["first_index", "record_count", "first_us", "last_us"]).order_by(
    LISTED_CHUNKS.c.first_index
)


@dataclass(frozen=True, slots=True)
class _IndexTask:
    """What the worker process reads on standard input.

    Attributes:
        url: Of the database.
        length: Records in a chunk.
    """

    url: str
    length: int


INDEX_TASK = TypeAdapter(_IndexTask)


@dataclass(frozen=True, slots=True)
class RecordRange:
    """Records [first, end).

    Attributes:
        first: Index of the first record.
        end: Index after the last.
        chunked: Whether they are one chunk.
        times: The smallest and largest time of a chunk, in microseconds since 1970; None if unknown.
    """

    first: int
    end: int
    chunked: bool = False
    times: tuple[int, int] | None = None


class HeaderIndexFailed(Exception):
    """The worker process failed. Its output may contain a password and is not repeated."""


class HeaderIndexer:
    """Builds missing chunks in a low-priority process.

    Attributes:
        length: Records in a chunk.
    """

    def __init__(self, database: Database, length: int = CHUNK_RECORDS) -> None:
        self._database, self.length = database, length

    async def build_missing_chunks(self) -> None:
        """Run the worker process if a chunk is missing.

        If this is cancelled, the process is killed; a chunk is one row, so it is written whole or not at all.

        Raises:
            StoreUnavailable: The database does not answer.
            HeaderIndexFailed: The process failed.
        """
        if not await asyncio.to_thread(missing_chunks, self._database, self.length):
            return
        # The URL goes through standard input: arguments with a password would be in the list of processes.
        url = self._database.engine.url.render_as_string(hide_password=False)
        command = (sys.executable, "-m", "server.stores.record_log.header_chunks")
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=DEVNULL, stderr=DEVNULL)
        os.setpriority(os.PRIO_PROCESS, process.pid, WORKER_NICENESS)
        try:
            await process.communicate(INDEX_TASK.dump_json(_IndexTask(url, self.length)))
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise HeaderIndexFailed


def record_ranges(connection: Connection, size: int, length: int = CHUNK_RECORDS) -> Iterator[RecordRange]:
    """Yield ranges that cover the first `size` records once, in order: the chunks, and between them ranges of `length`.

    A chunk that ends after `size`, overlaps the one before or has no valid length is skipped.
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
    """Yield ranges of `length`, the last one shorter, that cover [first, end)."""
    for start in range(first, end, length):
        yield RecordRange(start, min(start + length, end))


def chunk_end(chunk: Row[Any]) -> int:
    """Return the index after a chunk's records; its first index if the row has no integer for their number."""
    count = chunk.record_count
    return int(chunk.first_index) + (count if isinstance(count, int) else 0)


def missing_chunks(database: Database, length: int) -> list[RecordRange]:
    """Return the ranges of exactly `length` records that are in no chunk; a shorter range waits until it is full."""
    with database.reading() as connection:
        size = connection.execute(select(LOG_HEAD.c.size)).scalar() or 0
        ranges = list(record_ranges(connection, size, length))
    return [each for each in ranges if not each.chunked and each.end - each.first == length]
