"""Finds the lines of tables and keys in a TOML file for error messages, because tomllib does not report lines."""

import re
from collections.abc import Sequence

TomlPath = tuple[str | int, ...]
_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?")
_KEY = re.compile(r"^\s*([A-Za-z0-9_-]+|\"[^\"]*\")\s*=")


def line_numbers(text: str) -> dict[TomlPath, int]:
    """Return the line number of every table and key by path.

    Line numbers start at 1. In a path, the entries of an array of tables are numbered from 0.
    """
    lines: dict[TomlPath, int] = {(): 1}
    counts: dict[TomlPath, int] = {}
    table: TomlPath = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = _header_path(header[2].split("."), counts, array=header[1] == "[[")
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            lines.setdefault((*table, key[1].strip('"')), number)
    return lines


def _header_path(names: Sequence[str], counts: dict[TomlPath, int], *, array: bool) -> TomlPath:
    """Return the path of the table that a header begins. The name of an array in a header means the array's last entry.

    Args:
        names: Names in the header, outermost table first.
        counts: Index of the last entry of each array so far, by path. This function updates it.
        array: Whether the header has double brackets, so that it begins a new entry of an array.
    """
    path: TomlPath = ()
    for position, name in enumerate(names):
        path = (*path, name.strip().strip('"'))
        if array and position == len(names) - 1:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = (*path, counts[path])
    return path


def nearest_line(lines: dict[TomlPath, int], path: TomlPath) -> int:
    """Return the line number of a path, or that of the innermost table around the path if the path has no number."""
    return next(lines[path[:length]] for length in range(len(path), -1, -1) if path[:length] in lines)
