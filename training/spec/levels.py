"""Checks the names of the levels of a category."""

from collections.abc import Sequence

from grounds_record.printable_text import hidden_characters
from models.schema import canonical_level


def level_problem(levels: Sequence[str]) -> str | None:
    """Return why no data or request can contain one of the levels, or why two levels are the same; None if all are valid."""
    unusable = [level for level in levels if not level.strip() or hidden_characters(level)]
    if unusable:
        return (
            f"{len(unusable):,} levels are empty or have control or invisible characters, first {unusable[0]!r}, so no request can "
            "contain them"
        )
    first: dict[str, str] = {}
    for level in levels:
        other = first.setdefault(canonical_level(level), level)
        if other is not level:
            return f"the levels {other!r} and {level!r} have the same text apart from spaces or Unicode form"
    return None
