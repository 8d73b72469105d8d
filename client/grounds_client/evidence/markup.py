"""Builds HTML. Every text that is not Markup is escaped, so that recorded data cannot become markup."""

from collections.abc import Iterable, Sequence
from html import escape

from grounds_record.printable_text import escape_text


class Markup(str):
    """HTML that is safe to insert: a constant of the source code, or the result of `tag`."""

    __slots__ = ()

    def __html__(self) -> str:
        """Return the HTML, so that a template engine inserts it unchanged."""
        return self


def tag(name: str, *children: str | None, **attributes: str | float | None) -> Markup:
    """Return an element.

    Args:
        name: The element's name in HTML or SVG.
        children: The content: text is escaped, Markup is not. None is skipped.
        attributes: The element's attributes by name. A trailing underscore is dropped, and other underscores become
            hyphens. None is skipped.
    """
    present = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    attribute_text = "".join(f' {key}="{escape(escape_text(str(value)))}"' for key, value in present.items())
    content = "".join(_escape(child) for child in children if child is not None)
    return Markup(f"<{name}{attribute_text}>{content}</{name}>")


def section(title: str, *parts: Markup | None) -> Markup:
    """Return a section with its heading."""
    return tag("section", tag("h2", title), *parts)


def definitions(pairs: Iterable[tuple[str, str | None]]) -> Markup:
    """Return a definition list of (term, text); pairs with empty text are skipped."""
    return tag("dl", *(tag("div", tag("dt", term), tag("dd", text)) for term, text in pairs if text))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], figures: Sequence[int] = ()) -> Markup:
    """Return a table.

    Args:
        head: Column titles.
        rows: Cells, as many as titles; the first cell of a row is its heading.
        figures: Indexes of columns with numbers, which are right-aligned.
    """
    classes = ["figure" if column in figures else None for column in range(len(head))]
    top = tag("tr", *(tag("th", title, scope="col", class_=each) for title, each in zip(head, classes, strict=True)))
    lines = [
        tag(
            "tr",
            tag("th", row[0], scope="row"),
            *(
                tag("td", cell, class_=each, data_label=title)
                for cell, each, title in zip(row[1:], classes[1:], head[1:], strict=True)
            ),
        )
        for row in rows
    ]
    return tag("table", tag("thead", top), tag("tbody", *lines))


def text_list(lines: Iterable[str], kind: str = "ul") -> Markup:
    """Return a list of texts; `kind` is "ul" or "ol"."""
    return tag(kind, *(tag("li", line) for line in lines))


def _escape(child: str) -> str:
    """Return text with its markup and its hidden characters escaped, and Markup unchanged."""
    return child if isinstance(child, Markup) else escape(escape_text(child))
