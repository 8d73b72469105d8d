"""Options and functions that several commands share."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.commands.new_files import absent_files, report_created
from server.config import Settings

if TYPE_CHECKING:  # at run time, a command imports the stores only when it needs them
    from server.stores.clock import Clock
    from server.stores.database import Database
    from server.stores.record_log.log import RecordLog

_SCRIPT = "grounds-server"  # the console script of the installed distribution
Config = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="CONFIG.toml", help="Path of the configuration file; server/README.md lists the settings."
    ),
]
PositionalConfig = Annotated[
    Path | None, typer.Argument(metavar="CONFIG.toml", hidden=True)
]  # deprecated; use --config
Reason = Annotated[
    str,
    typer.Option(help="The reason. It is recorded permanently, so state the case and never the customer."),
]
Apply = Annotated[
    bool, typer.Option("--apply", help="Make the change. Without this option, only print what would change.")
]

Purpose = Annotated[
    str, typer.Option(help="Why you read the evidence. It is recorded permanently; do not identify a customer in it.")
]
Market = Annotated[str, typer.Option(metavar="XX", help="Only this market. Default: all markets.")]
HtmlFile = Annotated[Path | None, typer.Option(metavar="FILE", help="Write one page to print and read.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Preview = Annotated[bool, typer.Option("--preview", help="Only print what would change.")]


def runs_as_script() -> bool:
    """Return whether the console script started the process; if not, `python -m server` did."""
    return Path(sys.argv[0]).name == _SCRIPT


def command_line(*words: str, config: Path | None) -> str:
    """Return a command that can be pasted into a shell.

    Args:
        *words: The command and its arguments.
        config: Path of the configuration file of the present command; None if the present command line has no --config.
    """
    program = [_SCRIPT] if runs_as_script() else ["python", "-m", "server"]
    option = [] if config is None else ["--config", str(config)]
    return shlex.join([*program, *words, *option])


def single_config(option: Path | None, positional: Path | None) -> Path | None:
    """Return the path of the configuration file, from `--config` or the deprecated argument; None if neither is given.

    Raises:
        typer.BadParameter: The command line contains both.
    """
    if option is not None and positional is not None:
        raise typer.BadParameter(f"specify only one configuration: either --config {option} or {positional}")
    return option or positional


def checked_clock(database: "Database", settings: Settings, *, removes: bool = False) -> "Clock":
    """Check the clock, and return it. A command that changes data calls this function first.

    Args:
        database: The database of the record log.
        settings: The settings, which contain the paths of the high-water mark and of the anchors.
        removes: Whether the command removes data by age, so that a clock that is ahead would remove too much.

    Raises:
        ClockRefused: The clock may be wrong.
    """
    from server.maintenance.clock import check_clock
    from server.stores.clock import Clock
    from server.stores.record_log.opening import KeyLocations

    clock, mark = Clock(), KeyLocations.from_settings(settings).high_water_mark().path
    check_clock(database, clock, mark=mark, anchor_folder=settings.anchor_folder, removes=removes)
    return clock


@contextmanager
def open_database(settings: Settings) -> "Iterator[Database]":
    """Open the database and migrate its tables. On exit, close it, and report created files on standard error."""
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
def open_record_log(settings: Settings, *, with_all_anchors: bool = False) -> "Iterator[RecordLog]":
    """Open the record log with its keys. On exit, close the record log and its database.

    Args:
        settings: The settings with the locations of the database and the keys.
        with_all_anchors: Whether to compare the log with all anchored checkpoints instead of the newest ones.
    """
    from server.stores.record_log.anchors import CHECKED_ANCHORS
    from server.stores.record_log.opening import KeyLocations, open_log

    with open_database(settings) as database:
        anchors_max = None if with_all_anchors else CHECKED_ANCHORS
        log = open_log(database, KeyLocations.from_settings(settings), anchors_max=anchors_max)
        try:
            yield log
        finally:
            log.close()
