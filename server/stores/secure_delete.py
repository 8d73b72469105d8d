"""Sees to it that what was deleted is in no file of the database any more, as far as a database lets us.

SQLite: every connection overwrites what it deletes, VACUUM writes the file anew (also without remnants that were left before),
and truncating the write-ahead log takes the older pages that it holds. PostgreSQL: VACUUM FULL writes a table's files anew;
its own write-ahead log and archived copies of it keep the old pages until they are recycled.
"""

import time

from sqlalchemy.exc import SQLAlchemyError

from server.errors import StoreUnavailable
from server.stores.database import BUSY_SECONDS, Database

AGAIN_SECONDS = 0.05


def rewrite_tables(database: Database, tables: tuple[str, ...]) -> None:
    """Write these tables anew (of SQLite the whole file), so that what was deleted from them is gone.

    Others wait meanwhile; for how long depends on how much is copied.

    Raises:
        StoreUnavailable: Somebody reads or writes for longer than we wait; nothing is lost, try again.
    """
    if database.engine.dialect.name == "sqlite":
        run(database, "VACUUM")
        truncate_wal(database)
    else:
        run(database, f"VACUUM (FULL, ANALYZE) {', '.join(tables)}")


def reclaim_deleted_rows(database: Database, table: str) -> None:
    """See to what was deleted from a table that is too large to be written anew, or must not be locked for so long.

    SQLite has overwritten it already but for the write-ahead log. PostgreSQL takes the old rows out of the table's pages, and
    uses their place again; the bytes may stay there until then.
    """
    if database.engine.dialect.name == "sqlite":
        truncate_wal(database)
    else:
        run(database, f"VACUUM {table}")


def truncate_wal(database: Database) -> None:
    """Empty the write-ahead log of SQLite, once nobody reads the older pages in it.

    Raises:
        StoreUnavailable: Somebody has been reading for longer than we wait.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        busy = run(database, "PRAGMA wal_checkpoint(TRUNCATE)")
        if not busy:
            return
        if time.monotonic() > deadline:
            raise StoreUnavailable("the database is being read all the time; run this again to finish")
        time.sleep(AGAIN_SECONDS)


def run(database: Database, statement: str) -> int:
    """Run a statement outside of any transaction; gives the first number of its answer, 0 where it has none."""
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
            connection.invalidate()  # it is not as the pool's others are
    except (SQLAlchemyError, database.engine.dialect.loaded_dbapi.Error) as error:
        raise StoreUnavailable("the database does not answer, or is busy; run this again to finish") from error
