"""Opens the source of a family (a file, several files with the same columns, or a query) as one raw table."""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import duckdb

from training.errors import DataInvalid, SpecInvalid, quote_name, shorten_list
from training.sources.database_query import write_query_rows
from training.sources.reader.joined_lines import check_joined_lines
from training.sources.reader.number_format import ANY_COLUMN, NumberColumns, NumberFormat
from training.sources.reader.raw_table import RawColumn, RawTable, open_file, quote_literal, read_strictly
from training.sources.source_files import SourceFile, find_source_files
from training.spec import QuerySpec
from training.spec.reading import ReadingSpec
from training.spec.sources import SourceEntry

_NAMES_SHOWN = 5
_COMPRESSED = {".gz", ".zst", ".bz2", ".xz"}
_DIGITS_MAX = 38  # of a DECIMAL
_KINDS = ("DECIMAL", "TIMESTAMP_")  # columns whose types differ only in their size are compatible, as are whole numbers


def open_source(
    source: SourceEntry,
    reading: ReadingSpec,
    folder: Path,
    temporary: Path,
    numeric: NumberColumns = ANY_COLUMN,
    option: str = "--data",
    field: str = "table.source",
) -> RawTable:
    """Open a source as one raw table.

    Args:
        source: One path or several paths (files, folders or glob patterns), or a query.
        reading: Fields of the spec about the format.
        folder: Folder of the spec file.
        temporary: Folder for temporary files, which must exist as long as the table is used.
        numeric: Names of the columns that have numbers, or the columns that have none.
        option: Option of the command line that specifies a different source.
        field: Field of the spec with the query, for messages.

    Raises:
        SpecInvalid: The URL of a query is missing or invalid.
        DataInvalid: A file is missing or unreadable, the files have different columns, or the query fails.
    """
    if isinstance(source, QuerySpec):
        return _open_query(source, reading, folder, temporary, numeric, field)
    files = find_source_files([source] if isinstance(source, Path) else source, option)
    if len(files) == 1 and not files[0].partition:
        return open_file(files[0].path, reading, temporary, numeric, option)
    tables = [open_file(file.path, reading, temporary, numeric, option) for file in files]
    _check_no_copies(tables, files)
    formats = list(dict.fromkeys(table.numbers for table in tables if any(one.is_text for one in table.columns)))
    # A format that the cells prove has a separator of thousands.
    proved = [one for one in formats if one.thousands]
    if len(formats) > 1 and proved:
        # A file without decimals does not show its format. Therefore all files are read in the first format that is
        # proved. Numbers in any other format are then unreadable, rather than misread.
        stated = reading.model_copy(update={"decimal": proved[0].decimal, "thousands": proved[0].thousands})
        tables = [open_file(file.path, stated, temporary, numeric, option) for file in files]
    elif any(one.is_assumed for one in formats):
        # Commas between the cells of one file do not show what 1.234 means in a file with semicolons.
        tables = [replace(table, numbers=replace(table.numbers, is_assumed=True)) for table in tables]
    proofs = frozenset[str]().union(*(one.proved_by for one in formats), *(table.numbers.proved_by for table in tables))
    tables = [replace(table, numbers=replace(table.numbers, proved_by=proofs)) for table in tables]
    readable = [read_strictly(table, temporary, _read_completely) for table in tables]
    return _union([_with_partition(*pair) for pair in zip(readable, files, strict=True)], files)


def _check_no_copies(tables: Sequence[RawTable], files: Sequence[SourceFile]) -> None:
    """Raise DataInvalid if a file has the content of another file or is its compressed copy, because its rows would count twice.

    Files without rows may be equal.
    """
    first: dict[tuple[object, ...], tuple[RawTable, Path]] = {}
    for table, file in zip(tables, files, strict=True):
        uncompressed = file.path.with_suffix("") if file.path.suffix.lower() in _COMPRESSED else file.path
        for key in ((table.digest, file.partition), (uncompressed, "name")):
            known, path = first.setdefault(key, (table, file.path))
            if known is not table and _has_rows(table):
                raise DataInvalid(
                    f"{file.path}: has the same rows as {path}, or is its compressed copy, and would be read twice; remove one of them, or "
                    "list the files to read in `path`"
                )


def _has_rows(table: RawTable) -> bool:
    """Return whether a table has a row."""
    with duckdb.connect() as connection:
        return bool(connection.execute(f"SELECT 1 FROM {table.sql} LIMIT 1").fetchall())  # noqa: S608 - constant or quoted names


def _open_query(
    query: QuerySpec,
    reading: ReadingSpec,
    folder: Path,
    temporary: Path,
    numeric: NumberColumns,
    field: str,
) -> RawTable:
    """Open the rows of a query.

    The rows of a query are stored as text, and so are its columns of numbers. A decimal comma or a thousands separator
    would therefore also apply to columns of numbers, and change their values.
    """
    if reading.decimal == "," or reading.thousands:
        section = field.partition(".")[0]
        raise SpecInvalid(
            f"{section}: decimal and thousands describe the numbers of files, and {field} is a query; remove them, and convert text "
            "to numbers in the query, such as CAST(REPLACE(amount, ',', '.') AS DECIMAL(18, 2))"
        )
    target = temporary / f"{hashlib.sha256(field.encode()).hexdigest()[:16]}.query.csv"
    texts = write_query_rows(query, folder, target, field)
    stated = reading.model_copy(
        update={"separator": ",", "encoding": "utf-8", "compression": "none", "decimal": ".", "thousands": ""}
    )
    table = open_file(target, stated, temporary, numeric)
    line = f"{field}: read {len(table.columns)} columns of the query from {query.url}"
    # Whether 1.234 is a number with three decimals is known if the database stored a number, but not if it stored a text.
    columns = tuple(
        column if position in texts else replace(column, numbers=NumberFormat())
        for position, column in enumerate(table.columns)
    )
    numbers = NumberFormat(is_assumed=reading.decimal is None)
    return replace(
        table,
        name=field,
        columns=columns,
        numbers=numbers,
        confirmation=line,
        places=_row_places,
        quoted_text=None,  # a text of the database may look like lines of a file
    )


def _row_places(records: Sequence[int]) -> list[str]:
    """Return the places of rows of a query."""
    return [f"row {record:,}" for record in records]


def _read_completely(table: RawTable) -> RawTable:
    """Return the table after reading every value once, so that an irregular file raises an error here."""
    with duckdb.connect() as connection:
        rows, *_ = connection.execute(f"SELECT COUNT(*), COUNT(COLUMNS(*)) FROM {table.sql}").fetchall()[0]  # noqa: S608 - constant or quoted names
        check_joined_lines(connection, table, int(rows))
    return table


def _with_partition(table: RawTable, file: SourceFile) -> RawTable:
    """Return a table with the columns that the folder names of its file state.

    Raises:
        DataInvalid: The file has such a column itself, with a value that differs from the folder name.
    """
    for name, value in file.partition:
        if (own := table.find(name)) is not None:
            _check_partition(table, own, value, file.path)
        else:
            new = f"c{len(table.columns) + 1}"
            literal = "CAST(NULL AS VARCHAR)" if value is None else quote_literal(value)
            source = f"(SELECT *, {literal} AS {new} FROM {table.sql})"  # noqa: S608 - quoted
            columns = (*table.columns, RawColumn(name, new, "VARCHAR"))
            is_ascii = table.is_ascii and (value or "").isascii()
            table = replace(table, sql=source, columns=columns, is_ascii=is_ascii)
    return table


def _check_partition(table: RawTable, column: RawColumn, value: str | None, path: Path) -> None:
    """Raise DataInvalid if a column of a file has a value that differs from the value in the name of a folder."""
    stated = "NULL" if value is None else quote_literal(value)
    query = f"""SELECT ANY_VALUE(CAST({column.sql} AS VARCHAR)), COUNT(*) FROM {table.sql}
        WHERE CAST({column.sql} AS VARCHAR) IS DISTINCT FROM {stated}"""  # noqa: S608 - quoted
    with duckdb.connect() as connection:
        other, count = connection.execute(query).fetchall()[0]
    if count:
        raise DataInvalid(
            f"{path}: column {quote_name(column.name)} has {count:,} rows with a value such as {other!r}, but the name of the folder "
            f"states {column.name}={value}; remove the column from the file, or rename the folder"
        )


def _union(tables: Sequence[RawTable], files: Sequence[SourceFile]) -> RawTable:
    """Return the rows of all tables, in the order of the tables.

    Raises:
        DataInvalid: The tables have different columns or types.
    """
    tables = _with_same_bytes(tables)
    first = tables[0]
    for table, file in zip(tables, files, strict=True):
        _check_same_columns(first, table, file.path)
    _check_decimals(tables, files)
    selects = []
    for table in tables:
        found = [table.find(column.name) for column in first.columns]
        listed = ", ".join(
            f"{other.sql} AS {column.sql}" for column, other in zip(first.columns, found, strict=True) if other
        )
        selects.append(f"SELECT {listed} FROM {table.sql}")  # noqa: S608 - constant or quoted names
    digest = hashlib.sha256("|".join(table.digest for table in tables).encode()).hexdigest()
    line = _confirmation(tables)
    source = f"({' UNION ALL '.join(selects)})"
    name = f"{first.name} and {len(tables) - 1} more files" if len(tables) > 1 else first.name
    return replace(
        first,
        name=name,
        sql=source,
        digest=digest,
        confirmation=line,
        places=_union_places(tables),
        text=None,
        quoted_text=None,
        is_ascii=all(table.is_ascii for table in tables),
        has_text_file=any(table.has_text_file for table in tables),
    )


def _confirmation(tables: Sequence[RawTable]) -> str:
    """Return the line that states how several files are read: how the first is, and each file that is read differently."""
    others: dict[str, list[str]] = {}
    for table in tables[1:]:
        others.setdefault(table.confirmation.removeprefix(table.name), []).append(table.name)
    others.pop(tables[0].confirmation.removeprefix(tables[0].name), None)
    shown = [
        f"; {names[0]}{f' and {len(names) - 1:,} more' if len(names) > 1 else ''}{how}" for how, names in others.items()
    ]
    return (
        f"{len(tables)} files, the first is {tables[0].confirmation}{''.join(shorten_list(shown, _NAMES_SHOWN, '; '))}"
    )


def _with_same_bytes(tables: Sequence[RawTable]) -> list[RawTable]:
    """Return the tables, in which a column that has bytes other than UTF-8 in one table has bytes in every table."""
    found = list(tables)
    binary = {column.name for table in tables for column in table.columns if column.is_binary}
    for position, table in enumerate(tables):
        texts = {column.sql for column in table.columns if column.name in binary and column.is_text}
        if not texts:
            continue
        values = ", ".join(
            f"encode(CAST({one.sql} AS VARCHAR)) AS {one.sql}" if one.sql in texts else one.sql for one in table.columns
        )
        columns = tuple(replace(one, type="BLOB") if one.sql in texts else one for one in table.columns)
        found[position] = replace(table, sql=f"(SELECT {values} FROM {table.sql})", columns=columns)  # noqa: S608 - constant names
    return found


def _check_same_columns(first: RawTable, other: RawTable, path: Path) -> None:
    """Raise DataInvalid unless a table has the columns of the first table, in any order."""
    names, others = ([column.name for column in table.columns] for table in (first, other))
    missing = [name for name in names if name not in others]
    additional = [name for name in others if name not in names]
    if missing or additional:
        parts = [
            f"{what} {', '.join(map(quote_name, found[:_NAMES_SHOWN]))}{', ...' if len(found) > _NAMES_SHOWN else ''}"
            for what, found in (("lacks", missing), ("also has", additional))
            if found
        ]
        raise DataInvalid(
            f"{path}: all files of a source must have the same columns, but this file {' and '.join(parts)}, compared with "
            f"{first.name}; correct it, or read fewer files"
        )
    for column in first.columns:
        found = other.find(column.name)
        if found is not None and _kind(found.type) != _kind(column.type):
            raise DataInvalid(
                f"{path}: column {quote_name(column.name)} is {found.type}, but {column.type} in {first.name}; write the column with the "
                "same type in all files"
            )


def _check_decimals(tables: Sequence[RawTable], files: Sequence[SourceFile]) -> None:
    """Raise DataInvalid if no type has all digits of a column of exact decimals, because a union would round them."""
    for column in (one for one in tables[0].columns if one.is_decimal):
        digits = []
        for table, file in zip(tables, files, strict=True):
            if (found := table.find(column.name)) is not None:
                precision, scale = map(int, re.findall(r"\d+", found.type))
                digits.append((precision - scale, scale, found.type, file.path))
        whole, fraction = max(digits, key=lambda one: one[0]), max(digits, key=lambda one: one[1])
        if whole[0] + fraction[1] > _DIGITS_MAX:
            raise DataInvalid(
                f"{fraction[3]}: column {quote_name(column.name)} is {fraction[2]}, but {whole[2]} in {whole[3].name}, and together they "
                f"need more than {_DIGITS_MAX} digits; write the column with the same type in all files"
            )


def _kind(name: str) -> str:
    """Return the kind of a DuckDB type; types of the same kind differ only in their size."""
    if name.endswith("]"):
        return name
    if re.fullmatch("U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?", name):
        return "INT"
    return "VARCHAR" if name.startswith("ENUM") else next((kind for kind in _KINDS if name.startswith(kind)), name)


def _union_places(tables: Sequence[RawTable]) -> Callable[[Sequence[int]], list[str]]:
    """Return a function that returns the file and the place of each given record of several tables."""

    def places(records: Sequence[int]) -> list[str]:
        found: dict[int, str] = {}
        before = 0
        with duckdb.connect() as connection:
            for table in tables:
                count = int(connection.execute(f"SELECT COUNT(*) FROM {table.sql}").fetchall()[0][0])  # noqa: S608 - constant or quoted names
                own = [record for record in records if before < record <= before + count]
                listed = table.places([record - before for record in own]) if own else []
                found |= {record: f"{place} of {table.name}" for record, place in zip(own, listed, strict=True)}
                before += count
        return [found.get(record, f"record {record:,}") for record in records]

    return places
