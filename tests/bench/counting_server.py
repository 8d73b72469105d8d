"""Runs the server and counts the commits of its two databases: `python -m tests.bench.counting_server CONFIG.toml`.

The server has no metric for the commits of the key database. The number of commits is also the number of times that SQLite
waits for the disk: with a write-ahead log and synchronous=FULL, each commit calls fdatasync once.
"""

import asyncio
import signal
import sys
from pathlib import Path

import sqlalchemy
import structlog

from server.application import Application
from server.application_log import configure_logging
from server.config import read_settings
from server.edges.warm_up import freeze_startup_objects
from server.stores.database import Database


class CommitCounter:
    """Counts the commits of a database.

    Attributes:
        commits: Number of commits.
    """

    def __init__(self, database: Database) -> None:
        self.commits = 0
        sqlalchemy.event.listen(database.engine, "commit", self._count)

    def _count(self, _connection: sqlalchemy.Connection) -> None:
        self.commits += 1


async def serve(config: Path) -> None:
    """Serve with a configuration file until SIGTERM; report the commits when the server stops."""
    freeze_startup_objects()
    application = Application(read_settings(config))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await application.start()
    assert application.log is not None
    counters = [CommitCounter(each) for each in (application.database, application.log.key_store.database)]
    await stop.wait()
    log_commits, key_commits = (counter.commits for counter in counters)
    structlog.get_logger().info("counted", log_commits=log_commits, key_commits=key_commits)
    await application.stop()


if __name__ == "__main__":
    configure_logging()
    asyncio.run(serve(Path(sys.argv[1])))
