"""The exit status of a command, and the message that it prints if the operator can fix an error."""

import os
import sys
from collections.abc import Callable
from typing import NoReturn

import structlog

from grounds_record.errors import RecordError
from grounds_record.printable_text import escape_text
from models.errors import ModelError
from server.application_log import LogWriter
from server.errors import OperatorError, RecordDamaged, StoreUnavailable

LOG = structlog.get_logger()
_UNFINISHED = 3  # exit status


def run_command(command: Callable[[], object]) -> int:
    """Run a command, and return the exit status.

    If the operator can fix an error, print its message to standard error and return 1.
    """
    try:
        command()
    except (OperatorError, ModelError, RecordError, RecordDamaged) as error:
        _print_error(str(error))
        return 1
    except StoreUnavailable as error:
        _print_error(f"{error}; {error.cause}" if error.cause not in {"", str(error)} else str(error))
        return 1
    except OSError as error:  # a file, a folder or standard output cannot be used
        _print_error(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return 1
    return 0


def _print_error(message: str) -> None:
    """Print an error message to standard error, if it is open."""
    if sys.stderr is not None:
        sys.stderr.write(f"error: {escape_text(message)}\n")


def exit_without_waiting(writer: LogWriter) -> NoReturn:
    """End the process although a thread still waits for a database, a disk or a command.

    Args:
        writer: Writer of the application log, which writes its queued lines first.
    """
    LOG.error(
        "ended without waiting",
        problem="a database, a disk or a command did not answer in time; every acknowledged record is durable",
        exit_status=_UNFINISHED,
    )
    writer.wait_until_written()
    os._exit(_UNFINISHED)  # a normal exit would wait for the thread
