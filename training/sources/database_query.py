"""Reads the rows of a database query into a text file, which the reader of files then reads strictly.

Every value is written as text without loss. No message contains the URL of the database, because the URL may contain
credentials.
"""

import csv
import datetime as dt
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import sqlalchemy
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, ResourceClosedError, SQLAlchemyError

from training.errors import DataInvalid, SpecInvalid, quote_name, shorten_list
from training.sources.reader.raw_table import plain_reason
from training.spec import QuerySpec

_BATCH_ROWS = 10_000
_NAMES_SHOWN = 10
_EXACT_MAX = 2**53
_DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
_FILE_DATABASES = {"sqlite", "duckdb"}


def write_query_rows(query: QuerySpec, folder: Path, target: Path, field: str) -> set[int]:
    """Write the rows of a query as CSV (UTF-8, commas, decimal points); a missing value is an empty cell.

    Return the positions of the columns in which the database has at least one text.

    Args:
        query: The query of the spec.
        folder: Folder of the spec file; the path of a database file is relative to this folder.
        target: The file to write.
        field: Field of the spec, for messages.

    Raises:
        SpecInvalid: The URL is missing or invalid.
        DataInvalid: The database is unreachable, or the query fails.
    """
    url, texts = _database_url(query, folder, field), set()
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        with _open_rows(url, query.sql, field) as (names, batches):
            _check_names(names, field)
            writer.writerow(names)
            first = 1
            for batch in batches:
                texts |= {position for row in batch for position, value in enumerate(row) if isinstance(value, str)}
                try:
                    writer.writerows([_cell(value) for value in row] for row in batch)
                except ValueError:
                    raise DataInvalid(_cell_problem(names, batch, first, field)) from None
                first += len(batch)
    return texts


def _database_url(query: QuerySpec, folder: Path, field: str) -> URL:
    """Return the URL of the database."""
    text = query.url
    if query.url.startswith("env:"):
        name = query.url.removeprefix("env:")
        text = os.environ.get(name, "")
        if not text:
            raise SpecInvalid(
                f"{field}.url: the environment variable {name} is not set; set it to the URL of the database"
            )
    try:
        url = sqlalchemy.make_url(text)
    except (ArgumentError, ValueError):  # the message of a ValueError may contain a part of the password
        raise SpecInvalid(
            f"{field}.url: {query.url} is not the URL of a database; use e.g. postgresql://USER:PASSWORD@HOST/DATABASE, in which a "
            "character of the password other than letters and digits is written as in %2F"
        ) from None
    if url.drivername in _FILE_DATABASES:
        path = folder / (url.database or "")
        if not path.is_file():
            raise DataInvalid(f"{field}.url: {path}: no such database file; check the path")
        return url.set(database=str(path))
    return url.set(drivername=_DRIVERS.get(url.drivername, url.drivername))


@contextmanager
def _open_rows(url: URL, sql: str, field: str) -> Iterator[tuple[Sequence[str], Iterator[Sequence[Any]]]]:
    """Execute a query in a transaction that cannot write; yield the names of its columns, and its rows in batches."""
    if url.drivername == "duckdb":
        try:
            with duckdb.connect(
                url.database or "", read_only=True, config={"python_enable_replacements": False}
            ) as connection:
                connection.execute("SET TimeZone = 'UTC'")
                names, cursor = _execute_select(connection, sql, field)
                yield names, iter(lambda: cursor.fetchmany(_BATCH_ROWS), [])
        except duckdb.Error as error:
            raise DataInvalid(f"{field}: the query failed: {plain_reason(error)}; correct the query") from None
        return
    try:
        engine = sqlalchemy.create_engine(url)
    except (NoSuchModuleError, ImportError):
        raise SpecInvalid(
            f"{field}.url: there is no driver for {url.drivername!r}; use PostgreSQL, SQLite or DuckDB, or install the driver"
        ) from None
    try:
        with engine.connect() as connection:
            _forbid_writes(connection)
            _keep_invalid_text(connection)
            streaming = connection.execution_options(stream_results=True)
            with closing(streaming.execute(sqlalchemy.text(_escape_binds(sql)))) as result:
                yield list(result.keys()), iter(result.partitions(_BATCH_ROWS))
    except ResourceClosedError:
        raise SpecInvalid(f"{field}.sql: the statement returns no rows; write one SELECT statement") from None
    except SQLAlchemyError as error:
        raise DataInvalid(f"{field}: the query failed: {_reason(error, url)}; correct the query or the URL") from None
    finally:
        engine.dispose()


def _execute_select(
    connection: duckdb.DuckDBPyConnection, sql: str, field: str
) -> tuple[list[str], duckdb.DuckDBPyConnection]:
    """Execute a SELECT statement of DuckDB; return the names of its columns, and the cursor.

    Times are converted to text, because Python cannot represent all of them.
    """
    statements = duckdb.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise SpecInvalid(
            f"{field}.sql: write one SELECT statement; DuckDB must not write, and other statements are ignored"
        )
    query = _without_end(statements[0].query)
    described = connection.execute(f"DESCRIBE {query}").fetchall()
    aliases = ", ".join(f"c{number}" for number in range(len(described)))
    values = ", ".join(
        f"CAST(c{number} AS VARCHAR)" if str(column[1]).startswith(("DATE", "TIME")) else f"c{number}"
        for number, column in enumerate(described)
    )
    cursor = connection.execute(f"SELECT {values} FROM ({query}\n) AS query({aliases})")  # noqa: S608 - the query of the spec, in a database without write access
    return [str(column[0]) for column in described], cursor


def _without_end(query: str) -> str:
    """Return a statement of DuckDB without the semicolons and comments after it, so that it can be a subquery."""
    content = query.encode()  # the positions of tokens count bytes
    end = len(content)
    for position, kind in reversed(duckdb.tokenize(query)):
        if kind != duckdb.token_type.comment and content[position : position + 1] != b";":
            break
        end = position
    return content[:end].decode()


def _check_names(names: Sequence[str], field: str) -> None:
    """Raise SpecInvalid if two columns of a query have the same name."""
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        listed = ", ".join(shorten_list([*map(quote_name, repeated)], _NAMES_SHOWN, ""))
        raise SpecInvalid(
            f"{field}.sql: the query returns several columns with the name {listed}; give each column a name of its own with AS"
        )


def _cell_problem(names: Sequence[str], batch: Sequence[Sequence[Any]], first: int, field: str) -> str:
    """Return the message for the first value of a batch that is not a single text, number or time.

    Args:
        names: The names of the columns.
        batch: The rows.
        first: Number of the first row of the batch among the rows of the query.
        field: Field of the spec.
    """
    for number, row in enumerate(batch, first):
        for name, value in zip(names, row, strict=True):
            if kind := _value_problem(value):
                return (
                    f"{field}: column {quote_name(name)} has {kind} in row {number:,} of the query; select a single value with text, a "
                    "number or a time in the query, or leave out the column"
                )
    raise AssertionError("every value of the batch is readable")


def _value_problem(value: object) -> str:
    """Return what an unusable value is; "" if the value is a single text, number or time."""
    try:
        _cell(value).encode()
    except UnicodeEncodeError:
        return "a text with half of a surrogate pair, which no character has,"
    except ValueError:
        if isinstance(value, bytes | memoryview):
            return "bytes that are not UTF-8"
        return "a record" if isinstance(value, dict) else "a list"
    return ""


def _forbid_writes(connection: sqlalchemy.Connection) -> None:
    """Make the database reject every statement that writes."""
    statement = {"sqlite": "PRAGMA query_only = ON", "postgresql": "SET TRANSACTION READ ONLY"}.get(
        connection.dialect.name
    )
    if statement is not None:
        connection.execute(sqlalchemy.text(statement))


def _keep_invalid_text(connection: sqlalchemy.Connection) -> None:
    """Make SQLite return a text that is not UTF-8 as bytes, so that the error can state the row; PostgreSQL stores no such text."""
    if connection.dialect.name == "sqlite":
        driver: Any = connection.connection.driver_connection
        driver.text_factory = _text_or_bytes


def _text_or_bytes(content: bytes) -> str | bytes:
    """Return text, or the bytes if they are not UTF-8."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content


def _escape_binds(sql: str) -> str:
    """Return a statement whose colons SQLAlchemy does not read as parameters; a time or a cast may contain colons."""
    return sql.replace(":", "\\:").replace("\\:\\:", "::")


def _reason(error: SQLAlchemyError, url: URL) -> str:
    """Return the message of the driver without credentials."""
    lines = str(getattr(error, "orig", None) or type(error).__name__).strip().splitlines()
    text = " ".join(lines[0].split()) if lines else type(error).__name__
    options = [value for found in url.query.values() for value in ([found] if isinstance(found, str) else found)]
    for secret in (url.password, url.username, *options):
        if secret:
            text = text.replace(str(secret), "...")
    return text.rstrip(" .")


def _cell(value: object) -> str:
    """Return a value as text without loss; "" for a missing value.

    Raises:
        ValueError: The value consists of several values, or of bytes that are not UTF-8. A text with an unpaired
            surrogate is returned, but encoding it raises a UnicodeEncodeError, which is a ValueError.
    """
    if value is None or (isinstance(value, float | Decimal) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, float):
        return _float_text(value)
    return value if isinstance(value, str) else _other_text(value)


def _float_text(value: float) -> str:
    """Return a double as text. A whole number has no decimals, so that a customer 124.0 is 124.

    From 2**53, the last digits of a double need not be those that were meant. Such a number has an exponent, so that the
    reader accepts it as a number, but not as a customer or an amount.
    """
    if not value.is_integer():
        return repr(value)
    return str(int(value)) if abs(value) < _EXACT_MAX else f"{value:.16e}"


def _other_text(value: object) -> str:
    """Return a value of another type as text; raise ValueError if the value is not a single value."""
    if isinstance(value, list | tuple | dict | set):
        raise ValueError("several values")  # noqa: TRY004 - one kind of error for every value that is not text
    if isinstance(value, bytes | memoryview):
        return bytes(value).decode("utf-8")
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    return str(value)
