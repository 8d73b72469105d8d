"""Options and helpers that several commands share."""

import datetime as dt
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.commands.new_files import absent_files, report_created
from server.config import Settings

if TYPE_CHECKING:  # the stores are imported by the commands that use them
    from server.stores.database import Database
    from server.stores.record_log.log import RecordLog

_SCRIPT = "grounds-server"  # the console script of the installed distribution
Config = Annotated[
    Path | None, typer.Option("--config", metavar="CONFIG.toml", help="The configuration; see server/README.md.")
]
PositionalConfig = Annotated[Path | None, typer.Argument(metavar="CONFIG.toml", hidden=True)]  # deprecated: --config
Reason = Annotated[
    str,
    typer.Option(help="Why. Recorded for the life of the record log: name the case, never the customer."),
]
Apply = Annotated[bool, typer.Option("--apply", help="Make the change. Without it, only show what would change.")]


def runs_as_script() -> bool:
    """Return whether the process was started by the console script and not by `python -m server`."""
    return Path(sys.argv[0]).name == _SCRIPT


def command_line(*words: str, config: Path | None) -> str:
    """Return a command that a person can paste into a shell, with the configuration of the present one."""
    program = [_SCRIPT] if runs_as_script() else ["python", "-m", "server"]
    option = [] if config is None else ["--config", str(config)]
    return shlex.join([*program, *words, *option])


def single_config(option: Path | None, positional: Path | None) -> Path | None:
    """Return the configuration that was named, by `--config` or by the deprecated argument.

    Raises:
        typer.BadParameter: Both are given.
    """
    if option is not None and positional is not None:
        raise typer.BadParameter(f"name one configuration: --config {option} or {positional}, not both")
    return option or positional


def current_time() -> dt.datetime:
    """Return the time, in UTC."""
    return dt.datetime.now(dt.UTC)


@contextmanager
def open_database(settings: Settings) -> "Iterator[Database]":
    """Open the database, bring its tables up to date, and report on stderr what had to be created."""
    from server.stores.database import Database

    absent = absent_files(settings)
    database = Database(settings.database)
    try:
        database.migrate()
        yield database
    finally:
        database.close()
        report_created(absent)


@contextmanager
def open_record_log(settings: Settings) -> "Iterator[RecordLog]":
    """Open the record log with its keys."""
    from server.stores.record_log.opening import KeyLocations, open_log

    with open_database(settings) as database:
        log = open_log(database, KeyLocations.from_settings(settings))
        try:
            yield log
        finally:
            log.close()
