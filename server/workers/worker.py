"""A worker: a process that runs the server application on the port that the supervisor has reserved."""

import asyncio
import multiprocessing
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.isolation.core_dumps import forbid_core_dumps
from server.application_log import configure_logging
from server.config import read_settings
from server.exit_status import exit_without_waiting, run_command
from server.worker_status import WorkerEntry, WorkerTable


def run_worker(config: Path | None, overrides: Mapping[str, Any], worker: int, table: WorkerTable) -> None:
    """Serve until SIGTERM, or until the supervisor has ended. The process exits with the status of a command.

    Args:
        config: Path of the configuration file; None if there is none.
        overrides: The settings of this worker by name, such as the reserved port.
        worker: Number of the worker, from 0; every line of its application log contains the number.
        table: The status of all workers.
    """
    forbid_core_dumps()
    from server.application import serve  # imported here so that the supervisor does not load the application

    supervisor = multiprocessing.parent_process()
    assert supervisor is not None, "the supervisor starts this process"

    def serve_as_worker() -> None:
        settings = read_settings(config, **overrides)
        writer = configure_logging(worker, settings.log_level)
        if not asyncio.run(serve(settings, WorkerEntry(table, worker), stop_descriptor=supervisor.sentinel)):
            exit_without_waiting(writer)

    sys.exit(run_command(serve_as_worker))
