"""The server without a record log, which shows how much recording costs: `python -m tests.bench.forgetful CONFIG.toml`.

The configuration of a server cannot switch off the record log. Therefore this module replaces the record log.
"""

import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grounds_record.header import Header
from server.application import Application
from server.application_log import configure_logging
from server.config import read_settings
from server.stores.record_log.entries import AppendResult, LogEntry, Record


class Forgetful:
    """A record log that accepts entries but stores nothing.

    Attributes:
        append_seconds: Times of sealing and commit, which are 0.
    """

    append_seconds = (0.0, 0.0)

    def append(self, entries: Sequence[LogEntry]) -> list[AppendResult]:
        """Report each entry as appended."""
        return [Record(0, _header(entry), entry.body) for entry in entries]

    def find_by_id(self, _record_id: str) -> None:
        """Return None, because nothing is stored."""

    def find_by_request(self, _caller: str, _request_id: str, _content: bytes) -> None:
        """Return None, because nothing is stored."""

    def probe(self) -> None:
        """Do nothing, because this record log is always writable."""

    def close(self) -> None:
        """Do nothing, because there is nothing to close."""


class ForgetfulApplication(Application):
    """The server with a record log that stores nothing."""

    def _open_log(self) -> Any:
        """Return the log that stores nothing."""
        return Forgetful()


def _header(entry: LogEntry) -> Header:
    """Return a header with the kind, the id and the caller of the entry."""
    return Header(kind=entry.kind, record_id=entry.record_id, time_us=0, caller=entry.caller, key_id="0" * 32)


async def serve(config: Path) -> None:
    """Serve with a configuration file until SIGTERM."""
    application = ForgetfulApplication(read_settings(config))
    await application.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await application.stop()


if __name__ == "__main__":
    configure_logging()
    asyncio.run(serve(Path(sys.argv[1])))
