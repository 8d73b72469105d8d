"""The one database of a server or a fleet: SQLite or PostgreSQL, brought up to date by Alembic."""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
import sqlalchemy
from sqlalchemy import Connection, Engine, event, func, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from server.errors import StoreUnavailable
from server.stores.tables import SERVER_KEYS

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_SECONDS = 10
KEY_BYTES = 32
ALEMBIC = threading.Lock()  # it keeps what it does in globals
MIGRATION_LOCK = 0x67726F756E6473  # "grounds"; any number that nobody else uses


class Database:
    """Connections, and transactions that either happen or do not.

    Owned by the process; its methods may be called from any thread.
    """

    def __init__(self, url: str, migrations: Path = MIGRATIONS) -> None:
        self.engine = open_engine(url)
        self.migrations = migrations

    def migrate(self) -> None:
        """Bring the tables up to date; safe to call from several processes at once.

        Raises:
            StoreUnavailable: The database does not answer.
        """
        config = alembic.config.Config()
        config.set_main_option("script_location", str(self.migrations))
        with self.writing() as connection:
            if connection.dialect.name == "postgresql":  # SQLite has one writer at a time anyway
                connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            config.attributes["connection"] = connection
            with ALEMBIC:
                alembic.command.upgrade(config, "head")

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection to read with."""
        try:
            with self.engine.connect() as connection:
                yield connection
        except IntegrityError:
            raise
        except SQLAlchemyError as error:
            raise StoreUnavailable("the database does not answer; try again") from error

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
            raise StoreUnavailable("the database does not answer; try again") from error

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


def open_engine(url: str) -> Engine:
    """Open the database; SQLite with a write-ahead log, an fsync for every commit, and what is deleted overwritten."""
    if not url.startswith("sqlite"):
        return sqlalchemy.create_engine(url, pool_pre_ping=True)
    engine = sqlalchemy.create_engine(url, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", set_up_sqlite)
    event.listen(engine, "begin", begin_sqlite)
    return engine


def set_up_sqlite(connection: Any, _record: Any) -> None:
    """Make commits durable and deletions real, and leave transactions to SQLAlchemy."""
    connection.isolation_level = None
    # A text that somebody damaged must be readable for those who look for the damage.
    connection.text_factory = lambda content: content.decode("utf-8", "backslashreplace")
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def begin_sqlite(connection: Connection) -> None:
    """Begin a transaction, with the write lock where the transaction writes."""
    writes = connection.get_execution_options().get("writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
