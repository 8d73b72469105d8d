"""Has chunks of what samples look at made, behind the server's own work; server/stores/listed.py makes them."""

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE
from dataclasses import dataclass

from pydantic import TypeAdapter
from sqlalchemy import select

from server.stores.database import Database
from server.stores.tables import LISTED_CHUNKS, LOG_HEAD

CHUNK_RECORDS = 65_536
NEWEST = select(*LISTED_CHUNKS.c["first_index", "record_count"]).order_by(LISTED_CHUNKS.c.first_index.desc()).limit(1)


@dataclass(frozen=True, slots=True)
class Order:
    """What the process is told: the URL of the database, and how many records a chunk has."""

    url: str
    length: int


ORDER = TypeAdapter(Order)


class ChunksNotMade(Exception):
    """The process ended without them; its own words may hold a password and are not repeated."""


class Chunker:
    """Makes the chunks that are due.

    Attributes:
        length: So many records a chunk has.
    """

    def __init__(self, database: Database, length: int = CHUNK_RECORDS) -> None:
        self.database, self.length = database, length

    async def make(self) -> None:
        """Have a process make them, if one is due. It is killed when nobody waits for it any more: a chunk is there whole or not.

        Raises:
            StoreUnavailable: The database does not answer.
            ChunksNotMade: The process failed.
        """
        if not await asyncio.to_thread(self.due):
            return
        url = self.database.engine.url.render_as_string(hide_password=False)
        command = (sys.executable, "-m", "server.stores.listed")
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=DEVNULL, stderr=DEVNULL)
        try:
            await process.communicate(ORDER.dump_json(Order(url, self.length)))
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise ChunksNotMade

    def due(self) -> bool:
        """Tell whether the log has grown by a chunk."""
        with self.database.reading() as connection:
            size = connection.execute(select(LOG_HEAD.c.size)).scalar() or 0
            newest = connection.execute(NEWEST).first()
        return bool(size - (newest.first_index + newest.record_count if newest else 0) >= self.length)
