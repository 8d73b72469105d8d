"""Reads the rows of a database query into a text file, which the reader of files then reads strictly.

Every value is written as text without loss. No message contains the URL of the database, because the URL may contain
credentials.
"""

import csv
import datetime as dt
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import sqlalchemy
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from training.errors import DataInvalid, SpecInvalid
from training.spec import QuerySpec

_BATCH_ROWS = 10_000
_DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
_FILE_DATABASES = {"sqlite", "duckdb"}


def write_query_rows(query: QuerySpec, folder: Path, target: Path, field: str) -> None:
    """Write the rows of a query as CSV (UTF-8, commas, decimal points); a missing value is an empty cell.

    Args:
        query: The query of the spec.
        folder: Folder of the spec file; the path of a database file is relative to this folder.
        target: The file to write.
        field: Field of the spec, for messages.

    Raises:
        SpecInvalid: The URL is missing or invalid.
        DataInvalid: The database is unreachable, or the query fails.
    """
    url = _database_url(query, folder, field)
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        with _open_rows(url, query.sql, field) as (names, batches):
            writer.writerow(names)
            for batch in batches:
                writer.writerows([_cell(value) for value in row] for row in batch)


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
    except ArgumentError:
        raise SpecInvalid(
            f"{field}.url: {query.url} is not the URL of a database; use e.g. postgresql://USER:PASSWORD@HOST/DATABASE"
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
                cursor = connection.execute(sql)
                names = [column[0] for column in cursor.description or ()]
                yield names, iter(lambda: cursor.fetchmany(_BATCH_ROWS), [])
        except duckdb.Error as error:
            raise DataInvalid(f"{field}: the query failed: {error}") from None
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
            result = connection.execution_options(stream_results=True).execute(sqlalchemy.text(_escape_binds(sql)))
            yield list(result.keys()), iter(result.partitions(_BATCH_ROWS))
    except SQLAlchemyError as error:
        raise DataInvalid(f"{field}: the query failed: {_reason(error, url)}") from None
    finally:
        engine.dispose()


def _forbid_writes(connection: sqlalchemy.Connection) -> None:
    """Make the database reject every statement that writes."""
    statement = {"sqlite": "PRAGMA query_only = ON", "postgresql": "SET TRANSACTION READ ONLY"}.get(
        connection.dialect.name
    )
    if statement is not None:
        connection.execute(sqlalchemy.text(statement))


def _escape_binds(sql: str) -> str:
    """Return a statement whose colons SQLAlchemy does not read as parameters; a time or a cast may contain colons."""
    return sql.replace(":", "\\:").replace("\\:\\:", "::")


def _reason(error: SQLAlchemyError, url: URL) -> str:
    """Return the message of the driver without credentials."""
    text = str(getattr(error, "orig", None) or type(error).__name__).strip()
    for secret in (url.password, url.username):
        if secret:
            text = text.replace(str(secret), "...")
    return " ".join(text.split())


def _cell(value: object) -> str:
    """Return a value as text without loss; "" for a missing value."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    return str(value)
