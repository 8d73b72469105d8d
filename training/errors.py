"""The errors of training. Each message states what is wrong, what was expected, and what to do next."""

import textwrap

_LINES_MAX = 20
_LINE_CHARACTERS = 120
_NAME_CHARACTERS = 60


def fit_screen(message: str) -> str:
    """Return a message in at most 20 lines of at most 120 characters.

    If the message is longer, lines of its middle are replaced by their number. The last paragraph is kept, because it
    states what to do. If that paragraph alone is too long, its middle is omitted in the same way.
    """
    *before, last = [_wrap(paragraph) for paragraph in message.rstrip().splitlines() or [""]]
    lines = [line for paragraph in before for line in paragraph]
    end = _omit_middle(last, max(_LINES_MAX // 2, _LINES_MAX - len(lines)))
    room = _LINES_MAX - len(end)
    if len(lines) > room:
        lines = [*lines[: room - 1], _omission(len(lines) - room + 1)]
    return "\n".join([*lines, *end])


def _wrap(paragraph: str) -> list[str]:
    """Return the lines of a paragraph."""
    return textwrap.wrap(paragraph, _LINE_CHARACTERS, subsequent_indent="  ", break_on_hyphens=False) or [""]


def _omit_middle(lines: list[str], limit: int) -> list[str]:
    """Return at most `limit` lines: the first and the last ones, and between them the number of the others."""
    if len(lines) <= limit:
        return lines
    head, tail = limit // 2, limit - limit // 2 - 1
    return [*lines[:head], _omission(len(lines) - head - tail), *lines[len(lines) - tail :]]


def _omission(count: int) -> str:
    """Return the line that stands for omitted lines."""
    return f"... {count} more lines ..."


def shorten_name(name: str) -> str:
    """Return the name of a column for a message, shortened if it is very long."""
    return name if len(name) <= _NAME_CHARACTERS else f"{name[:_NAME_CHARACTERS]}..."


def quote_name(name: str) -> str:
    """Return the name of a column in quotation marks for a message, shortened if it is very long."""
    return repr(shorten_name(name))


def shorten_list(items: list[str], limit: int, indent: str) -> list[str]:
    """Return the first items, and the number of the others."""
    return items if len(items) <= limit else [*items[:limit], f"{indent}... and {len(items) - limit} more"]


class TrainingError(Exception):
    """An error that the user can fix; the command line shows it without a traceback."""


class SpecInvalid(TrainingError):
    """The spec file, or an option of the command line, is invalid."""


class DataInvalid(TrainingError):
    """The table or the transaction log is invalid."""


class ModelRejected(TrainingError):
    """The model cannot be exported exactly, or failed a check before its release."""


class CycleRunning(TrainingError):
    """Another cycle of the same flow is running."""
