"""Collects the SQL statements of a block and SQLite's plans, which do not depend on the number of rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, event

from server.stores.database import Database

Sent = dict[str, Any]


@contextmanager
def sent_statements(database: Database) -> Iterator[Sent]:
    """Collect every distinct statement that is sent during the block, with the values of its first execution."""
    found: Sent = {}

    def keep(_connection: Connection, _cursor: object, statement: str, parameters: Any, *more: Any) -> None:
        found.setdefault(statement, parameters[0] if more[-1] else parameters)

    event.listen(database.engine, "before_cursor_execute", keep)
    try:
        yield found
    finally:
        event.remove(database.engine, "before_cursor_execute", keep)


def plans(database: Database, statements: Sent) -> dict[str, list[str]]:
    """Return the steps of SQLite's plan for each statement that reads or changes rows."""
    found = {}
    with database.reading() as connection:
        for statement, values in statements.items():
            if statement.split()[0] in ("SELECT", "UPDATE", "DELETE", "WITH"):
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
                found[statement] = [row.detail for row in plan]
    return found
