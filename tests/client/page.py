"""A page of HTML, read as a browser reads it."""

import html.parser
from pathlib import Path

VOID = {"meta", "br"}


class Page(html.parser.HTMLParser):
    """A page as a browser reads it.

    Attributes:
        tables: Cells by row and table.
        text: All that a person reads.
        attributes: Every one.
        unclosed: Elements that were never closed, or closed twice.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.text, self.attributes = "", []
        self.stack: list[str] = []
        self.unclosed: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.unclosed += self.stack

    def handle_starttag(self, name: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs
        if name not in VOID:
            self.stack.append(name)
        if name == "table":
            self.tables.append([])
        if name == "tr":
            self.tables[-1].append([])
        if name in {"td", "th"}:
            self.tables[-1][-1].append("")

    def handle_endtag(self, name: str) -> None:
        if not self.stack or self.stack.pop() != name:
            self.unclosed.append(name)

    def handle_data(self, data: str) -> None:
        if "style" in self.stack:
            return
        self.text += data
        if {"td", "th"} & set(self.stack):
            self.tables[-1][-1][-1] += data

    def table(self, first: str) -> list[list[str]]:
        """Give the rows of the table whose head begins so."""
        return next(rows[1:] for rows in self.tables if rows[0][0] == first)
