"""Finds the rows of a table for which a condition of the spec is true.

A condition sees numbers as numbers, days and times as the local time of the market, and everything else as text, as the
file writes it.
"""

import re
from dataclasses import dataclass

import duckdb

from training.errors import SpecInvalid
from training.sources.derived_columns import DIGITS_MAX, digits_of, exact_number, plain_number
from training.sources.loaded_table import RECORD, LoadedTable
from training.sources.reader.casts import (
    FLOAT_TYPES,
    INTEGER_TYPES,
    ColumnCast,
    key_cast,
    number_cast,
    text_cast,
    time_cast,
)
from training.sources.reader.raw_table import RawColumn, quote_literal
from training.sources.reader.unreadable import find_unreadable, refuse_unreadable
from training.sources.sql.compared_times import ISO_DAY, check_order, check_parsed_times, refuse_zone
from training.sources.sql.expressions import ColumnUses, column_uses, referenced_columns, rename_columns, text_columns
from training.sources.sql.rejections import rejection_with_types
from training.spec import TableSpec
from training.spec.reading import ALL_YEARS

_COMPARE = "compare a number with a number, text with a quoted text, and a day or time with a quoted ISO day such as '2026-01-31'"


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition of the spec.

    Attributes:
        field: The field of the spec with the condition, for messages.
        where: The SQL condition.
    """

    field: str
    where: str

    def matching_records(self, loaded: LoadedTable, table: TableSpec) -> list[int]:
        """Return the records for which the condition is true; false and NULL do not match.

        Args:
            loaded: The table.
            table: The [table] of the spec, with the names of the columns that it computes.

        Raises:
            SpecInvalid: The condition is invalid.
        """
        columns = [column.name for column in loaded.raw.columns]
        names = referenced_columns(self.field, self.where, columns)
        check_parsed_times(loaded.connection, loaded.raw, self.field, self.where)
        values = [self._typed_sql(loaded, table, name) for name in names]
        # The names v0, v1, ... are unambiguous even if names of columns differ only in case.
        sql = rename_columns(self.field, self.where, {name: f"v{number}" for number, name in enumerate(names)})
        listed = ", ".join([RECORD, *(f"{value} AS v{number}" for number, value in enumerate(values))])
        rows = loaded.connection.sql(f"SELECT {listed} FROM cells").to_arrow_table()  # noqa: S608 - quoted
        with duckdb.connect(config={"enable_external_access": "false"}) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.register("numbered", rows)
            described = connection.execute("DESCRIBE SELECT * FROM numbered").fetchall()
            types = dict(zip(names, (str(row[1]) for row in described[1:]), strict=True))
            try:
                # The condition of the spec can only access the data in memory.
                kind = connection.execute(f"DESCRIBE SELECT {sql} FROM numbered").fetchall()[0][1]  # noqa: S608 - checked
                if kind != "BOOLEAN":
                    raise SpecInvalid(
                        f"{self.field}: must be true or false for each row, but {self.where!r} computes another value; write a comparison, "
                        "such as age < 18"
                    )
                found = connection.execute(f"SELECT {RECORD} FROM numbered WHERE {sql}").fetchall()  # noqa: S608 - checked
            except duckdb.Error as error:
                raise SpecInvalid(
                    f"{self.field}: {self.where!r} {rejection_with_types(error, types)}; correct the condition: {_COMPARE}"
                ) from error
        return [int(record) for (record,) in found]

    def _typed_sql(self, loaded: LoadedTable, table: TableSpec, name: str) -> str:
        """Return the SQL expression of a column in the type in which the condition sees it.

        A column that the condition compares with a quoted text is text, because 01 and 1 are different codes there. Days
        and times in any format are times, because their texts have another order.
        """
        uses, column = column_uses(self.where), loaded.raw.find(name)
        assert column is not None
        text = text_cast(loaded.raw, name, "", table.missing).value
        is_text = name in {table.customer_id, table.market_column} or name in text_columns(self.where)
        time = None if name in uses.texts | uses.numbers else _time_of(loaded, table, column)
        if time is None and column.type == "TIMESTAMP WITH TIME ZONE":
            refuse_zone(self.field, name)
        if name in uses.ordered_with and column.is_text:
            check_order(self.field, self.where, name, uses.ordered_with[name], has_times=time is not None)
        if time is not None and not _is_only_other_text(uses, name):
            return time.value
        if not column.is_text:
            return text if is_text and column.type in (*INTEGER_TYPES, *FLOAT_TYPES) else column.sql
        profile = loaded.profile(column, table)
        if is_text or profile.content not in {"number", "mixed"}:
            return text
        return self._number_sql(loaded, table, name)

    def _number_sql(self, loaded: LoadedTable, table: TableSpec, name: str) -> str:
        """Return the SQL expression of the numbers of a column of text.

        Raises:
            DataInvalid: A larger share of the values than the spec allows is not a number, so that no condition would find it.
        """
        number = number_cast(loaded.raw, name, self.field, table.missing)
        refuse_unreadable(
            loaded.raw, table, find_unreadable(loaded.connection, loaded.raw, [number], RECORD), loaded.rows
        )
        plain = plain_number(loaded.raw, number, text_cast(loaded.raw, name, "", table.missing))
        query = f"SELECT {', '.join(f'MAX({each})' for each in digits_of(plain))} FROM cells"  # noqa: S608 - quoted
        digits, decimals = loaded.connection.execute(query).fetchall()[0]
        value = exact_number(number, plain, digits or 0, decimals or 0)
        return f"CAST({value} AS BIGINT)" if not decimals and (digits or 0) <= DIGITS_MAX else value


def _is_only_other_text(uses: ColumnUses, name: str) -> bool:
    """Return whether a condition only tests a column of times for equality with texts that are no ISO times."""
    return (
        name in uses.equal_to
        and name not in uses.ordered_with
        and not any(re.fullmatch(ISO_DAY, text) for text in uses.equal_to[name])
    )


def _time_of(loaded: LoadedTable, table: TableSpec, column: RawColumn) -> ColumnCast | None:
    """Return the cast of a column of days or times to the local time of the market; None for any other column.

    The column of the time of each row has the time_format of the spec. Another column may also have ISO times.
    """
    market = quote_literal(table.market or "")
    if table.market_column is not None:
        market = key_cast(loaded.raw, table.market_column, "", "market").value
    if column.name == table.as_of_column:
        return time_cast(loaded.raw, column.name, "", table, market, table.missing)
    if not column.is_text:
        has_zone = column.type == "TIMESTAMP WITH TIME ZONE" and table.time_zone is not None
        return time_cast(loaded.raw, column.name, "", table, market, table.missing) if has_zone else None
    if loaded.profile(column, table).content in {"number", "mixed", "empty"}:
        return None  # 20190131 and 43496 may be days, but also numbers
    for time_format in dict.fromkeys((table.time_format, None)):
        reading = table.model_copy(update={"time_format": time_format, "years": ALL_YEARS})
        cast = time_cast(loaded.raw, column.name, "", reading, market, table.missing)
        if not find_unreadable(loaded.connection, loaded.raw, [cast], RECORD):
            return cast
    return None
