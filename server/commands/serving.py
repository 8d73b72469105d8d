"""`serve`: run the server."""

import asyncio
import os
import sys
from typing import Annotated

import typer

from server.application_log import configure_logging
from server.commands.new_files import log_new_files
from server.commands.options import Config, PositionalConfig, single_config
from server.config import read_settings
from server.exit_status import exit_without_waiting

_WORKERS_MAX = 256


def _parse_workers(value: str | int) -> int:
    """Parse the number of workers. `auto` is the number of processor cores that this process may use."""
    text = str(value)
    if text == "auto":
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not text.isdecimal() or not 1 <= int(text) <= _WORKERS_MAX:
        raise typer.BadParameter(f"must be a number from 1 to {_WORKERS_MAX}, or auto, got {text!r}")
    return int(text)


def serve(
    positional: PositionalConfig = None,
    config: Config = None,
    workers: Annotated[
        int,
        typer.Option(
            metavar="N|auto",
            parser=_parse_workers,
            help="Number of server processes on the port; auto starts one for each processor core.",
        ),
    ] = 1,
) -> None:
    """Verify the active bundles, listen on a loopback address, serve until SIGTERM, and drain before exiting.

    The exit status is 3 if a database, a disk or a command did not answer within the time limit of the drain. Every
    acknowledged record is durable in that case too.
    """
    path = single_config(config, positional)
    settings = read_settings(path)
    writer = configure_logging(level=settings.log_level)
    log_new_files(settings)
    if workers == 1:
        from server.application import serve as serve_until_stopped

        if not asyncio.run(serve_until_stopped(settings)):
            exit_without_waiting(writer)
    else:
        from server.workers.supervisor import Supervisor

        sys.exit(Supervisor(settings, path, workers).run())
