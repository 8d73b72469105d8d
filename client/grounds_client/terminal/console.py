"""Consoles and tables that the other modules of the package share."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDTH_WITHOUT_TERMINAL = 120
_WIDTH_MAX = 1000


def make_console(*, stderr: bool = False) -> Console:
    """Return a console as wide as the terminal; 120 columns wide if the output is not a terminal."""
    console = Console(highlight=False, stderr=stderr)
    return console if console.is_terminal else Console(width=_WIDTH_WITHOUT_TERMINAL, highlight=False, stderr=stderr)


def make_table() -> Table:
    """Return an empty table in the style of all tables."""
    return Table(box=box.SIMPLE_HEAD, pad_edge=False)


def add_row(table: Table, *cells: str | Text, style: str | None = None) -> None:
    """Add a row. Square brackets in a cell stay text, although rich reads plain strings as its markup."""
    table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in cells), style=style)


def print_uncut(console: Console, table: Table) -> None:
    """Print a table at its full width. A narrow terminal wraps the lines; rich would truncate ids, which users copy."""
    width = console.width
    full_width = console.measure(table, options=console.options.update(max_width=_WIDTH_MAX)).maximum
    console.width = max(width, full_width)
    console.print(table)
    console.width = width
