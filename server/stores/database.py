"""The one database of a server or a fleet: SQLite or PostgreSQL, brought up to date by Alembic."""

import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
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

MIGRATIONS = Path(__file__).parent / "migrations"
CONNECTIONS = 5  # of a command
# So many pages of 4 KB SQLite's write-ahead log has before a commit brings them into the file, which it waits for. In a log of five
# million records the slowest hundredth took 15 ms and more with the usual 1,000, and 8 to 10 with these.
WAL_PAGES = 8_000
SQLITE = ("synchronous=FULL", "foreign_keys=ON", "secure_delete=ON", f"wal_autocheckpoint={WAL_PAGES}")
WRONG_WITH_SQLITE = {
    sqlite3.SQLITE_CORRUPT: "the database is damaged: restore it from its backup",
    sqlite3.SQLITE_NOTADB: "the database's file is no database: look at the settings `database` and `keys`, or restore it",
    sqlite3.SQLITE_CANTOPEN: "the database's file cannot be opened: look at its folder, and at who may write there",
}
BUSY_SECONDS = 10  # so long a lock, or a database that does not answer, is waited for
POSTGRESQL_WAITS = {
    "connect_timeout": BUSY_SECONDS,
    "tcp_user_timeout": BUSY_SECONDS * 1000,  # milliseconds; what was sent and is not acknowledged
    "keepalives_idle": BUSY_SECONDS,  # while an answer is waited for
    "keepalives_interval": 2,
    "keepalives_count": 3,
}
KEY_BYTES = 32
ALEMBIC = threading.Lock()  # it keeps what it does in globals
MIGRATION_LOCK = 0x67726F756E6473  # "grounds"; any number that nobody else uses


class Database:
    """Connections, and transactions that either happen or do not.

    Owned by the process; its methods may be called from any thread.
    """

    def __init__(self, url: str, migrations: Path = MIGRATIONS, connections: int = CONNECTIONS) -> None:
        """Open it; nothing is asked of it yet.

        Args:
            url: SQLAlchemy URL.
            migrations: What makes its tables.
            connections: How many threads use it at once.
        """
        self.engine = open_engine(url, connections)
        self.migrations, self.connections = migrations, connections

    def migrate(self) -> None:
        """Bring the tables up to date; safe to call from several processes at once.

        Raises:
            DatabaseRefused: A newer release made it.
            StoreUnavailable: It does not answer.
        """
        config = alembic.config.Config()
        config.set_main_option("script_location", str(self.migrations))
        with self.writing() as connection:
            if connection.dialect.name == "postgresql":  # SQLite has one writer at a time anyway
                connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            config.attributes["connection"] = connection
            with ALEMBIC:
                refuse_newer(connection, config)
                alembic.command.upgrade(config, "head")

    @contextmanager
    def reading(self, *, once: bool = False) -> Iterator[Connection]:
        """Give a connection to read with, or to ask once, which needs no transaction around it."""
        try:
            with self.engine.connect() as connection:
                yield connection.execution_options(once=True) if once else connection
        except IntegrityError:
            raise
        except SQLAlchemyError as error:
            raise unavailable(error) from error

    @contextmanager
    def snapshot(self) -> Iterator["Snapshot"]:
        """Yield the database as of the first read, unaffected by later commits; read only, for one thread."""
        with self.reading() as connection:
            if connection.dialect.name == "postgresql":
                connection.execution_options(isolation_level="REPEATABLE READ")
            yield Snapshot(connection)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a connection in a transaction: committed at the end of the block, rolled back on an error.

        SQLite takes its write lock at the start, so that two writers queue and none fails half-way.
        """
        try:
            with self.engine.connect().execution_options(writing=True) as connection, connection.begin():
                yield connection
        except IntegrityError:
            raise
        except SQLAlchemyError as error:
            raise unavailable(error) from error

    def key(self, name: str) -> bytes:
        """Give a key that all processes of this database share; made at first use."""
        with self.reading() as connection:
            found = connection.execute(select(SERVER_KEYS.c.key).where(SERVER_KEYS.c.name == name)).scalar()
        if found is not None:
            return bytes(found)
        try:
            with self.writing() as connection:
                connection.execute(SERVER_KEYS.insert().values(name=name, key=secrets.token_bytes(KEY_BYTES)))
        except IntegrityError:
            pass  # another process was first
        return self.key(name)

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


def unavailable(error: SQLAlchemyError) -> StoreUnavailable:
    """Say what is wrong with a database, as far as it is known; its URL may hold a password and is not repeated."""
    known = getattr(getattr(error, "orig", None), "sqlite_errorcode", 0) & 0xFF
    return StoreUnavailable(WRONG_WITH_SQLITE.get(known, "the database does not answer; try again"))


def refuse_newer(connection: Connection, config: alembic.config.Config) -> None:
    """Refuse tables that a revision made which this release does not have."""
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    unknown = set(MigrationContext.configure(connection).get_current_heads()) - known
    if unknown:
        raise DatabaseRefused(
            f"the database has revision {', '.join(sorted(unknown))}: it was made by a newer release than this one; "
            "run that release, or name another database"
        )


def open_engine(url: str, connections: int) -> Engine:
    """Open the database; SQLite with a write-ahead log and an fsync for every commit.

    Whoever waits for longer than BUSY_SECONDS, for a lock or for a database that is silent, gets StoreUnavailable. A
    statement that works may take its time. No error tells a value.
    """
    common: dict[str, Any] = {
        "hide_parameters": True,
        "poolclass": QueuePool,
        "pool_size": connections,
        "pool_timeout": BUSY_SECONDS,
        "pool_use_lifo": True,  # a connection that wrote last has its pages in memory still: 17 reads of pages for evidence, not 28
    }
    if url.startswith("sqlite"):
        make_for_owner(sqlalchemy.make_url(url).database)
        engine = sqlalchemy.create_engine(url, connect_args={"timeout": BUSY_SECONDS}, **common)
        event.listen(engine, "connect", set_up_sqlite)
        event.listen(engine, "begin", begin_sqlite)
        return engine
    parts = sqlalchemy.make_url(url)
    waits = {name: seconds for name, seconds in POSTGRESQL_WAITS.items() if name not in parts.query}
    engine = sqlalchemy.create_engine(parts, pool_pre_ping=True, connect_args=waits, **common)
    event.listen(engine, "connect", set_up_postgresql)
    event.listen(engine, "handle_error", hide_values)
    return engine


def make_for_owner(name: str | None) -> None:
    """Make the file of a new database, for its owner alone: customers' features are in it. One that is there stays as it is."""
    if name and name != ":memory:" and not name.startswith("file:"):
        with suppress(OSError):  # it is there, or its folder is not, which the first question will tell
            os.close(os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def set_up_postgresql(connection: Any, _record: Any) -> None:
    """Let no statement wait for a lock for longer than SQLite would."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = '{BUSY_SECONDS}s'")
    connection.commit()


def hide_values(context: ExceptionContext) -> None:
    """Take the text of errors in which PostgreSQL quotes the row: what remains is the statement and the kind of error."""
    error, original = context.sqlalchemy_exception, context.original_exception
    if isinstance(error, IntegrityError | DataError):
        original.args = (f"SQLSTATE {getattr(original, 'sqlstate', '')}",)
        error.args = (f"({type(original).__name__}) {original}",)


def set_up_sqlite(connection: Any, _record: Any) -> None:
    """Make commits durable and deletions real, and leave transactions to SQLAlchemy."""
    connection.isolation_level = None
    # A text that somebody damaged must be readable for those who look for the damage.
    connection.text_factory = lambda content: content.decode("utf-8", "backslashreplace")
    cursor = connection.cursor()
    ask_for_wal(cursor)
    for pragma in SQLITE:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def ask_for_wal(cursor: sqlite3.Cursor) -> None:
    """Turn a new file to a write-ahead log; of several that do so at once SQLite refuses all but one without waiting for it."""
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


def begin_sqlite(connection: Connection) -> None:
    """Begin a transaction, with the write lock where the transaction writes; one question is a transaction of itself."""
    options = connection.get_execution_options()
    if not options.get("once", False):
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("writing", False) else "BEGIN")
