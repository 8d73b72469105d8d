"""Builds the HTML of the report; every text is escaped in this module."""

import html
from collections.abc import Iterable, Sequence
from pathlib import Path

from grounds_record.printable_text import escape_text

_CSS = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")


def whole_page(title: str, content: str) -> str:
    """Return a page as HTML: a single file that works offline."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_CSS}</style></head>\n"
        f"<body><main>{content}</main></body></html>\n"
    )


def escape(text: str) -> str:
    """Return a text as HTML: its markup and its hidden characters are escaped."""
    return html.escape(escape_text(text))


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph of plain text."""
    return f"<p{_class_attribute(kind)}>{escape(text)}</p>"


def bullets(lines: Iterable[str]) -> str:
    """Return an HTML list of plain texts."""
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def box(title: str, parts: Iterable[str], kind: str = "good") -> str:
    """Return one box of a summary; its kind is "good" or "warn"."""
    return f'<div class="{kind}"><h3>{escape(title)}</h3>{"".join(parts)}</div>'


def section(title: str, *parts: str) -> str:
    """Return a section with its title and parts."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def table(caption: str, reading: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table with one sentence on how to read it.

    Args:
        caption: Title of the table.
        reading: One sentence on how to read the table.
        head: Names of the columns. A column after the first is right-aligned if all its cells are numeric.
        rows: Texts of the cells; the first cell of a row is its heading.
    """
    lines = [tuple(row) for row in rows]
    numeric = [all(_is_numeric(line[column]) for line in lines) for column in range(len(head))]
    attributes = [' class="figure"' if column and numeric[column] else "" for column in range(len(head))]
    top = "".join(
        f'<th scope="col"{attribute}>{escape(name)}</th>' for name, attribute in zip(head, attributes, strict=True)
    )
    body = "".join(f"<tr>{_cells(line, attributes)}</tr>" for line in lines)
    return (
        f'<div class="table"><p class="reading"><strong>{escape(caption)}</strong> {escape(reading)}</p>'
        # A keyboard can scroll a wide table only if its frame can have the focus.
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div></div>"
    )


def _cells(line: Sequence[str], attributes: Sequence[str]) -> str:
    """Return the cells of a row; the first cell is the heading of the row."""
    first, *others = line
    rest = "".join(
        f"<td{attribute}>{escape(cell)}</td>" for cell, attribute in zip(others, attributes[1:], strict=True)
    )
    return f'<th scope="row">{escape(first)}</th>{rest}'


def _is_numeric(cell: str) -> bool:
    """Return whether a cell is a number, an interval, or empty."""
    return not cell or not any(character.isalpha() for character in cell.replace(" to ", ""))


def figure(title: str, reading: str, drawing: str) -> str:
    """Return a figure with its title and one sentence on how to read it."""
    return f"<figure>{drawing}<figcaption><strong>{escape(title)}</strong> {escape(reading)}</figcaption></figure>"


def _class_attribute(kind: str) -> str:
    """Return an HTML class attribute; an empty string if `kind` is empty."""
    return f' class="{kind}"' if kind else ""


def percent(value: float | None, digits: int = 1) -> str:
    """Return a share in percent; an empty string for None."""
    return "" if value is None else f"{value:.{digits}%}".replace("%", " %")


def interval_text(low: float, high: float, digits: int = 4) -> str:
    """Return an interval as text."""
    return f"{low:.{digits}f} to {high:.{digits}f}"


def percent_interval_text(low: float, high: float) -> str:
    """Return an interval of shares in percent."""
    top = f"{100 * high:.1f}" if high != float("inf") else "any"
    return f"{100 * low:.1f} to {top} %"
