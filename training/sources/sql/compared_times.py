"""Reads the columns of days and times that an expression of the spec uses as times, and not as their texts."""

import re
from collections.abc import Iterable, Mapping

import duckdb

from training.errors import DataInvalid, SpecInvalid, quote_name
from training.sources.reader.casts import key_cast, time_cast
from training.sources.reader.raw_table import RawTable, quote_literal
from training.sources.reader.unreadable import find_unreadable, refuse_unreadable
from training.sources.sql.expressions import column_uses, parsed_columns
from training.spec import LogSpec, TableSpec
from training.spec.reading import ALL_YEARS, ReadingSpec

ISO_DAY = r"\d{4}-\d{2}-\d{2}([ T].*)?"
_ANY_DAY = r"\d{1,4}([./-])\d{1,2}\1\d{1,4}([ T].*)?"


def time_value(table: RawTable, field: str, expression: str, name: str, reading: ReadingSpec) -> str:
    """Return the SQL expression of a column as times of the market; "" if the expression does not use it as times.

    A column with a time zone is always one of times. A column of text is one if the expression compares it by its order with a
    day, because the texts of days have another order unless they are ISO days.

    Raises:
        SpecInvalid: The expression compares the column with a day, but its values are not days, or the day is not an ISO day.
        DataInvalid: The column has a time zone, and the spec does not state the zone of the market.
    """
    column = table.find(name)
    assert column is not None
    if column.type == "TIMESTAMP WITH TIME ZONE":
        return _time_with_zone(table, field, name, reading)
    uses = column_uses(expression)
    texts = uses.ordered_with.get(name, set())
    if not column.is_text or name in uses.texts | uses.numbers or not texts:
        return ""
    value = ""
    if any(re.fullmatch(ISO_DAY, text) for text in texts):
        value = _time_of_text(table, name, reading)
    check_order(field, expression, name, texts, has_times=bool(value))
    return value


def check_parsed_times(connection: duckdb.DuckDBPyConnection, table: RawTable, field: str, expression: str) -> None:
    """Raise DataInvalid if strptime would read a text with a pattern that it does not have.

    DuckDB reads the year 19 in 31.12.19 with %Y, and 130 as 13:00 with %H%M.
    """
    for name, pattern in parsed_columns(expression):
        column = table.find(name)
        if column is None or not column.is_text:
            continue
        exact = ReadingSpec(time_format=pattern, time_zone="UTC", years=ALL_YEARS)
        cast = time_cast(table, name, field, exact, "''")
        inexact = f"{cast.value} IS NULL AND try_strptime({cast.written}, {quote_literal(pattern)}) IS NOT NULL"
        query = f"SELECT COUNT(*), ANY_VALUE({cast.written}) FROM {table.sql} WHERE {inexact}"  # noqa: S608 - quoted
        count, example = connection.execute(query).fetchall()[0]
        if count:
            raise DataInvalid(
                f"column {quote_name(name)}: {count:,} values such as {example!r} do not have the format {pattern!r} of {field} exactly; "
                "correct the pattern (%y is a year of two digits), or the values"
            )


def check_order(field: str, expression: str, name: str, texts: Iterable[str], *, has_times: bool) -> None:
    """Raise SpecInvalid if an expression compares days by their order, but not as days.

    Args:
        field: The field of the spec with the expression.
        expression: The expression.
        name: The column.
        texts: The texts with which the expression compares it by its order.
        has_times: Whether the values of the column are all times.
    """
    for text in sorted(texts):
        is_iso = re.fullmatch(ISO_DAY, text)
        if is_iso and not has_times:
            raise SpecInvalid(
                f"{field}: {expression!r} compares {quote_name(name)} with a day, but its values are not all days or times; set "
                f"time_format in [{_section(field)}] to their format, or correct the values"
            )
        if re.fullmatch(_ANY_DAY, text) and not is_iso:
            raise SpecInvalid(
                f"{field}: {expression!r} compares {quote_name(name)} with {text!r}, whose order as text is not that of the days; "
                "write an ISO day such as '2026-01-31'"
            )


def refuse_zone(field: str, name: str) -> None:
    """Raise DataInvalid for a column with a time zone if the spec does not state the zone of the market."""
    section = _section(field)
    raise DataInvalid(
        f"{field}: the times in column {quote_name(name)} have a time zone; set time_zone in [{section}], such as time_zone = "
        '"Europe/Berlin", to the zone in which a day of the market begins'
    )


def _section(field: str) -> str:
    """Return the section of the spec that describes the file of an expression."""
    return "log" if field.startswith("log.") else "table"


def _time_with_zone(table: RawTable, field: str, name: str, reading: ReadingSpec) -> str:
    """Return the SQL expression of the local times of a column with a time zone."""
    market = _market(table, reading)
    if reading.time_zone is None or (isinstance(reading.time_zone, Mapping) and not market):
        refuse_zone(field, name)
    any_year = reading.model_copy(update={"years": ALL_YEARS})
    cast = time_cast(table, name, field, any_year, market or "''", reading.missing)
    with duckdb.connect() as connection:
        rows = int(connection.execute(f"SELECT COUNT(*) FROM {table.sql}").fetchall()[0][0])  # noqa: S608 - quoted
        refuse_unreadable(table, reading, find_unreadable(connection, table, [cast]), rows)
    return cast.value


def _time_of_text(table: RawTable, name: str, reading: ReadingSpec) -> str:
    """Return the SQL expression of the times of a column of text; "" if its values are not all times."""
    for time_format in dict.fromkeys((reading.time_format, None)):
        stated = reading.model_copy(update={"time_format": time_format, "years": ALL_YEARS})
        cast = time_cast(table, name, "", stated, _market(table, reading) or "''", reading.missing)
        with duckdb.connect() as connection:
            if not find_unreadable(connection, table, [cast]):
                return cast.value
    return ""


def _market(table: RawTable, reading: ReadingSpec) -> str:
    """Return the SQL expression of the market of a row; "" if it is computed from other columns or not known."""
    name: object = None
    if isinstance(reading, TableSpec):
        name = reading.market_column
    elif isinstance(reading, LogSpec):
        name = reading.columns.market
    if isinstance(name, str):
        return key_cast(table, name, "", "market").value if table.find(name) else ""
    market = reading.market if isinstance(reading, TableSpec | LogSpec) else None
    return quote_literal(market) if market else ""
