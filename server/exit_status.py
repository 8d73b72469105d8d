"""The exit status of a command, and the message that it prints if the operator can fix an error."""

import sys
from collections.abc import Callable

from grounds_record.errors import RecordError
from grounds_record.printable_text import escape_text
from models.errors import ModelError
from server.errors import OperatorError, RecordDamaged, StoreUnavailable


def run_command(command: Callable[[], object]) -> int:
    """Run a command, and return the exit status.

    If the operator can fix an error, print its message on standard error and return 1.
    """
    try:
        command()
    except (OperatorError, ModelError, RecordError, RecordDamaged, StoreUnavailable) as error:
        sys.stderr.write(f"error: {escape_text(str(error))}\n")
        return 1
    return 0
