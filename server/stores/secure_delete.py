"""Removes deleted rows from the files of a database, as far as the database supports it.

SQLite: every connection overwrites what it deletes (`secure_delete`), VACUUM rewrites the file without older remnants, and
truncating the write-ahead log removes the older pages in it. PostgreSQL: VACUUM FULL rewrites a table's files; its own
write-ahead log and archived copies of it keep the old pages until they are recycled.
"""

import time

from sqlalchemy.exc import SQLAlchemyError

from server.errors import StoreUnavailable
from server.stores.database import BUSY_SECONDS, Database

_RETRY_SECONDS = 0.05


def rewrite_tables(database: Database, tables: tuple[str, ...]) -> None:
    """Rewrite tables (of SQLite the whole file), so that what was deleted from them is gone from the files.

    Other connections wait meanwhile; for how long depends on the size.

    Raises:
        StoreUnavailable: Another connection reads or writes for longer than BUSY_SECONDS; nothing is lost, retry.
    """
    # VACUUM first: it writes the new file through the write-ahead log, which still has the old pages.
    if database.engine.dialect.name == "sqlite":
        _run(database, "VACUUM")
        _truncate_wal(database)
    else:
        _run(database, f"VACUUM (FULL, ANALYZE) {', '.join(tables)}")


def reclaim_deleted_rows(database: Database, table: str) -> None:
    """Remove what was deleted from a table that is too large to rewrite, or must not be locked for so long.

    SQLite has overwritten it already, except in the write-ahead log. PostgreSQL frees the old rows in the table's pages; their
    bytes may stay until the space is used again.
    """
    if database.engine.dialect.name == "sqlite":
        _truncate_wal(database)
    else:
        _run(database, f"VACUUM {table}")


def _truncate_wal(database: Database) -> None:
    """Truncate SQLite's write-ahead log, retrying while another connection reads older pages from it.

    Raises:
        StoreUnavailable: A connection has been reading for longer than BUSY_SECONDS.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        busy = _run(database, "PRAGMA wal_checkpoint(TRUNCATE)")
        if not busy:
            return
        if time.monotonic() > deadline:
            raise StoreUnavailable("the database is being read all the time; run this again to finish")
        time.sleep(_RETRY_SECONDS)


def _run(database: Database, statement: str) -> int:
    """Run a statement outside of a transaction; return the first number of its result, 0 if it has none."""
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
            connection.invalidate()  # it is in autocommit mode and must not go back to the pool
    except (SQLAlchemyError, database.engine.dialect.loaded_dbapi.Error) as error:
        raise StoreUnavailable("the database does not answer, or is busy; run this again to finish") from error
