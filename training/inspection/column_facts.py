"""Measures the columns of an unknown table: types, missing and distinct values, and values of a different type."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import duckdb

from training.inspection.name_words import TIME_WORDS, has_word
from training.sources.reader.casts import FLOAT_TYPES, INTEGER_TYPES, ColumnCast, number_cast, text_cast, time_cast
from training.sources.reader.number_format import CODE_START, unusual_sql
from training.sources.reader.raw_table import RawTable, quote_literal, quote_path
from training.sources.reader.unreadable import find_unreadable
from training.spec.reading import ALL_YEARS, ReadingSpec

ColumnKind = Literal["number", "text", "time", "empty"]
_MOSTLY = 0.9
_DECIMALS_MAX = 7
_FLOAT_NOISE = 1e-8  # a smaller difference from a number with fewer decimals is a rounding error of doubles
_LEVELS_MAX = 50
_EXAMPLES = 3
_DAY_CHARACTERS = len("2026-01-31")
_ODD_VALUES_MAX = 5
# ISO 8601 comes first. A column that fits two patterns, such as 01/02/2017, is ambiguous.
_TIME_FORMATS = (
    None,
    "%d.%m.%Y",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y %H:%M:%S",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d/%m/%Y %H:%M",
    "%m/%d/%Y %H:%M",
)
# Times that are written as numbers, and months. They are times only if the name of the column says so and the years are usual.
_NUMERIC_TIME_FORMATS = ("%Y%m%d", "%Y%m", "%Y-%m", "%Y%m%d%H%M%S", "epoch_s", "epoch_ms")
_USUAL_YEARS = (1990, 2100)


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """Facts about one column.

    Attributes:
        name: Name of the column as its owner wrote it.
        kind: "number" or "time" if at least 9 of 10 values are numbers, in any spelling, or times; "empty" if there are
            no values; otherwise "text". A column of text in which a value such as 007 or 01.11 occurs is text, because such a
            value is a code.
        declared: Type in the file; "text" for every column of a text file.
        missing: Number of rows without a value.
        distinct: Number of distinct values.
        low: Smallest number or earliest time; "" for text.
        high: Largest number or latest time; "" for text.
        examples: The first three distinct values in alphabetical order.
        levels: Number of rows by value; empty if the column has more than 50 distinct values.
        decimals: Number of decimals of the number that has the most of them; at most 7.
        odd: Number of odd values, which are values that do not have the kind of the column.
        first_odd: The first odd value with its place; "" if there is none.
        odd_values: The distinct odd values that are not numbers in an unusual spelling, such as n.a.; empty if there are
            more than 5.
        unusual_values: The first 5 distinct numbers in an unusual spelling in alphabetical order, such as (1,200.00).
        time_formats: The time formats that fit at least 9 of 10 values; "" stands for ISO 8601 and for a declared type.
        has_zone: True if the times have a zone or an offset, and the user states no zone.
    """

    name: str
    kind: ColumnKind
    declared: str
    missing: int
    distinct: int
    low: str
    high: str
    examples: tuple[str, ...]
    levels: dict[str, int]
    decimals: int
    odd: int
    first_odd: str
    odd_values: tuple[str, ...]
    unusual_values: tuple[str, ...]
    time_formats: tuple[str, ...]
    has_zone: bool = False


@dataclass(frozen=True, slots=True)
class TableFacts:
    """Facts about a table.

    Attributes:
        name: Name of the file.
        confirmation: One line that states how the file is read.
        rows: Number of rows.
        columns: Facts about every column.
    """

    name: str
    confirmation: str
    rows: int
    columns: tuple[ColumnFacts, ...]

    def find(self, name: str | None) -> ColumnFacts | None:
        """Return the facts about a column, or None."""
        return next((column for column in self.columns if column.name == name), None)


def measure_table(table: RawTable, reading: ReadingSpec) -> TableFacts:
    """Return the facts about a table and its columns. Several queries read each column, see `columnar_copy`."""
    with duckdb.connect() as connection:
        columns = tuple(
            _measure_column(connection, table, column.name, reading) for column in table.columns if column.name
        )
        rows = int(connection.execute(f"SELECT COUNT(*) FROM {table.sql}").fetchall()[0][0])  # noqa: S608 - constant or quoted names
    return TableFacts(table.name, table.confirmation, rows, columns)


def columnar_copy(table: RawTable, temporary: Path) -> RawTable:
    """Return a table that has text files as a copy in Parquet, in the same order; any other table unchanged.

    Every query about one column of a text file would parse all columns again.
    """
    if not table.has_text_file:
        return table
    path = temporary / "columns.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT * FROM {table.sql}) TO {quote_literal(str(path))} (FORMAT parquet)")  # noqa: S608 - constant or quoted names
    return replace(table, sql=f"read_parquet({quote_path(path)})")


def _measure_column(
    connection: duckdb.DuckDBPyConnection, table: RawTable, name: str, reading: ReadingSpec
) -> ColumnFacts:
    """Return the facts about one column."""
    column = table.find(name)
    assert column is not None
    text, number = text_cast(table, name, name, reading.missing), number_cast(table, name, name, reading.missing)
    times = _time_casts(table, name, reading)
    counts = ", ".join(f"COUNT({cast.value})" for cast in (text, number, *times.values()))
    codes = f"COUNT(*) FILTER (regexp_matches({text.value}, '{CODE_START}'))"
    is_unusual, unusual = unusual_sql(text.value, number.problem, number.value)
    rows, codes_found, unusually, known, numbers, *timed = connection.execute(
        f"SELECT COUNT(*), {codes}, {unusual}, {counts} FROM {table.sql}"  # noqa: S608 - constant or quoted names
    ).fetchall()[0]
    formats = tuple(
        known_format for known_format, count in zip(times, timed, strict=True) if known and count >= _MOSTLY * known
    )
    has_zone = bool(formats) and not formats[0] and _has_zone(connection, table, name, reading)
    kind: ColumnKind = "text"
    cast: ColumnCast | None = None
    if not known:
        kind = "empty"
    elif formats:
        kind, cast = "time", times[formats[0]]
    elif numbers + unusually >= _MOSTLY * known and not (column.is_text and codes_found):
        kind, cast = "number", number
    odd, first_odd = (0, "") if cast is None else _first_odd(connection, table, cast)
    odd_values, unusual_values = _odd_values(connection, table, cast, is_unusual) if cast and odd else ((), ())
    distinct, low, high, decimals = _range(connection, table, text, cast)
    grouped = f"SELECT {text.value} AS value, COUNT(*) FROM {table.sql} WHERE {text.value} IS NOT NULL GROUP BY value ORDER BY value"  # noqa: S608 - constant or quoted names
    values = connection.execute(f"{grouped} LIMIT {_LEVELS_MAX}").fetchall()
    return ColumnFacts(
        name=name,
        kind=kind,
        declared="text" if table.has_text_file else column.type.lower(),
        missing=rows - known,
        distinct=distinct,
        low=low,
        high=high,
        examples=tuple(str(value) for value, _ in values[:_EXAMPLES]),
        levels={str(value): int(count) for value, count in values} if distinct <= _LEVELS_MAX else {},
        decimals=decimals,
        odd=odd,
        first_odd=first_odd,
        odd_values=odd_values,
        unusual_values=unusual_values,
        time_formats=formats,
        has_zone=has_zone,
    )


def _has_zone(connection: duckdb.DuckDBPyConnection, table: RawTable, name: str, reading: ReadingSpec) -> bool:
    """Return whether a column of times has a zone or an offset, and the user states no zone."""
    column = table.find(name)
    if column is None or not column.is_text:
        return column is not None and column.type == "TIMESTAMP WITH TIME ZONE" and reading.time_zone is None
    stated = reading.model_copy(update={"years": ALL_YEARS})
    cast = time_cast(table, name, name, stated, "'XX'", reading.missing)
    query = f"SELECT COALESCE(BOOL_OR({cast.problem} = 'HAS_ZONE'), false) FROM {table.sql}"  # noqa: S608 - constant or quoted names
    return bool(connection.execute(query).fetchall()[0][0])


def _time_casts(table: RawTable, name: str, reading: ReadingSpec) -> dict[str, ColumnCast]:
    """Return the casts of a column to times by the formats to try; "" is ISO 8601 or a declared type."""
    column = table.find(name)
    assert column is not None
    any_year = reading.model_copy(update={"years": ALL_YEARS})
    if not column.is_text and column.type not in (*INTEGER_TYPES, *FLOAT_TYPES):
        return {"": _time_cast(table, name, any_year, None)}  # a declared time has no format
    casts = {known or "": _time_cast(table, name, any_year, known) for known in _TIME_FORMATS}
    if has_word(name, TIME_WORDS):
        usual = reading.model_copy(update={"years": _USUAL_YEARS})
        for known in _NUMERIC_TIME_FORMATS:
            cast = _time_cast(table, name, usual, known)
            casts[known] = replace(cast, value=f"CASE WHEN ({cast.value}) {cast.span} THEN {cast.value} END")
    return casts


def _time_cast(table: RawTable, name: str, reading: ReadingSpec, time_format: str | None) -> ColumnCast:
    """Return the cast of a column to times in a format; None is ISO 8601. Times with an offset are converted to UTC."""
    stated = reading.model_copy(update={"time_format": reading.time_format or time_format, "time_zone": "UTC"})
    return time_cast(table, name, name, stated, "'XX'", reading.missing)


def _first_odd(connection: duckdb.DuckDBPyConnection, table: RawTable, cast: ColumnCast) -> tuple[int, str]:
    """Return the number of odd values, and the first one with its place."""
    found = find_unreadable(connection, table, [cast])
    return sum(one.count for one in found), f"{found[0].example!r} in {found[0].place}" if found else ""


def _odd_values(
    connection: duckdb.DuckDBPyConnection, table: RawTable, cast: ColumnCast, is_unusual: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the distinct odd values if there are at most 5, and separately the first 5 numbers in an unusual spelling."""
    unusual = is_unusual if cast.kind == "number" else "false"
    odd, numbers = (
        tuple(
            str(value)
            for (value,) in connection.execute(
                f"SELECT DISTINCT {cast.written} FROM {table.sql} WHERE {cast.problem} IS NOT NULL AND {condition} ORDER BY 1"  # noqa: S608 - constant or quoted names
            ).fetchmany(_ODD_VALUES_MAX + 1)
        )
        for condition in (f"NOT ({unusual})", f"({unusual})")
    )
    return odd if len(odd) <= _ODD_VALUES_MAX else (), numbers[:_ODD_VALUES_MAX]


def _range(
    connection: duckdb.DuckDBPyConnection, table: RawTable, text: ColumnCast, cast: ColumnCast | None
) -> tuple[int, str, str, int]:
    """Return the number of distinct values, the lowest and highest as text, and the largest number of decimals."""
    if cast is None:
        query = f"SELECT COUNT(DISTINCT {text.value}) FROM {table.sql}"  # noqa: S608 - constant or quoted names
        return int(connection.execute(query).fetchall()[0][0]), "", "", 0
    steps = " ".join(
        f"WHEN abs(v - round(v, {count})) < {_FLOAT_NOISE} THEN {count}" for count in range(1, _DECIMALS_MAX)
    )
    counted = f"CASE WHEN v IS NULL OR v = trunc(v) THEN 0 {steps} ELSE {_DECIMALS_MAX} END"
    decimals = f"COALESCE(MAX({counted}), 0)" if cast.kind == "number" else "0"
    # Python cannot represent every time of the database, so times are returned as text.
    ends = "MIN(v), MAX(v)" if cast.kind == "number" else "CAST(MIN(v) AS VARCHAR), CAST(MAX(v) AS VARCHAR)"
    values = f"(SELECT {text.value} AS t, {cast.value} AS v FROM {table.sql})"  # noqa: S608 - constant or quoted names
    query = f"SELECT COUNT(DISTINCT t), {ends}, {decimals} FROM {values}"  # noqa: S608 - as above
    distinct, low, high, most_decimals = connection.execute(query).fetchall()[0]
    if low is None:  # no number is readable
        return int(distinct), "", "", 0
    if cast.kind == "number":
        return int(distinct), f"{low:.10g}", f"{high:.10g}", int(most_decimals)
    return int(distinct), str(low)[:_DAY_CHARACTERS], str(high)[:_DAY_CHARACTERS], 0
