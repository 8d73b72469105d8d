"""Connections, transactions, snapshots and migrations: SQLite for one server, or PostgreSQL for several servers."""

import functools
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import alembic.command
import alembic.config
import sqlalchemy
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, event, func, select
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from server.errors import DatabaseRefused, StoreUnavailable
from server.stores.outage_causes import outage_cause
from server.stores.postgresql import ConnectionWatchdog, open_engine
from server.stores.sqlite_files import SqliteFiles
from server.stores.tables import SERVER_KEYS

_MIGRATIONS = Path(__file__).parent / "migrations"
CONNECTIONS = 5  # pool size of a command
# When SQLite's write-ahead log has this many pages of 4 KB, a commit copies the pages into the database file and waits
# for the disk. With five million records, the 99th percentile of appends is 8 to 10 ms; with the default of 1,000 pages
# it was 15 ms.
_WAL_PAGES = 8_000
# synchronous=FULL, because NORMAL may lose the last commits on a power failure although they were acknowledged.
_SQLITE_PRAGMAS = ("synchronous=FULL", "foreign_keys=ON", "secure_delete=ON", f"wal_autocheckpoint={_WAL_PAGES}")
# Problems that last, which callers receive instead of the request to try again.
_LASTING_CODES = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN}
BUSY_SECONDS = 10  # time limit for a lock, and for a free connection
_KEY_BYTES = 32
_AFTER_COMMIT = "after_commit"  # key in Connection.info
_RETRY_SECONDS_MAX = 1.0
_ALEMBIC = threading.Lock()  # Alembic stores the current migration in global variables
MIGRATION_LOCK = 0x67726F756E6473  # "grounds" in ASCII; any number that no other application uses as a lock


class Database:
    """Connections and transactions. Its methods may be called from any thread.

    Attributes:
        engine: SQLAlchemy engine with the connection pool.
        connections: Size of the connection pool.
    """

    def __init__(self, url: str, migrations: Path = _MIGRATIONS, connections: int = CONNECTIONS) -> None:
        """Create the connection pool without opening a connection.

        Args:
            url: SQLAlchemy URL of the database.
            migrations: Folder of the Alembic revisions that create the tables.
            connections: Size of the pool, which is the number of threads that use the database at the same time.
        """
        self._watchdog = ConnectionWatchdog()
        self.engine = _open_engine(url, connections, self._watchdog)
        event.listen(self.engine, "reset", _roll_back)
        event.listen(self.engine, "do_connect", self._open_existing_file)
        self._migrations, self.connections = migrations, connections
        parts = sqlalchemy.make_url(url)
        is_sqlite = parts.drivername.startswith("sqlite")
        on_disk = is_sqlite and parts.database not in {None, "", ":memory:"}
        self._journal_mode = ("wal" if on_disk else "memory") if is_sqlite else None
        self._files = SqliteFiles(Path(str(parts.database))) if on_disk else None

    def limit_time(self, seconds: float) -> None:
        """Limit the time of each use of a PostgreSQL connection from now on, even if PostgreSQL is stopped.

        Servers need this limit, because they must answer in time. Migrations and other work at the start of a server
        may take longer. SQLite needs no such limit, because it waits only for locks, for at most BUSY_SECONDS. Call
        this only while no connection is in use.
        """
        if self.engine.dialect.name == "postgresql":
            self._watchdog.seconds_max = seconds
            self.engine.dispose()  # new connections also limit the time in PostgreSQL itself

    def interrupt(self) -> None:
        """Shut down every PostgreSQL connection in use, so that threads that wait for PostgreSQL end with an error."""
        self._watchdog.shut_down_all()

    def migrate(self) -> None:
        """Upgrade the tables to the newest revision. Several processes may call this at the same time.

        Raises:
            DatabaseRefused: A newer release has upgraded the tables.
            StoreUnavailable: The database does not answer.
        """
        config = alembic.config.Config()
        config.set_main_option("script_location", str(self._migrations))
        with self.writing() as connection:
            if connection.dialect.name == "postgresql":  # SQLite needs no lock, because it has one writer at a time
                connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            config.attributes["connection"] = connection
            # Run the revisions in this transaction, so that a failed revision leaves the tables unchanged.
            with _ALEMBIC:
                if not _is_current(connection, str(self._migrations)):
                    alembic.command.upgrade(config, "head")

    @contextmanager
    def reading(self, *, single_statement: bool = False) -> Iterator[Connection]:
        """Yield a connection to read with.

        Args:
            single_statement: Whether the block runs only one query. If so, SQLite needs no BEGIN before the query.
        """
        try:
            with self._begin(single_statement=single_statement) as connection:
                yield connection
        except IntegrityError:
            raise
        except SQLAlchemyError as error:
            raise _unavailable(error) from error

    @contextmanager
    def snapshot(self) -> Iterator["Snapshot"]:
        """Yield a read-only view of the database as of the first read.

        Later commits do not change the view. Use the view in one thread only.
        """
        try:
            with self._begin(snapshot=True) as connection:
                yield Snapshot(connection)
        except IntegrityError:
            raise
        except SQLAlchemyError as error:
            raise _unavailable(error) from error

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Yield a connection in a transaction, which is committed at the end of the block and rolled back on an error.

        SQLite acquires its write lock at the start of the transaction, so that concurrent writers wait for each other
        instead of failing at their first write. The function registered by `after_commit` runs after the commit. If
        that function raises an error, the transaction remains committed, but the caller gets the error and must not
        acknowledge the commit.
        """
        try:
            with self._begin(writing=True) as connection:
                info = connection.info
                info.pop(_AFTER_COMMIT, None)  # remove the function of an earlier transaction that was rolled back
                yield connection
                # Take the function now, because another thread may use the connection once it is in the pool again.
                run_after_commit = info.pop(_AFTER_COMMIT, _do_nothing)
                connection.commit()
            run_after_commit()
        except IntegrityError:
            raise
        except SQLAlchemyError as error:
            raise _unavailable(error) from error

    def _begin(self, **options: bool) -> Connection:
        """Return a connection in a new transaction, which is rolled back when the connection is closed.

        A pooled connection may have been lost since its last use, for example because PostgreSQL was restarted. A lost
        connection is replaced by another one, for up to one second.
        """
        start = time.monotonic()
        while True:
            connection = self.engine.connect().execution_options(**options)
            try:
                connection.begin()
                # A listener of SQLAlchemy's event "begin" would make SQLAlchemy look for listeners at every step of every
                # transaction, which takes longer than the statements of a small transaction.
                if self._journal_mode is not None:
                    _begin_sqlite(connection, self._journal_mode)
            except BaseException as error:
                connection.close()
                lost = isinstance(error, DBAPIError) and error.connection_invalidated
                if not lost or time.monotonic() - start > _RETRY_SECONDS_MAX:
                    raise
            else:
                return connection

    def ensure_key(self, name: str) -> bytes:
        """Return the key of this name, 32 bytes, which is created at first use and shared by all processes."""
        with self.reading() as connection:
            found = connection.execute(select(SERVER_KEYS.c.key).where(SERVER_KEYS.c.name == name)).scalar()
        if found is not None:
            return bytes(found)
        try:
            with self.writing() as connection:
                connection.execute(SERVER_KEYS.insert().values(name=name, key=secrets.token_bytes(_KEY_BYTES)))
        except IntegrityError:
            pass  # another process created it first
        return self.ensure_key(name)

    def check_files(self) -> None:
        """Check that the files of a SQLite database exist and were not replaced. Call this after a commit.

        For PostgreSQL, nothing is checked.

        Raises:
            StoreUnavailable: A file is missing or was replaced.
        """
        if self._files is not None:
            self._files.check()

    def _open_existing_file(self, _dialect: Any, _record: Any, arguments: list[Any], options: dict[str, Any]) -> None:
        """Restrict a new SQLite connection to the file that the other connections use.

        By default, SQLite creates a missing file. An empty new file makes SQLite delete the write-ahead log of the
        missing file, which may contain acknowledged records that the file itself does not contain yet.

        Raises:
            StoreUnavailable: The database file was deleted or replaced.
        """
        if self._files is None or str(self._files.path).startswith("file:"):
            return
        self._files.check_before_opening()
        arguments[0] = f"{self._files.path.absolute().as_uri()}?mode=rw"
        options["uri"] = True

    def close(self) -> None:
        """Close every connection."""
        self._watchdog.stop()
        self.engine.dispose()


class ConnectionSource(Protocol):
    """Provides connections for reading: a Database or a Snapshot."""

    def reading(self, *, single_statement: bool = False) -> AbstractContextManager[Connection]:
        """Yield a connection; see Database.reading."""


class Snapshot:
    """A view of the database as of one moment, which readers can use instead of a Database."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @contextmanager
    def reading(self, *, single_statement: bool = False) -> Iterator[Connection]:  # noqa: ARG002 - every read is part of the one transaction
        """Yield the connection of the snapshot, which stays open."""
        yield self._connection


def after_commit(connection: Connection, work: Callable[[], None]) -> None:
    """Register a function that runs after the commit of a `Database.writing` block. Replace an earlier registration."""
    connection.info[_AFTER_COMMIT] = work


def _do_nothing() -> None:
    """Do nothing."""


def _unavailable(error: Exception) -> StoreUnavailable:
    """Return the error for a database that failed. The message omits the URL, because a URL may contain a password."""
    code, cause = getattr(getattr(error, "orig", error), "sqlite_errorcode", 0) & 0xFF, outage_cause(error)
    unavailable = StoreUnavailable(cause if code in _LASTING_CODES else "the database does not answer; try again")
    unavailable.cause = cause
    return unavailable


@functools.cache
def _revisions(folder: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return all revisions in a folder of migrations, and the newest one. They are cached, because Alembic runs every file."""
    scripts = ScriptDirectory(folder)
    return frozenset(script.revision for script in scripts.walk_revisions()), frozenset(scripts.get_heads())


def _is_current(connection: Connection, folder: str) -> bool:
    """Return whether the tables have the newest revision.

    Raises:
        DatabaseRefused: The tables have a revision that this release does not know.
    """
    known, newest = _revisions(folder)
    current = set(MigrationContext.configure(connection).get_current_heads())
    if unknown := current - known:
        raise DatabaseRefused(
            f"the database has revision {', '.join(sorted(unknown))}, which a newer release created; run that release, or "
            "configure a different database"
        )
    return current == newest


def _open_engine(url: str, connections: int, watchdog: ConnectionWatchdog) -> Engine:
    """Create the engine of a database. SQLite uses a write-ahead log and syncs it to the disk at every commit.

    An operation fails if it waits longer than BUSY_SECONDS for a lock. Error messages contain no values of rows.
    """
    common: dict[str, Any] = {
        "hide_parameters": True,
        "poolclass": QueuePool,
        "pool_size": connections,
        "pool_timeout": BUSY_SECONDS,
        # Reuse the connection that was used last, because its page cache is warm. A read of evidence then needs 17
        # pages instead of 28.
        "pool_use_lifo": True,
    }
    parts = sqlalchemy.make_url(url)
    if not url.startswith("sqlite"):
        return open_engine(parts, watchdog, BUSY_SECONDS, common)
    _create_private_file(parts.database)
    engine = sqlalchemy.create_engine(url, connect_args={"timeout": BUSY_SECONDS}, **common)
    event.listen(engine, "connect", _set_up_sqlite)
    return engine


def _roll_back(connection: Any, _record: Any, _state: Any) -> None:
    """End the transaction of a connection that is returned to the pool, if one is still open.

    SQLAlchemy does not roll back a transaction whose commit failed before the database ended it. The next user of the
    connection would then read rows that are never committed, such as the key of a customer, and seal a record with
    that key.
    """
    connection.rollback()  # does nothing outside a transaction; if it fails, the pool closes the connection


def _create_private_file(name: str | None) -> None:
    """Create the file of a new database with mode 0600, because it will contain customers' data.

    If only the write-ahead log exists, create nothing, because the file of an existing database is missing. An empty
    file would make SQLite delete the write-ahead log, which may contain acknowledged records.
    """
    if name and name != ":memory:" and not name.startswith("file:") and not Path(f"{name}-wal").exists():
        with suppress(OSError):  # the file exists, or cannot be created, which the first query reports
            os.close(os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    """Set the pragmas of a new connection, and disable the transaction handling of the sqlite3 module."""
    # By default, sqlite3 begins transactions itself, but not at the statements at which SQLAlchemy begins them.
    connection.isolation_level = None
    # Decode invalid UTF-8 instead of failing, so that `doctor` can report damaged texts.
    connection.text_factory = lambda content: content.decode("utf-8", "backslashreplace")
    cursor = connection.cursor()
    _enable_wal(cursor)
    for pragma in _SQLITE_PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _enable_wal(cursor: sqlite3.Cursor) -> None:
    """Switch a file to a write-ahead log. Retry, because SQLite does not wait while another connection switches it."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_sqlite(connection: Connection, journal_mode: str) -> None:
    """Begin a transaction. A transaction that will write acquires the write lock. A single statement needs no BEGIN.

    Raises:
        StoreUnavailable: The journal mode was changed, so a commit may be lost.
    """
    options = connection.get_execution_options()
    if options.get("writing", False):
        _ensure_durability(connection.connection.driver_connection, journal_mode)
        # IMMEDIATE, because a transaction that first reads and then acquires the write lock may fail instead of
        # waiting.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    elif not options.get("single_statement", False):
        connection.exec_driver_sql("BEGIN")


def _ensure_durability(connection: Any, journal_mode: str) -> None:
    """Set synchronous=FULL again, so that a commit waits for the disk, and check the journal mode."""
    try:
        connection.execute("PRAGMA synchronous=FULL")
        (found,) = connection.execute("PRAGMA journal_mode").fetchone()
    except sqlite3.Error as error:
        raise _unavailable(error) from error
    if found != journal_mode:
        raise StoreUnavailable(
            f"the database file has journal_mode = {found} instead of {journal_mode} and may lose acknowledged records; stop the "
            "program that changed it, and start the server again"
        )
