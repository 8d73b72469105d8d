"""Runs frequent statements through the database driver's own cursor.

To run a statement by primary key, SQLAlchemy needs about ten times as long as SQLite itself. The record log runs five
statements for every batch of decisions, so it uses this module. SQLAlchemy still manages the connection and its
transaction, and errors are still SQLAlchemy's exceptions.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.exc import DBAPIError

_ROWS_MAX = 16  # rows that one INSERT writes; a longer statement is not faster


def run_sql(connection: Connection, sql: str, values: Sequence[Any] = ()) -> Any:
    """Run a statement, and return the driver's cursor.

    Values may be integers, texts, bytes or None, because the drivers of SQLite and PostgreSQL store these types
    unchanged.

    Args:
        connection: A connection. If the statement writes, it must come from `Database.writing`.
        sql: The statement, with "?" for each value and nowhere else.
        values: The values.

    Raises:
        IntegrityError: The statement violates a constraint.
        DBAPIError: The statement failed for another reason.
    """
    dialect, pooled, events = connection.dialect, connection.connection, connection.engine.dispatch
    driver_error = dialect.loaded_dbapi.Error
    sql, sent = sql if dialect.paramstyle == "qmark" else _percent_style(sql), tuple(values)
    cursor = pooled.cursor()
    # Report the statement to the engine's listeners, such as tracing, as for any other statement.
    for report in events.before_cursor_execute:
        report(connection, cursor, sql, sent, None, False)  # noqa: FBT003 - the signature of the event
    try:
        cursor.execute(sql, sent)
    except driver_error as error:
        # The pool must not reuse a connection that the database server has closed.
        if dialect.is_disconnect(error, pooled, cursor):
            connection.invalidate(error)
        # The error contains neither values nor the driver's message, which can quote a row.
        hidden = type(error)(f"SQLSTATE {getattr(error, 'sqlstate', '')}") if dialect.name == "postgresql" else error
        raise DBAPIError.instance(sql, (), hidden, driver_error, hide_parameters=True, dialect=dialect) from None
    for report in events.after_cursor_execute:
        report(connection, cursor, sql, sent, None, False)  # noqa: FBT003 - the signature of the event
    return cursor


def insert_rows(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows, up to 16 in one statement. Every row must contain every column of the table."""
    names = [column.name for column in table.columns]
    first = 0
    while first < len(rows):
        # Use only powers of two, so that the driver prepares few different statements.
        count = min(_ROWS_MAX, 1 << ((len(rows) - first).bit_length() - 1))
        chunk = rows[first : first + count]
        run_sql(
            connection, _insert_sql(table.name, tuple(names), count), [row[name] for row in chunk for name in names]
        )
        first += count


def marks(count: int) -> str:
    """Return "(?, ?, ...)" for `count` values."""
    return f"({', '.join('?' * count)})"


def pad_values(values: Sequence[Any]) -> list[Any]:
    """Return the values, with the last one repeated up to a power of two of values, so that few statements differ."""
    return [*values, *[values[-1]] * ((1 << (len(values) - 1).bit_length()) - len(values))]


@cache
def _insert_sql(table: str, names: tuple[str, ...], count: int) -> str:
    """Return an INSERT of `count` rows."""
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES {', '.join([marks(len(names))] * count)}"  # noqa: S608 - names of tables.py


@cache  # the callers have a fixed set of statements
def _percent_style(sql: str) -> str:
    """Return a statement with "%s" for each value, as psycopg expects."""
    return sql.replace("?", "%s")
