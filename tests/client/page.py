"""Parses an HTML page for tests."""

import html.parser
from pathlib import Path

_VOID_ELEMENTS = {"meta", "br"}


class Page(html.parser.HTMLParser):
    """A parsed page.

    Attributes:
        tables: Cell texts by table and row.
        text: The text that a person reads.
        attributes: All attributes.
        unclosed: Names of elements whose start tag and end tag do not match; empty if the page is well-formed.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.text = ""
        self.attributes: list[tuple[str, str | None]] = []
        self.unclosed: list[str] = []
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.unclosed += self._open

    def handle_starttag(self, name: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs
        if name not in _VOID_ELEMENTS:
            self._open.append(name)
        if name == "table":
            self.tables.append([])
        if name == "tr":
            self.tables[-1].append([])
        if name in {"td", "th"}:
            self.tables[-1][-1].append("")

    def handle_endtag(self, name: str) -> None:
        if not self._open or self._open.pop() != name:
            self.unclosed.append(name)

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.text += data
        if {"td", "th"} & set(self._open):
            self.tables[-1][-1][-1] += data

    def rows(self, first_title: str) -> list[list[str]]:
        """Return the rows of the table whose first column has this title."""
        return next(table[1:] for table in self.tables if table[0][0] == first_title)
