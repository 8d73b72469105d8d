"""Opens a file as a raw table: the cells of a text file as text, or the columns of Parquet in their declared types.

In SQL, the columns have the names c1, c2, ... by position, because the names in the file may be invalid or ambiguous.
"""

import csv
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from training.errors import DataInvalid, SpecInvalid, quote_name, shorten_list, shorten_name
from training.sources.reader.number_format import (
    ANY_COLUMN,
    CODE_START,
    AllColumnsExcept,
    NumberColumns,
    NumberFormat,
    detect_number_format,
    is_number_like,
)
from training.sources.reader.text_format import (
    SAMPLE_RECORDS,
    TextFormat,
    check_column_count,
    check_is_file,
    detect_text_format,
    is_parquet,
    plain_name,
)
from training.spec.reading import ReadingSpec

_Result = TypeVar("_Result")
_CHUNK_CHARACTERS = 1 << 20
_COLUMNS_SHOWN = 20
_NANOSECOND_TYPES = {"TIMESTAMP_NS", "TIMESTAMPTZ_NS"}
_FLOATS = {"FLOAT", "DOUBLE"}
_EMPTY_IS_MISSING = "(SELECT NULLIF(COLUMNS(*), '') FROM "
_UNITS_OF_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclass(frozen=True, slots=True)
class RawColumn:
    """One column of a raw table.

    Attributes:
        name: The name as the owner of the file wrote it.
        sql: The name in RawTable.sql.
        type: The DuckDB type; VARCHAR for every column of a text file.
        numbers: The format of numbers if the column is text but a database stored numbers; None for the format of the table.
        inputs: The columns from which the spec computes the column; None for a column of the source.
        note: What a person must know about how the column was computed; "" if there is nothing.
    """

    name: str
    sql: str
    type: str
    numbers: NumberFormat | None = None
    inputs: tuple[str, ...] | None = None
    note: str = ""

    @property
    def is_text(self) -> bool:
        """Return whether the values are text; Parquet stores the levels of a category as ENUM."""
        return self.type == "VARCHAR" or (self.type.startswith("ENUM") and not self.is_nested)

    @property
    def is_decimal(self) -> bool:
        """Return whether the values are exact decimals."""
        return self.type.startswith("DECIMAL") and not self.is_nested

    @property
    def is_binary(self) -> bool:
        """Return whether the column has bytes that are not UTF-8. Bytes that are all UTF-8 are read as text."""
        return self.type == "BLOB"

    @property
    def is_nested(self) -> bool:
        """Return whether a value consists of several values, as in a list."""
        return self.type.endswith("]") or self.type.startswith(("STRUCT", "MAP", "UNION"))


@dataclass(frozen=True, slots=True)
class RawTable:
    """A table whose values have not been cast yet.

    Attributes:
        name: The name of the file, for messages.
        sql: DuckDB table expression with the columns c1, c2, ... in the order of the file.
        columns: The columns, in the same order.
        digest: SHA-256 of the file.
        numbers: The format of numbers in columns of text.
        confirmation: One line that states how the file is read.
        places: Function that returns the place of each given record in the file, e.g. "line 17". The first record after
            the header has the number 1. The argument lists the numbers in ascending order.
        text: The format of a text file; None for other sources.
        is_ascii: True if every text of the table is known to consist of ASCII characters.
        has_text_file: True if a file of the table is a text file, whose columns a query parses all.
        quoted_text: The format of a text file that may have quotation marks, also if the spec computes columns; None for others.
        expressions: The SQL expressions of the spec that compute columns of the table.
    """

    name: str
    sql: str
    columns: tuple[RawColumn, ...]
    digest: str
    numbers: NumberFormat
    confirmation: str
    places: Callable[[Sequence[int]], list[str]]
    text: TextFormat | None = None
    is_ascii: bool = False
    has_text_file: bool = False
    expressions: tuple[str, ...] = ()
    quoted_text: TextFormat | None = None

    @property
    def uncast_sql(self) -> str:
        """Return `sql` without the query that makes each empty cell of a text file a missing value.

        A cast makes it one anyway, so a query that only casts is faster without it.
        """
        if not self.sql.startswith(_EMPTY_IS_MISSING):
            return self.sql
        return self.sql.removeprefix(_EMPTY_IS_MISSING).removesuffix(")")

    def find(self, name: str) -> RawColumn | None:
        """Return the column of a name, or None."""
        plain = plain_name(name)
        return next((column for column in self.columns if column.name == plain), None)

    def require(self, wanted: Mapping[str, str]) -> dict[str, RawColumn]:
        """Return the columns of the given names by field of the spec.

        Raises:
            SpecInvalid: A column is missing; the message lists every missing column with its field.
        """
        found = {field: self.find(name) for field, name in wanted.items()}
        if missing := [f"  {field}: {quote_name(wanted[field])}" for field, column in found.items() if column is None]:
            raise SpecInvalid(
                "\n".join(
                    [
                        f"{self.name}: lacks columns of the spec:",
                        *shorten_list(missing, _COLUMNS_SHOWN // 2, "  "),
                        f"columns of the file: {self._column_list()}; {self._hint_of_names}",
                    ]
                )
            )
        return {field: column for field, column in found.items() if column is not None}

    @property
    def _hint_of_names(self) -> str:
        """Return what to do if columns of the spec are missing."""
        if self.text is None or len(self.columns) > 1:
            return "correct the names in the spec"
        return (
            f"the file has a single column if its separator is {self.text.separator_name}: set separator in the spec, write the "
            "file with one of the separators , ; | or tab, or correct the names in the spec"
        )

    def _column_list(self) -> str:
        """Return the names of the first columns."""
        names = [
            shorten_name(column.name) or f"(column {number} has no name)"
            for number, column in enumerate(self.columns, 1)
        ]
        return ", ".join(shorten_list(names, _COLUMNS_SHOWN, ""))


def open_file(
    path: Path, reading: ReadingSpec, folder: Path, numeric: NumberColumns = ANY_COLUMN, option: str = "--data"
) -> RawTable:
    """Open a Parquet file, or a text file in any format.

    Args:
        path: The file.
        reading: Fields of the spec about the format; the other properties of the format are detected.
        folder: Folder for temporary files, which must exist as long as the table is used.
        numeric: Names of the columns that have numbers, or the columns that have none.
        option: Option of the command line that specifies a different file.

    Raises:
        DataInvalid: The file does not exist, is unreadable, or its format is ambiguous.
    """
    check_is_file(path, option)
    return _open_parquet(path, reading, numeric) if is_parquet(path) else _open_text(path, reading, folder, numeric)


def _open_parquet(path: Path, reading: ReadingSpec, numeric: NumberColumns) -> RawTable:
    """Open a Parquet file. The number format that the spec may state applies to columns of text only."""
    try:
        schema = pq.read_schema(path)
        check_column_count(path.name, len(schema.names))
        names = [plain_name(name) for name in schema.names]
        with duckdb.connect() as connection:
            source = _parquet_sql(connection, path, schema.types)
            described = connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()  # noqa: S608 - quoted
            columns = tuple(
                RawColumn(name, str(row[0]), str(row[1])) for name, row in zip(names, described, strict=True)
            )
            texts = {column.name: _first_texts(connection, source, column) for column in columns if column.is_text}
    except (pa.ArrowException, OSError, duckdb.Error) as error:
        raise DataInvalid(
            f"{path.name}: cannot be read as Parquet; the file is damaged or incomplete: export it again"
        ) from error
    if repeated := sorted({name for name in names if name and names.count(name) > 1}):
        listed = ", ".join(shorten_list([*map(quote_name, repeated)], _COLUMNS_SHOWN, ""))
        raise DataInvalid(f"{path.name}: duplicate columns: {listed}; rename all but one")
    numbers = detect_number_format(path.name, "", _number_cells(texts, reading, numeric), reading)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    line = f"{path.name}: read as Parquet with {len(columns)} columns in their declared types"
    return RawTable(path.name, source, columns, digest, numbers, line, row_places)


def _first_texts(connection: duckdb.DuckDBPyConnection, source: str, column: RawColumn) -> list[str]:
    """Return the first cells of a column of text."""
    query = f"SELECT COALESCE(CAST({column.sql} AS VARCHAR), '') FROM {source} LIMIT {SAMPLE_RECORDS}"  # noqa: S608 - quoted
    return [str(cell) for (cell,) in connection.execute(query).fetchall()]


def floor_to_microseconds(value: str, kind: str) -> str:
    """Return the SQL expression of a time in nanoseconds as one in microseconds, without the digits that this loses.

    A cast would round 23:59:59.999999999 to the next day.

    Args:
        value: The SQL expression of the time.
        kind: Its type, TIMESTAMP_NS or TIMESTAMPTZ_NS.
    """
    with_zone = "tz" if kind == "TIMESTAMPTZ_NS" else ""
    cast = f"CAST({value} AS TIMESTAMP{with_zone.upper()})"
    # An integer division rounds toward 0, that is, up before 1970.
    floor = f"(epoch_ns({value}) - CASE WHEN epoch_ns({value}) < 0 THEN 999 ELSE 0 END) // 1000"
    return f"CASE WHEN isfinite({cast}) THEN make_timestamp{with_zone}({floor}) ELSE {cast} END"


def _parquet_sql(connection: duckdb.DuckDBPyConnection, path: Path, stored: Sequence[pa.DataType]) -> str:
    """Return the table expression of a Parquet file, in whose types every value has its meaning.

    Old writers store text as bytes, and do not declare it as text. A column of bytes is read as text if all of its
    values are UTF-8. Otherwise it remains a column of bytes, and only a spec that uses it is rejected. Parquet stores a
    duration as an integer; it is read as an INTERVAL, which is not a number.
    """
    source = aliased_sql(f"read_parquet({quote_path(path)}, hive_partitioning = false)", len(stored))
    described = connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()  # noqa: S608 - quoted
    types = {str(row[0]): str(row[1]) for row in described}
    values = {name: floor_to_microseconds(name, kind) for name, kind in types.items() if kind in _NANOSECOND_TYPES}
    # The statistics of Parquet ignore NaN, so DuckDB assumes that a column with statistics has none and that isnan is false.
    # TRY hides the statistics from it.
    values |= {name: f"TRY({name})" for name, kind in types.items() if kind in _FLOATS}
    values |= {
        name: f"to_microseconds(CAST({name} / {_UNITS_OF_SECOND[kind.unit]} * 1000000 AS BIGINT))"
        for name, kind in zip(types, stored, strict=True)
        if pa.types.is_duration(kind)
    }
    if binary := [name for name, kind in types.items() if kind == "BLOB"]:
        checks = ", ".join(f"COUNT(*) FILTER ({name} IS NOT NULL AND TRY(decode({name})) IS NULL)" for name in binary)
        invalid = connection.execute(f"SELECT {checks} FROM {source}").fetchall()[0]  # noqa: S608 - constant names
        values |= {name: f"decode({name})" for name, count in zip(binary, invalid, strict=True) if not count}
    if not values:
        return source
    return aliased_sql(f"(SELECT {', '.join(values.get(name, name) for name in types)} FROM {source})", len(types))  # noqa: S608 - constant names


def row_places(records: Sequence[int]) -> list[str]:
    """Return the places of records of a file that has no lines, such as Parquet: their row numbers."""
    return [f"row {record:,}" for record in records]


def aliased_sql(source: str, count: int) -> str:
    """Return a table expression whose columns have the names c1, c2, ..."""
    return f"{source} AS raw({', '.join(f'c{number}' for number in range(1, count + 1))})"


def _open_text(path: Path, reading: ReadingSpec, folder: Path, numeric: NumberColumns) -> RawTable:
    """Open a text file."""
    text = detect_text_format(path, reading)
    # Most irregular files show it in their first lines. Writing a regular copy raises an error that states the line.
    if any(len(record) != len(text.header) for record in text.sample):
        _write_regular_copy(text, folder)
    columns = tuple(RawColumn(name, f"c{number}", "VARCHAR") for number, name in enumerate(text.header, 1))
    cells = _number_cells(_sample_cells(text), reading, numeric)
    numbers = detect_number_format(path.name, text.separator, cells, reading)
    thousands = f", thousands {numbers.thousands!r}" if numbers.thousands else ""
    assumed = f" (assumed: {text.assumed_word!r} must be a word, otherwise set encoding)" if text.assumed_word else ""
    compression = "" if text.compression == "none" else f", {text.compression}"
    line = (
        f"{path.name}: read as text with {len(columns)} columns: separator {text.separator_name}, decimal {numbers.decimal!r}"
        f"{thousands}, encoding {text.encoding}{assumed}{compression}"
    )
    if text.has_plain_bytes:
        source = _csv_sql(path, text.separator, text.first_lines, len(columns), "none")
    elif text.encoding == "utf-8" and text.compression in {"gzip", "zstd"}:
        source = _csv_sql(path, text.separator, text.first_lines, len(columns), text.compression)
    else:
        source = _csv_sql(_write_utf8(text, folder), text.separator, text.first_lines, len(columns), "none")
    return RawTable(
        path.name,
        source,
        columns,
        text.digest,
        numbers,
        line,
        _line_places(text),
        text,
        text.is_ascii,
        has_text_file=True,
        quoted_text=text if text.has_quotes else None,
    )


def _sample_cells(text: TextFormat) -> dict[str, list[str]]:
    """Return the cells of the sample of a text file by column."""
    return {
        name: [record[position] for record in text.sample if position < len(record)]
        for position, name in enumerate(text.header)
    }


def _number_cells(
    texts: Mapping[str, Iterable[str]], reading: ReadingSpec, numeric: NumberColumns
) -> dict[str, list[str]]:
    """Return the cells of each column of text that has numbers.

    A column that is not known to have numbers has none if a cell is not like a number, or is a code such as 0111.
    """
    is_listed = not isinstance(numeric, AllColumnsExcept)
    names = {plain_name(name) for name in (numeric.names if isinstance(numeric, AllColumnsExcept) else numeric)}
    cells: dict[str, list[str]] = {}
    for name, column in texts.items():
        if (name in names) != is_listed:
            continue
        known = [value for cell in column if (value := cell.strip()) and value not in reading.missing]
        if is_listed or all(is_number_like(value) and not re.match(CODE_START, value) for value in known):
            cells[name] = known
    return cells


def _csv_sql(path: Path, separator: str, skip: int, count: int, compression: str) -> str:
    """Return the table expression of a UTF-8 file. It states the whole format, so DuckDB detects nothing.

    DuckDB ignores a missing value after the last column, although all cells of that line may be shifted, as in 1,234, for the
    amount 1234. Therefore only a line feed outside quotation marks, which no cell has, is a missing value for DuckDB, and
    it rejects every line with too many cells. The query around it makes an empty cell a missing value. In a file with a
    single column, no cell can be shifted, and DuckDB would skip an empty line, which is a missing value.
    """
    missing = "nullstr = E'\\n', allow_quoted_nulls = false, " if count > 1 else ""
    types = ", ".join(f"'c{number}': 'VARCHAR'" for number in range(1, count + 1))
    source = (
        f"read_csv({quote_path(path)}, auto_detect = false, hive_partitioning = false, header = true, skip = {skip}, "
        f"delim = {quote_literal(separator)}, quote = '\"', escape = '\"', compression = '{compression}', "
        f"{missing}columns = {{{types}}})"
    )
    return f"{_EMPTY_IS_MISSING}{source})"


def _write_utf8(text: TextFormat, folder: Path) -> Path:
    """Write the decompressed text of a file as UTF-8, and return the path of the new file."""
    target = folder / f"{hashlib.sha256(str(text.path).encode()).hexdigest()[:16]}.utf8.csv"
    try:
        with text.open_text() as source, target.open("w", encoding="utf-8", newline="") as file:
            while chunk := source.read(_CHUNK_CHARACTERS):
                file.write(chunk)
    except UnicodeDecodeError as error:
        for _ in text.read_records():  # raises an error that states the line
            pass
        raise DataInvalid(f"{text.path.name}: is not valid {text.encoding}; set encoding in the spec") from error
    except (EOFError, OSError) as error:
        raise DataInvalid(
            f"{text.path.name}: the {text.compression} file is damaged or incomplete; compress it again"
        ) from error
    return target


def _line_places(text: TextFormat) -> Callable[[Sequence[int]], list[str]]:
    """Return a function that returns the first line of each given record of a text file."""

    def places(records: Sequence[int]) -> list[str]:
        wanted, found = set(records), {}
        for number, (line, _) in enumerate(text.read_records(), 1):
            if number in wanted:
                found[number] = f"line {line:,}"
                if len(found) == len(wanted):
                    break
        return [found.get(record, f"record {record:,}") for record in records]

    return places


def read_strictly(table: RawTable, folder: Path, read: Callable[[RawTable], _Result]) -> _Result:
    """Return the result of a function that reads a raw table.

    DuckDB reads regular files only. If DuckDB fails, Python reads the file again, which is slower. If a line is
    invalid, the error states the first invalid line. Otherwise the file is valid but unusual (for example, it has two
    kinds of line ends), and the function reads a regular copy of the file.

    Raises:
        DataInvalid: The file is invalid.
    """
    try:
        return read(table)
    except duckdb.OutOfMemoryException as error:
        raise DataInvalid(
            f"{table.name}: does not fit into memory and the temporary folder; set TMPDIR to a larger disk"
        ) from error
    except duckdb.Error as error:
        if table.text is None:
            raise DataInvalid(_failure(table, error)) from error
        copy = _write_regular_copy(table.text, folder)
    source = _csv_sql(copy, ",", 0, len(table.columns), "none")
    try:
        return read(replace(table, sql=source))
    except duckdb.Error as error:
        raise DataInvalid(
            f"{table.name}: cannot be read as text with separator {table.text.separator_name}; set separator"
        ) from error


def _failure(table: RawTable, error: duckdb.Error) -> str:
    """Return the message for a table that is not a text file and cannot be read."""
    if not table.expressions or isinstance(error, duckdb.IOException):
        return f"{table.name}: cannot be read; the file is damaged, or a value is outside its type: export it again"
    expressions = " or ".join(map(quote_name, table.expressions))
    if isinstance(error, duckdb.OutOfRangeException) and "Overflow" in str(error):
        return (
            f"{table.name}: {expressions} exceeds the range of the whole numbers of its columns for a value; write "
            "CAST(a AS DECIMAL(38, 0)) * b instead of a * b"
        )
    value = re.search(r"[Ss]tring '(.{1,40}?)'", str(error))
    example = f", such as {value[1]!r}" if value else ""
    return (
        f"{table.name}: {expressions} cannot be computed for a value{example}; correct the "
        "value or the expression. TRY_CAST(... AS TYPE) makes a value missing that does not fit the type"
    )


def plain_reason(error: duckdb.Error) -> str:
    """Return why DuckDB rejects an expression or a query: the first line of its message, without the kind of error."""
    first_line = next(iter(str(error).splitlines()), "")
    return re.sub(r"^\w+( \w+)? Error: ", "", first_line).rstrip(" .")


def _write_regular_copy(text: TextFormat, folder: Path) -> Path:
    """Write a copy of a text file in a regular format; raise DataInvalid if a line has too few or too many cells."""
    target = folder / f"{hashlib.sha256(str(text.path).encode()).hexdigest()[:16]}.regular.csv"
    width, count, first = len(text.header), 0, ""
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow([f"c{number}" for number in range(1, width + 1)])
        for line, record in text.read_records():
            if len(record) == width:
                writer.writerow(record)
                continue
            count += 1
            first = first or f"line {line:,} has {len(record)} values, but the header has {width} columns"
    if count:
        more = f"; {count:,} lines are irregular" if count > 1 else ""
        if all(len(record) > width for record in text.sample):
            more += "; if other lines precede the line with the names of the columns, remove them"
        raise DataInvalid(
            f"{text.path.name}: {first}{more}; correct the lines, or set separator in the spec if it is not "
            f"{text.separator_name}"
        )
    return target


def quote_literal(text: str) -> str:
    """Return a string literal for SQL."""
    return "'" + text.replace("'", "''") + "'"


def quote_path(path: Path) -> str:
    """Return a string literal for SQL that DuckDB reads as one path, although it has the characters of a glob pattern.

    Raises:
        DataInvalid: The path also has a backslash, which DuckDB cannot read in a pattern.
    """
    absolute = str(path.absolute())  # a path such as ~/a.csv or file:/a.csv would have another meaning
    escaped = re.sub(r"([*?\[])", r"[\1]", absolute)
    if escaped != absolute and "\\" in absolute:
        raise DataInvalid(
            f"{path}: a path cannot have a backslash and one of the characters * ? [; rename the file or the folder"
        )
    return quote_literal(escaped)
