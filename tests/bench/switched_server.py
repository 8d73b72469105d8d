"""The server with checks that SIGUSR1 switches off and on: `python -m tests.bench.switched_server CONFIG.toml`.

No configuration switches these checks off, so this module replaces their functions. The application log reports each
switch.
"""

import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from server.application import Application
from server.application_log import configure_logging
from server.config import read_settings
from server.edges.limits import CallLimits
from server.edges.warm_up import freeze_startup_objects
from server.stores import database, postgresql
from server.stores.database import Database
from server.stores.record_log.high_water_mark import HighWaterMark
from server.stores.record_log.log import RecordLog


class SwitchedChecks:
    """The checks of a decision that were added for failing disks, forks, wrong clocks and floods.

    They write and compare the high-water mark, check that the database files were not replaced, make a commit wait for
    the disk, compare the clock with the records, and limit calls.
    """

    def __init__(self) -> None:
        self._are_on = True
        replaced: list[tuple[Any, str, Callable[..., Any]]] = [
            (HighWaterMark, "advance", lambda *_a, **_k: None),
            (HighWaterMark, "covers", lambda *_a: True),
            (Database, "check_files", lambda *_a: None),
            (database, "_ensure_durability", lambda *_a: None),
            (postgresql, "_begin_writing", lambda connection: connection.exec_driver_sql("BEGIN")),
            (RecordLog, "_check_clock", lambda *_a, **_k: None),
            (RecordLog, "_check_times", lambda *_a: None),
            (CallLimits, "begin", lambda *_a: None),
            (CallLimits, "end", lambda *_a: None),
        ]
        for owner, name, without in replaced:
            setattr(owner, name, self._add_switch(getattr(owner, name), without))

    def switch(self) -> None:
        """Switch all checks off if they are on, and on if they are off."""
        self._are_on = not self._are_on
        structlog.get_logger().info("checks", are_on=self._are_on)

    def _add_switch(self, check: Callable[..., Any], without: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that calls the check while the checks are on, and otherwise the other function."""

        def call(*arguments: Any, **named: Any) -> Any:
            return (check if self._are_on else without)(*arguments, **named)

        return call


async def serve(config: Path) -> None:
    """Serve with a configuration file until SIGTERM."""
    freeze_startup_objects()
    checks = SwitchedChecks()
    application = Application(read_settings(config))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, checks.switch)
    await application.start()
    await stop.wait()
    await application.stop()


if __name__ == "__main__":
    configure_logging()
    asyncio.run(serve(Path(sys.argv[1])))
