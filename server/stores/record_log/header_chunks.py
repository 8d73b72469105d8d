"""Has chunks of what samples look at made, behind the server's own work; server/stores/record_log/header_index.py makes them."""

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
WORKER_NICENESS = 10  # how much less urgent than the server what its processes do is
# Made once: to put a statement together takes longer than to run it.
CHUNKS = select(*LISTED_CHUNKS.c["first_index", "record_count", "first_us", "last_us"]).order_by(
    LISTED_CHUNKS.c.first_index
)


@dataclass(frozen=True, slots=True)
class IndexTask:
    """What the process is told: the URL of the database, and how many records a chunk has."""

    url: str
    length: int


INDEX_TASK = TypeAdapter(IndexTask)


@dataclass(frozen=True, slots=True)
class RecordRange:
    """Records [first, end), and whether a chunk holds them.

    Attributes:
        times: Smallest and largest time of a chunk, in microseconds since 1970; None where they are not known.
    """

    first: int
    end: int
    chunked: bool = False
    times: tuple[int, int] | None = None


def record_ranges(connection: Connection, size: int, length: int = CHUNK_RECORDS) -> Iterator[RecordRange]:
    """Cut a log of so many records into its chunks, and what is between and after them into stretches of some length."""
    at = 0
    for chunk in connection.execute(CHUNKS).all():
        end = end_of(chunk)
        if not at <= chunk.first_index < end <= size:  # not all of it is asked for; or it is no chunk of this log
            continue
        yield from bare(at, chunk.first_index, length)
        yield RecordRange(chunk.first_index, end, chunked=True, times=(chunk.first_us, chunk.last_us))
        at = end
    yield from bare(at, size, length)


def bare(first: int, end: int, length: int) -> Iterator[RecordRange]:
    """Cut what no chunk holds."""
    for start in range(first, end, length):
        yield RecordRange(start, min(start + length, end))


def end_of(chunk: Row[Any]) -> int:
    """Give the place after a chunk's records; its own where it does not say, in whole numbers, how many they are."""
    count = chunk.record_count
    return int(chunk.first_index) + (count if isinstance(count, int) else 0)


def missing_chunks(database: Database, length: int) -> list[RecordRange]:
    """Give the stretches of a chunk's length that no chunk of the log holds."""
    with database.reading() as connection:
        size = connection.execute(select(LOG_HEAD.c.size)).scalar() or 0
        found = list(record_ranges(connection, size, length))
    return [each for each in found if not each.chunked and each.end - each.first == length]


class HeaderIndexFailed(Exception):
    """The process ended without them; its own words may hold a password and are not repeated."""


class HeaderIndexer:
    """Makes the chunks that are due.

    Attributes:
        length: So many records a chunk has.
    """

    def __init__(self, database: Database, length: int = CHUNK_RECORDS) -> None:
        self.database, self.length = database, length

    async def build_missing_chunks(self) -> None:
        """Have a process make them, if one is due. It is killed when nobody waits for it any more: a chunk is there whole or not.

        Raises:
            StoreUnavailable: The database does not answer.
            ChunksNotMade: The process failed.
        """
        if not await asyncio.to_thread(missing_chunks, self.database, self.length):
            return
        url = self.database.engine.url.render_as_string(hide_password=False)
        command = (sys.executable, "-m", "server.stores.record_log.header_index")
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=DEVNULL, stderr=DEVNULL)
        os.setpriority(os.PRIO_PROCESS, process.pid, WORKER_NICENESS)
        try:
            await process.communicate(INDEX_TASK.dump_json(IndexTask(url, self.length)))
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise HeaderIndexFailed
