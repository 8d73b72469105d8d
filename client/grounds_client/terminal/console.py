"""Consoles and tables that the other modules of the package share."""

from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from grounds_record.printable_text import escape_line, escape_text

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
    """Add a row. Hidden characters of plain strings are escaped, and plain strings are not interpreted as markup."""
    table.add_row(*(cell if isinstance(cell, Text) else Text(escape_line(cell)) for cell in cells), style=style)


def lines_cell(lines: Iterable[str]) -> Text:
    """Return a cell with several lines of text."""
    return Text("\n".join(map(escape_line, lines)))


def print_line(console: Console, *parts: str | tuple[str, str], style: str = "") -> None:
    """Print one line of text from outside. The text cannot control the terminal, begin a new line or act as markup.

    Args:
        console: The console.
        parts: The parts of the line: a text, or a text with its style.
        style: Style of the parts that have none.
    """
    texts = (escape_line(part) if isinstance(part, str) else (escape_line(part[0]), part[1]) for part in parts)
    console.print(Text.assemble(*texts, style=style))


def print_text(console: Console, text: str) -> None:
    """Print a text of several lines from outside."""
    console.print(Text(escape_text(text)))


def print_uncut(console: Console, table: Table) -> None:
    """Print a table at its full width. A narrow terminal wraps the lines; rich would truncate ids, which users copy."""
    width = console.width
    full_width = console.measure(table, options=console.options.update(max_width=_WIDTH_MAX)).maximum
    console.width = max(width, full_width)
    console.print(table)
    console.width = width
