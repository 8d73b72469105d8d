"""Prints the output of commands. Hidden characters are escaped, because databases and files are untrusted."""

import errno
import json
import os
import sys

import typer

from grounds_record.printable_text import escape_line, escape_text


def print_line(text: str) -> None:
    """Print one line to standard output.

    Raises:
        OSError: Standard output is closed, or is a file on a full disk.
    """
    _print(escape_line(text))


def print_json(document: object) -> None:
    """Print one JSON document to standard output.

    Raises:
        OSError: Standard output is closed, or is a file on a full disk.
    """
    _print(json.dumps(document, indent=1).replace("\x7f", "\\u007f"))  # JSON escapes all other hidden characters


def _print(text: str) -> None:
    """Print text without hidden characters to standard output."""
    if sys.stdout is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), "standard output")
    try:
        typer.echo(text)
    except OSError as error:
        raise OSError(error.errno, error.strerror, "standard output") from error


def print_error(text: str) -> None:
    """Print a message of one or more lines to standard error, if it is open."""
    if sys.stderr is not None:
        sys.stderr.write(f"{escape_text(text)}\n")
