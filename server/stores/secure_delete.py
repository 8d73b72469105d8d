"""Removes deleted rows from the files of a database, as far as the database supports it.

- SQLite: every connection overwrites deleted rows with zeros (`secure_delete`). VACUUM rewrites the file without older remnants,
  and truncating the write-ahead log removes older pages from the log.
- PostgreSQL: VACUUM FULL rewrites the files of a table. PostgreSQL's write-ahead log and its archived copies contain old pages
  until they are recycled.
"""

import time

from sqlalchemy.exc import SQLAlchemyError

from server.errors import StoreUnavailable
from server.stores.database import BUSY_SECONDS, Database

_RETRY_SECONDS = 0.05


def rewrite_tables(database: Database, tables: tuple[str, ...]) -> None:
    """Rewrite tables without their deleted rows. For SQLite, the whole file is rewritten.

    Other connections wait until the rewrite has finished. Its duration depends on the size of the data.

    Raises:
        StoreUnavailable: Another connection reads or writes for longer than BUSY_SECONDS. No data is lost, so a retry is safe.
    """
    # Truncate the write-ahead log after VACUUM, because VACUUM itself writes pages to the log.
    if database.engine.dialect.name == "sqlite":
        _run(database, "VACUUM")
        _truncate_wal(database)
    else:
        _run(database, f"VACUUM (FULL, ANALYZE) {', '.join(tables)}")


def reclaim_deleted_rows(database: Database, table: str) -> None:
    """Remove deleted rows from a table that is too large to rewrite, or that must not be locked while it is rewritten.

    SQLite has already overwritten deleted rows, except in the write-ahead log. PostgreSQL marks their space as free, but their
    bytes may remain in the pages of the table until the space is reused.
    """
    if database.engine.dialect.name == "sqlite":
        _truncate_wal(database)
    else:
        _run(database, f"VACUUM {table}")


def _truncate_wal(database: Database) -> None:
    """Truncate SQLite's write-ahead log. Retry while another connection reads older pages from the log.

    Raises:
        StoreUnavailable: Other connections have been reading for longer than BUSY_SECONDS.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        busy = _run(database, "PRAGMA wal_checkpoint(TRUNCATE)")
        if not busy:
            return
        if time.monotonic() > deadline:
            raise StoreUnavailable("other connections are reading the database; run this command again to finish")
        time.sleep(_RETRY_SECONDS)


def _run(database: Database, statement: str) -> int:
    """Run a statement outside a transaction; return the first number of its result, or 0 if there is no result."""
    try:
        connection = database.engine.raw_connection()
        try:
            if database.engine.dialect.name == "postgresql":
                connection.driver_connection.autocommit = True  # type: ignore[union-attr]
            cursor = connection.cursor()
            cursor.execute(statement)
            row = cursor.fetchone() if cursor.description else None
            cursor.close()
            return 0 if row is None else int(row[0])
        finally:
            connection.invalidate()  # the connection is in autocommit mode and must not be returned to the pool
    except (SQLAlchemyError, database.engine.dialect.loaded_dbapi.Error) as error:
        raise StoreUnavailable("the database does not answer, or is busy; run this command again to finish") from error
