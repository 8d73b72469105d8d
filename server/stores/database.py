"""The database of one server or a fleet, SQLite or PostgreSQL: connections, transactions, snapshots and migrations."""

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
from sqlalchemy import Connection, Engine, ExceptionContext, event, func, select
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from server.errors import DatabaseRefused, StoreUnavailable
from server.stores.tables import SERVER_KEYS

_MIGRATIONS = Path(__file__).parent / "migrations"
CONNECTIONS = 5  # for a command
# Pages of 4 KB that SQLite's write-ahead log collects before a commit copies them into the database file, and waits for it. With
# five million records the slowest hundredth of appends took 15 ms and more with the default of 1,000, and takes 8 to 10.
_WAL_PAGES = 8_000
# synchronous=FULL: with a write-ahead log, NORMAL may lose the last commits on a power failure, and records are acknowledged.
_SQLITE_PRAGMAS = ("synchronous=FULL", "foreign_keys=ON", "secure_delete=ON", f"wal_autocheckpoint={_WAL_PAGES}")
_SQLITE_PROBLEMS = {
    sqlite3.SQLITE_CORRUPT: "the database is damaged: restore it from its backup",
    sqlite3.SQLITE_NOTADB: "the file is no database: check the settings `database` and `keys`, or restore it",
    sqlite3.SQLITE_CANTOPEN: "the database file cannot be opened: check its folder and permissions",
}
BUSY_SECONDS = 10  # how long to wait for a lock, or for a database that does not answer
_POSTGRESQL_TIMEOUTS = {
    "connect_timeout": BUSY_SECONDS,
    "tcp_user_timeout": BUSY_SECONDS * 1000,  # milliseconds; for data that was sent and is not acknowledged
    "keepalives_idle": BUSY_SECONDS,  # while waiting for an answer
    "keepalives_interval": 2,
    "keepalives_count": 3,
}
_KEY_BYTES = 32
_AFTER_COMMIT = "after_commit"  # in the info of a connection
_FILE_REPLACED = (
    "the database's file was deleted or replaced while the server was running; stop the server, put the file back or restore a "
    "backup, and start again"
)
_ALEMBIC = threading.Lock()  # Alembic keeps the current migration in globals
MIGRATION_LOCK = 0x67726F756E6473  # "grounds"; any number that no other application locks


class Database:
    """Connections and transactions. Its methods may be called from any thread.

    Attributes:
        engine: SQLAlchemy's pool of connections.
        connections: How many threads use it at once.
    """

    def __init__(self, url: str, migrations: Path = _MIGRATIONS, connections: int = CONNECTIONS) -> None:
        """Create the pool of connections; none is opened yet.

        Args:
            url: SQLAlchemy URL.
            migrations: Folder of the Alembic revisions that create its tables.
            connections: How many threads use it at once.
        """
        self.engine = _open_engine(url, connections)
        self._migrations, self.connections = migrations, connections
        parts = sqlalchemy.make_url(url)
        on_disk = parts.drivername.startswith("sqlite") and parts.database not in {None, "", ":memory:"}
        self._file = Path(str(parts.database)) if on_disk else None
        self._identity: tuple[int, int] | None = None  # device and inode of the file, as first seen

    def migrate(self) -> None:
        """Upgrade the tables to the newest revision; several processes may do it at once.

        Raises:
            DatabaseRefused: A newer release upgraded it.
            StoreUnavailable: It does not answer.
        """
        config = alembic.config.Config()
        config.set_main_option("script_location", str(self._migrations))
        with self.writing() as connection:
            if connection.dialect.name == "postgresql":  # SQLite has one writer at a time
                connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            config.attributes["connection"] = connection
            # In this transaction, so that a failed revision leaves the tables as they were.
            with _ALEMBIC:
                _refuse_newer(connection, config)
                alembic.command.upgrade(config, "head")

    @contextmanager
    def reading(self, *, once: bool = False) -> Iterator[Connection]:
        """Yield a connection to read with.

        Args:
            once: The block runs one query, which needs no transaction around it; for SQLite this saves a BEGIN.
        """
        try:
            with self.engine.connect() as connection:
                yield connection.execution_options(once=True) if once else connection
        except IntegrityError:
            raise
        except SQLAlchemyError as error:
            raise _unavailable(error) from error

    @contextmanager
    def snapshot(self) -> Iterator["Snapshot"]:
        """Yield the database as of the first read, unaffected by later commits; read only, for one thread."""
        with self.reading() as connection:
            # A read transaction of SQLite is a snapshot anyway; PostgreSQL needs the isolation level.
            if connection.dialect.name == "postgresql":
                connection.execution_options(isolation_level="REPEATABLE READ")
            yield Snapshot(connection)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Yield a connection in a transaction: committed at the end of the block, rolled back on an error.

        SQLite takes its write lock at the start, so that two writers queue, and none fails when it first writes. What
        `after_commit` registered runs after the commit; if it raises, the commit stands but is not acknowledged.
        """
        try:
            with self.engine.connect().execution_options(writing=True) as connection, connection.begin():
                info = connection.info
                info.pop(_AFTER_COMMIT, None)  # of a transaction that was rolled back
                yield connection
            info.pop(_AFTER_COMMIT, _do_nothing)()
        except IntegrityError:
            raise
        except SQLAlchemyError as error:
            raise _unavailable(error) from error

    def ensure_key(self, name: str) -> bytes:
        """Return a key of 32 bytes that all processes of this database share, created at first use."""
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
        """Check, after a commit, that it went into the SQLite file that has the name, and that its write-ahead log exists.

        A deleted or replaced file stays open here and takes writes that nobody will ever read. PostgreSQL has no such file.

        Raises:
            StoreUnavailable: A file is missing, or another one has its name.
        """
        if self._file is None:
            return
        try:
            status = self._file.stat()
            self._file.with_name(f"{self._file.name}-wal").stat()  # exists while a connection is open
        except OSError:
            raise StoreUnavailable(_FILE_REPLACED) from None
        found = status.st_dev, status.st_ino
        self._identity = self._identity or found
        if found != self._identity:
            raise StoreUnavailable(_FILE_REPLACED)

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


class ConnectionSource(Protocol):
    """Provides connections to read with: a Database, or a Snapshot of one."""

    def reading(self, *, once: bool = False) -> AbstractContextManager[Connection]:
        """Yield a connection; see Database.reading."""


class Snapshot:
    """One open transaction. Readers that get it instead of a Database all see the same moment."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @contextmanager
    def reading(self, *, once: bool = False) -> Iterator[Connection]:  # noqa: ARG002 - every read is part of the one transaction
        """Yield the one connection, which stays open."""
        yield self._connection


def after_commit(connection: Connection, work: Callable[[], None]) -> None:
    """Register what runs once the transaction of a `Database.writing` block is committed; the last registration counts."""
    connection.info[_AFTER_COMMIT] = work


def _do_nothing() -> None:
    """Do nothing."""


def _unavailable(error: SQLAlchemyError) -> StoreUnavailable:
    """Return the error for a database that failed. It does not repeat the URL, which may contain a password."""
    known = getattr(getattr(error, "orig", None), "sqlite_errorcode", 0) & 0xFF
    return StoreUnavailable(_SQLITE_PROBLEMS.get(known, "the database does not answer; try again"))


def _refuse_newer(connection: Connection, config: alembic.config.Config) -> None:
    """Raise DatabaseRefused if the tables have a revision that this release does not know."""
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    unknown = set(MigrationContext.configure(connection).get_current_heads()) - known
    if unknown:
        raise DatabaseRefused(
            f"the database has revision {', '.join(sorted(unknown))}: it was made by a newer release than this one; "
            "run that release, or name another database"
        )


def _open_engine(url: str, connections: int) -> Engine:
    """Return the pool of a database; SQLite with a write-ahead log and an fsync for every commit.

    Waiting longer than BUSY_SECONDS for a lock, or for a database that does not answer, fails. A statement that is running
    may take any time. No error contains values.
    """
    common: dict[str, Any] = {
        "hide_parameters": True,
        "poolclass": QueuePool,
        "pool_size": connections,
        "pool_timeout": BUSY_SECONDS,
        "pool_use_lifo": True,  # the connection used last still has pages in its cache: evidence reads 17 pages, not 28
    }
    if url.startswith("sqlite"):
        _create_private_file(sqlalchemy.make_url(url).database)
        engine = sqlalchemy.create_engine(url, connect_args={"timeout": BUSY_SECONDS}, **common)
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    parts = sqlalchemy.make_url(url)
    waits = {name: seconds for name, seconds in _POSTGRESQL_TIMEOUTS.items() if name not in parts.query}
    engine = sqlalchemy.create_engine(parts, pool_pre_ping=True, connect_args=waits, **common)
    event.listen(engine, "connect", _set_up_postgresql)
    event.listen(engine, "handle_error", _hide_values)
    return engine


def _create_private_file(name: str | None) -> None:
    """Create the file of a new database with mode 0600, because it will contain customers' features; keep an existing file."""
    if name and name != ":memory:" and not name.startswith("file:"):
        with suppress(OSError):  # it exists, or its folder does not, which the first query reports
            os.close(os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _set_up_postgresql(connection: Any, _record: Any) -> None:
    """Limit how long a statement waits for a lock, as for SQLite."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = '{BUSY_SECONDS}s'")
    connection.commit()


def _hide_values(context: ExceptionContext) -> None:
    """Remove the text of errors in which PostgreSQL quotes the row; the statement and the kind of error stay."""
    error, original = context.sqlalchemy_exception, context.original_exception
    if isinstance(error, IntegrityError | DataError):
        original.args = (f"SQLSTATE {getattr(original, 'sqlstate', '')}",)
        error.args = (f"({type(original).__name__}) {original}",)


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    """Make commits durable, overwrite what is deleted, and leave transactions to SQLAlchemy."""
    # Otherwise sqlite3 begins transactions by itself, and not where SQLAlchemy does.
    connection.isolation_level = None
    # Damaged texts must be readable, so that `doctor` can report them.
    connection.text_factory = lambda content: content.decode("utf-8", "backslashreplace")
    cursor = connection.cursor()
    _enable_wal(cursor)
    for pragma in _SQLITE_PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _enable_wal(cursor: sqlite3.Cursor) -> None:
    """Switch a file to a write-ahead log; retry, because SQLite rejects all but one of several connections without waiting."""
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


def _begin_sqlite(connection: Connection) -> None:
    """Begin a transaction, with the write lock if it writes; a single query is a transaction by itself."""
    options = connection.get_execution_options()
    if not options.get("once", False):
        # IMMEDIATE: a transaction that reads first and takes the write lock later may fail instead of waiting for it.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("writing", False) else "BEGIN")
