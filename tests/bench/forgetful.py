"""python -m tests.bench.forgetful CONFIG.toml: the server with a log that forgets, to know what remembering costs.

No configuration can do this: the object is put in here, in code that is no part of the server.
"""

import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grounds_record.header import Header
from server.application import Application
from server.application_log import set_up_log
from server.config import read_settings
from server.stores.record_log.entries import Entry, Kept, Outcome


class Forgetful:
    """Takes entries, and has forgotten them when it answers."""

    def append(self, entries: Sequence[Entry]) -> list[Outcome]:
        """Say that each was kept."""
        return [Kept(0, header_of(entry), entry.body) for entry in entries]

    def of_id(self, _record_id: str) -> None:
        """Know nothing."""

    def of_request(self, _caller: str, _request_id: str, _content: bytes) -> None:
        """Know nothing."""

    def probe(self) -> None:
        """Always ready."""

    def close(self) -> None:
        """Have nothing to close."""


class ForgetfulApplication(Application):
    """The server, but for what becomes of its records."""

    def open_log(self) -> Any:
        """Give the log that forgets."""
        return Forgetful()


def header_of(entry: Entry) -> Header:
    """Give a header that names the entry."""
    return Header(kind=entry.kind, record_id=entry.record_id, time_us=0, caller=entry.caller, key_id="0" * 32)


async def serve(config: Path) -> None:
    """Serve until SIGTERM."""
    application = ForgetfulApplication(read_settings(config))
    await application.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await application.stop()


if __name__ == "__main__":
    set_up_log()
    asyncio.run(serve(Path(sys.argv[1])))
