"""Where things stand in a TOML file, so that a problem can be told by its line."""

import re
from collections.abc import Sequence

Place = tuple[str | int, ...]
HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?")
KEY = re.compile(r"^\s*([A-Za-z0-9_-]+|\"[^\"]*\")\s*=")


def lines_of(text: str) -> dict[Place, int]:
    """Give the line, from 1, of every table and key; an entry of an array of tables is a number, from 0."""
    found: dict[Place, int] = {(): 1}
    counts: dict[Place, int] = {}
    table: Place = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := HEADER.match(line):
            table = opened(header[2].split("."), counts, array=header[1] == "[[")
            found.setdefault(table, number)
        elif key := KEY.match(line):
            found.setdefault((*table, key[1].strip('"')), number)
    return found


def opened(names: Sequence[str], counts: dict[Place, int], *, array: bool) -> Place:
    """Give the place that a header opens; a name that is an array stands for its last entry."""
    place: Place = ()
    for position, name in enumerate(names):
        place = (*place, name.strip().strip('"'))
        if array and position == len(names) - 1:
            counts[place] = counts.get(place, -1) + 1
        if place in counts:
            place = (*place, counts[place])
    return place


def nearest(lines: dict[Place, int], place: Place) -> int:
    """Give the line of a place, or of the table around it."""
    return next(lines[place[:length]] for length in range(len(place), -1, -1) if place[:length] in lines)
