"""Where things stand in a TOML file, so that a problem can be told by its line."""

import re
from collections.abc import Sequence

TomlPath = tuple[str | int, ...]
_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?")
_KEY = re.compile(r"^\s*([A-Za-z0-9_-]+|\"[^\"]*\")\s*=")


def line_numbers(text: str) -> dict[TomlPath, int]:
    """Give the line, from 1, of every table and key; an entry of an array of tables is a number, from 0."""
    found: dict[TomlPath, int] = {(): 1}
    counts: dict[TomlPath, int] = {}
    table: TomlPath = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = _header_path(header[2].split("."), counts, array=header[1] == "[[")
            found.setdefault(table, number)
        elif key := _KEY.match(line):
            found.setdefault((*table, key[1].strip('"')), number)
    return found


def _header_path(names: Sequence[str], counts: dict[TomlPath, int], *, array: bool) -> TomlPath:
    """Give the place that a header opens; a name that is an array stands for its last entry."""
    place: TomlPath = ()
    for position, name in enumerate(names):
        place = (*place, name.strip().strip('"'))
        if array and position == len(names) - 1:
            counts[place] = counts.get(place, -1) + 1
        if place in counts:
            place = (*place, counts[place])
    return place


def nearest_line(lines: dict[TomlPath, int], place: TomlPath) -> int:
    """Give the line of a place, or of the table around it."""
    return next(lines[place[:length]] for length in range(len(place), -1, -1) if place[:length] in lines)
