"""States in words of the spec why DuckDB rejects an SQL expression: its messages name types that no spec contains."""

import re
from collections.abc import Callable, Iterable, Mapping

import duckdb

from training.errors import quote_name, shorten_list

_COLUMNS_SHOWN = 8
_TEXT, _NUMBER, _TIME = "text", "a number", "a day or time"
_WORDS = (
    (r"VARCHAR|STRING_LITERAL|ENUM\b.*", _TEXT),
    (r"DATE|TIME|TIMESTAMP.*", _TIME),
    (r"INTERVAL", "a duration"),
    (r"BOOL|BOOLEAN", "a logical value"),
    (r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?\d*|INTEGER_LITERAL|DOUBLE|FLOAT|DECIMAL.*", _NUMBER),
)
_OPERATORS = {"~~": "LIKE", "!~~": "NOT LIKE", "~~*": "ILIKE", "!~~*": "NOT ILIKE"}
_TYPE = r"(\w+(?:\([\d,]*\))?(?: WITH TIME ZONE)?)"


def _type_words(kind: str) -> str:
    """Return what the values of a DuckDB type are."""
    return next((words for pattern, words in _WORDS if re.fullmatch(pattern, kind)), "a value of an unsupported type")


def _call_words(name: str, types: str) -> str:
    """Return a clause for a function or an operator whose arguments have other types than it accepts."""
    words = [_type_words(kind) for kind in re.split(r", (?![^(]*\))", types) if kind]
    return f"uses {_OPERATORS.get(name, name)} with {' and '.join(words) or 'no value'}"


# A part of a message of DuckDB, and the clause that states the same in words of the spec.
_CLAUSES: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
    (
        rf"Cannot (?:compare|mix) values of type {_TYPE} and (?:type )?{_TYPE}",
        lambda found: f"compares {_type_words(found[1])} with {_type_words(found[2])}",
    ),
    (
        r"No function matches the given name and argument types '([^(]+)\((.*)\)'",
        lambda found: _call_words(found[1], found[2]),
    ),
    (
        rf"Could not convert string ['\"](.*)['\"] to {_TYPE}",
        lambda found: f"uses {found[1]!r} as {_type_words(found[2])}",
    ),
    (
        r"(?:invalid (?:date|time|timestamp) field format|field value out of range): \"(.*?)\"",
        lambda found: f"uses {found[1]!r} as a day or time, which must be written as 2026-01-31",
    ),
    (
        r"Could not parse string \"(.*?)\" according to format specifier \"(.*?)\"",
        lambda found: f"reads {found[1]!r} in the format {found[2]!r}",
    ),
    (
        r"Overflow in (\w+) of",
        lambda found: (
            f"exceeds the range of whole numbers in its {found[1]}, which CAST(a AS DECIMAL(38, 0)) in place of a column a extends"
        ),
    ),
    (r"syntax error at or near \"(.*)\"", lambda found: f"is not valid SQL near {found[1]!r}"),
    (r"Type with name (\S+) does not exist", lambda found: f"uses an unknown type, {found[1]!r}"),
)


def rejection_clause(message: str) -> str:
    """Return a clause, without a subject, that states why DuckDB rejects an expression.

    Args:
        message: The message of DuckDB.
    """
    first = next(iter(message.splitlines()), "")
    for pattern, clause in _CLAUSES:
        if found := re.search(pattern, first):
            return clause(found)
    return "cannot be computed for its columns or constants"


def rejection_with_types(error: duckdb.Error, columns: Mapping[str, str]) -> str:
    """Return a clause that states why DuckDB rejects an expression, and what its columns are.

    Args:
        error: The error of DuckDB.
        columns: The DuckDB type of every column that the expression uses, by name.
    """
    return f"{rejection_clause(str(error))}{_listed_columns(columns.items())}"


def _listed_columns(columns: Iterable[tuple[str, str]]) -> str:
    """Return a clause with what each column is."""
    names = [f"{quote_name(name)} is {_type_words(kind)}" for name, kind in columns]
    return f" ({', '.join(shorten_list(names, _COLUMNS_SHOWN, ''))})" if names else ""
