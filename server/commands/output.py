"""Prints the output of commands. Hidden characters are escaped, because databases and files are untrusted."""

import sys

import typer

from grounds_record.printable_text import escape_line, escape_text


def print_line(text: str) -> None:
    """Print one line to standard output."""
    typer.echo(escape_line(text))


def print_error(text: str) -> None:
    """Print a message of one or more lines to standard error."""
    sys.stderr.write(f"{escape_text(text)}\n")
