"""Loads a table of customers into a temporary database, and describes the content of its columns."""

import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import duckdb

from training.errors import DataInvalid
from training.sources.derived_columns import ColumnDerivation, add_derived_columns
from training.sources.reader.casts import FLOAT_TYPES, INTEGER_TYPES, number_cast, text_cast, time_cast
from training.sources.reader.joined_lines import check_joined_lines
from training.sources.reader.number_format import ANY_COLUMN, CODE_START, NumberColumns, unusual_sql
from training.sources.reader.raw_table import RawColumn, RawTable, read_strictly
from training.sources.source_tables import open_source
from training.spec import ReadingSpec
from training.spec.reading import ALL_YEARS
from training.spec.sources import SourceEntry

RECORD = "record"  # column of the table `cells` with the number of the record in the file
_HERE = Path()
ColumnContent = Literal["empty", "number", "unusual", "text", "time", "mixed", "unsupported"]
_ANY_ZONE = ReadingSpec(time_zone="UTC", years=ALL_YEARS)  # whether a column has times does not depend on the zone
_NUMERIC_SHARE = 0.5  # a column of text with a larger share of numbers is meant to be numeric
_UNUSUAL_SHARE = 0.9  # so is one with this share of numbers in any spelling

_SUPPORTED_TYPES = (
    "VARCHAR",
    "ENUM",
    "BOOLEAN",
    *INTEGER_TYPES,
    *FLOAT_TYPES,
    "DECIMAL",
    "DATE",
    "TIMESTAMP",
    '"NULL"',
)


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """The content of a column.

    Attributes:
        content: "empty" if there is no value; "number" if every value is a number; "unusual" if every value is a number,
            but at least one is in an unusual spelling, such as 5 %, 5 kr or (1,200.00), or if most values are in such a spelling; "time" if every value is an ISO day or time; "mixed" if most values, but not all, are numbers; "unsupported" if the declared type is not
            supported; otherwise "text".
        known: Number of values that are not missing.
        distinct: Number of different values.
        unreadable: Number of values that are not numbers.
        first_odd: The first value that is not a number, with its place; "" if there is none.
        is_integer: True if every value is a whole number that is written without decimals.
        first_code: The first value with a leading zero, such as 0111, with its place; "" if there is none.
    """

    content: ColumnContent
    known: int
    distinct: int
    unreadable: int = 0
    first_odd: str = ""
    is_integer: bool = False
    first_code: str = ""


@dataclass(frozen=True, slots=True)
class LoadedTable:
    """A table in a temporary database.

    Attributes:
        connection: Connection to the database. Its table `cells` has the columns c1, c2, ... and the column `record`.
        raw: The table; `raw.sql` is `cells`.
        rows: Number of rows of the file.
    """

    connection: duckdb.DuckDBPyConnection
    raw: RawTable
    rows: int

    def profile(self, column: RawColumn, reading: ReadingSpec) -> ColumnProfile:
        """Return the profile of a column, computed from the rows that are still in `cells`."""
        if column.is_nested or not column.type.startswith(_SUPPORTED_TYPES):
            return ColumnProfile("unsupported", 0, 0)
        text = text_cast(self.raw, column.name, "", reading.missing)
        number = number_cast(self.raw, column.name, "", reading.missing)
        is_code = f"regexp_matches({text.value}, '{CODE_START}')"
        time = time_cast(self.raw, column.name, "", _ANY_ZONE, "NULL", reading.missing)
        is_integer = f"regexp_full_match({text.value}, '[+-]?[0-9]{{1,18}}')"
        _, unusual = unusual_sql(text.value, number.problem, number.value)
        query = f"""SELECT COUNT({text.value}), COUNT(DISTINCT {text.value}), COUNT({number.value}), COUNT({number.problem}),
            COUNT(*) FILTER ({is_code}), {unusual}, COUNT({time.value}), COALESCE(BOOL_AND({is_integer}), false),
            MIN({RECORD}) FILTER ({number.problem} IS NOT NULL), ARG_MIN({text.value}, {RECORD}) FILTER ({number.problem} IS NOT NULL),
            MIN({RECORD}) FILTER ({is_code}), ARG_MIN({text.value}, {RECORD}) FILTER ({is_code})
            FROM cells"""  # noqa: S608 - constant names, quoted text
        row = self.connection.execute(query).fetchall()[0]
        known, distinct, numbers, unreadable, codes, unusually, times, integer, first, odd, *code = row
        first_odd = "" if first is None else f"{str(odd)!r} in {self.raw.places([first])[0]}"
        if column.is_text and codes and known:
            first_code = f"{str(code[1])!r} in {self.raw.places([code[0]])[0]}"
            return ColumnProfile("text", known, distinct, known, first_code=first_code)
        kinds: dict[ColumnContent, bool] = {
            "empty": known == 0 or (numbers == 0 and unreadable == 0),
            "number": not unreadable,
            "time": times == known,
            "unusual": unusually == unreadable or _are_unusual(numbers, unusually, known),
            "mixed": numbers > _NUMERIC_SHARE * known,
        }
        content: ColumnContent = next((kind for kind, applies in kinds.items() if applies), "text")
        if content in {"empty", "number"}:
            return ColumnProfile(content, known, distinct, is_integer=content == "number" and bool(integer))
        return ColumnProfile(content, known, distinct, unreadable, first_odd)


def _are_unusual(numbers: int, unusually: int, known: int) -> bool:
    """Return whether a column is meant to be numeric, although numbers in an unusual spelling hide it."""
    is_hidden = numbers <= _NUMERIC_SHARE * known and numbers + unusually >= _UNUSUAL_SHARE * known
    return unusually > 0 and (unusually > _NUMERIC_SHARE * known or is_hidden)


@contextmanager
def load_table(
    source: SourceEntry,
    reading: ReadingSpec,
    numeric: NumberColumns = ANY_COLUMN,
    derivations: Collection[ColumnDerivation] = (),
    folder: Path = _HERE,
) -> Iterator[LoadedTable]:
    """Load a source into a temporary database, which exists until the block ends.

    Args:
        source: The file or files, or the query.
        reading: Fields of the spec about the format.
        numeric: Names of the columns that have numbers, or the columns that have none.
        derivations: The columns to compute.
        folder: Folder of the spec file.

    Raises:
        DataInvalid: The file is unreadable, or has no rows.
    """
    with tempfile.TemporaryDirectory(prefix="grounds-") as name:
        temporary = Path(name)
        with duckdb.connect(
            f"{name}/table.duckdb", config={"temp_directory": name, "python_enable_replacements": False}
        ) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            raw = open_source(source, reading, folder, temporary, numeric)
            raw = add_derived_columns(raw, derivations, reading, folder, temporary)

            def copy_rows(source: RawTable) -> None:
                connection.execute(
                    f"CREATE OR REPLACE TABLE cells AS SELECT row_number() OVER () AS {RECORD}, * FROM {source.sql}"  # noqa: S608 - quoted
                )

            read_strictly(raw, temporary, copy_rows)
            rows = int(connection.execute("SELECT COUNT(*) FROM cells").fetchall()[0][0])
            if rows == 0:
                raise DataInvalid(f"{raw.name}: has no rows; use a table with at least one row")
            check_joined_lines(connection, raw, rows, f"(SELECT * FROM cells ORDER BY {RECORD})")  # noqa: S608 - a constant
            yield LoadedTable(connection, replace(raw, sql="cells"), rows)
