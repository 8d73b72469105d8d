"""HTML in pieces: every text is escaped unless it is a piece already, so nothing recorded can become markup."""

from collections.abc import Iterable, Sequence
from html import escape


class Markup(str):
    """A piece of HTML, made by `tag` only."""

    __slots__ = ()


def tag(name: str, *children: str | None, **attributes: str | float | None) -> Markup:
    """Give an element.

    Args:
        name: As in HTML or SVG.
        children: Texts, which are escaped, and pieces, which are not. None is left out.
        attributes: By name; a trailing underscore is left off, others become hyphens. None is left out.
    """
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    looks = "".join(f' {key}="{escape(str(value))}"' for key, value in given.items())
    return Markup(f"<{name}{looks}>{''.join(piece(child) for child in children if child is not None)}</{name}>")


def piece(child: str) -> str:
    """Escape what is no piece yet."""
    return child if isinstance(child, Markup) else escape(child)


def joined(pieces: Iterable[Markup]) -> Markup:
    """Put pieces side by side."""
    return Markup("".join(pieces))


def section(title: str, *parts: Markup | None) -> Markup:
    """Give a part of the page under its title."""
    return tag("section", tag("h2", title), *parts)


def facts(pairs: Iterable[tuple[str, str | None]]) -> Markup:
    """Give a list of names with what they are; those that are empty are left out."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", told)) for name, told in pairs if told))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], figures: Sequence[int] = ()) -> Markup:
    """Give a table; the first cell of a row names it, columns named in `figures` are right-aligned."""
    looks = ["figure" if place in figures else None for place in range(len(head))]
    top = tag("tr", *(tag("th", name, scope="col", class_=look) for name, look in zip(head, looks, strict=True)))
    lines = [
        tag(
            "tr",
            tag("th", row[0], scope="row"),
            *(tag("td", cell, class_=look) for cell, look in zip(row[1:], looks[1:], strict=True)),
        )
        for row in rows
    ]
    return tag("table", tag("thead", top), tag("tbody", *lines))


def bullets(lines: Iterable[str], kind: str = "ul") -> Markup:
    """Give a list of texts."""
    return tag(kind, *(tag("li", line) for line in lines))
