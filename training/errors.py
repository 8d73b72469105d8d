"""The errors of training. Each message states what is wrong, what was expected, and what to do next."""

import textwrap

_LINES_MAX = 20
_LINE_CHARACTERS = 120


def fit_screen(message: str) -> str:
    """Return a message in at most 20 lines of at most 120 characters; the last line counts those that do not fit."""
    lines = [
        line
        for paragraph in message.splitlines()
        for line in textwrap.wrap(paragraph, _LINE_CHARACTERS, subsequent_indent="  ", break_on_hyphens=False) or [""]
    ]
    if len(lines) <= _LINES_MAX:
        return "\n".join(lines)
    return "\n".join([*lines[: _LINES_MAX - 1], f"... and {len(lines) - _LINES_MAX + 1} more lines"])


class TrainingError(Exception):
    """An error that the user can fix; the command line shows it without a traceback."""


class SpecInvalid(TrainingError):
    """The spec file, or an option of the command line, is invalid."""


class DataInvalid(TrainingError):
    """The table or the transaction log is invalid."""


class ModelRejected(TrainingError):
    """The model cannot be exported exactly, or failed a check before its release."""
