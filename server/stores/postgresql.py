"""PostgreSQL connections: durable commits, and time limits that work even if the database server is stopped.

If the database server is stopped or the network has stalled, the client receives no answer, so neither
statement_timeout nor a cancellation ends its wait. A thread therefore shuts down the socket of a connection that has
been in use for too long. The waiting thread then gets an error, and the connection is replaced. It is unknown whether a
commit in progress took effect.
"""

import os
import socket
import threading
import time
from contextlib import suppress
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, Engine, ExceptionContext, event
from sqlalchemy.exc import DataError, IntegrityError

from server.errors import StoreUnavailable
from server.stores.key_tables import METADATA as KEY_METADATA
from server.stores.tables import METADATA

_CONNECT_SECONDS = 5
_CONNECT_OPTIONS = {
    "connect_timeout": _CONNECT_SECONDS,
    "tcp_user_timeout": 10_000,  # milliseconds that sent data may stay unacknowledged
    "keepalives_idle": 10,  # seconds without data before the first keepalive probe
    "keepalives_interval": 2,
    "keepalives_count": 3,
}
_WATCH_SECONDS = 0.25
_SYNCHRONOUS_COMMIT = "synchronous_commit"  # key in the info of a connection record
# These statements are sent in one message, so they cost only one round trip. An administrator may change
# synchronous_commit while the server runs, so each transaction sets its own value. The SELECT finds an unlogged table,
# which PostgreSQL empties after a crash.
_TABLES = ", ".join(f"'{name}'" for name in sorted({*METADATA.tables, *KEY_METADATA.tables}))
_UNLOGGED = f"SELECT MIN(relname) FROM pg_class WHERE relname IN ({_TABLES}) AND relpersistence <> 'p' AND pg_table_is_visible(oid)"  # noqa: S608 - names of our tables
_BEGIN_WRITING = f"SHOW fsync; SHOW full_page_writes; {_UNLOGGED}; BEGIN; SET LOCAL synchronous_commit = {{}}"
_BEGIN_SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class ConnectionWatchdog:
    """Shuts down connections that have been in use for longer than a time limit. A daemon thread looks for them.

    All connections are psycopg connections.

    Attributes:
        seconds_max: Time limit in seconds; None for no limit.
    """

    def __init__(self) -> None:
        self.seconds_max: float | None = None
        # The socket of each connection, by the identity of the connection. Each socket has a copy of the descriptor,
        # because the number of a descriptor that psycopg has closed may already belong to another file.
        self._sockets: dict[int, socket.socket] = {}
        self._deadlines: dict[int, float] = {}
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def add(self, connection: Any) -> None:
        """Add a new connection, which is in use from now on."""
        self._sockets[id(connection)] = socket.socket(fileno=os.dup(connection.pgconn.socket))
        self.watch(connection)

    def watch(self, connection: Any) -> None:
        """Start the time limit of a connection, which is in use from now on."""
        if self.seconds_max is not None:
            self._deadlines[id(connection)] = time.monotonic() + self.seconds_max
            if self._thread is None:
                self._start_thread()

    def release(self, connection: Any) -> None:
        """End the time limit of a connection."""
        self._deadlines.pop(id(connection), None)

    def remove(self, connection: Any) -> None:
        """Remove a connection that is closed."""
        self.release(connection)
        if (copy := self._sockets.pop(id(connection), None)) is not None:
            copy.close()

    def shut_down_all(self) -> None:
        """Shut down every connection that is in use. Call this when no call waits for an answer any longer."""
        self._shut_down(float("inf"))

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()

    def _start_thread(self) -> None:
        """Start the thread, unless another thread has just started it."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="connection-watchdog", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        """Look for connections that have exceeded their time limit."""
        while not self._stopped.wait(_WATCH_SECONDS):
            self._shut_down(time.monotonic())

    def _shut_down(self, now: float) -> None:
        """Shut down the connections whose time limit ended before `now`."""
        for name, deadline in list(self._deadlines.items()):
            if deadline >= now:
                continue
            self._deadlines.pop(name, None)
            if (copy := self._sockets.get(name)) is not None:
                with suppress(OSError):  # the connection was closed in the meantime
                    copy.shutdown(socket.SHUT_RDWR)


def open_engine(url: sqlalchemy.URL, watchdog: ConnectionWatchdog, lock_seconds: int, common: dict[str, Any]) -> Engine:
    """Create the engine of a PostgreSQL database.

    Args:
        url: URL of the database. Its parameters take precedence over the time limits of this module.
        watchdog: Watchdog of the connections.
        lock_seconds: Time limit in seconds for a statement that waits for a lock.
        common: Arguments of the engine that do not depend on the kind of database.
    """
    waits = {name: value for name, value in _CONNECT_OPTIONS.items() if name not in url.query}
    engine = sqlalchemy.create_engine(url, connect_args=waits, **common)

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, _record: Any, arguments: Any, options: Any) -> Any:
        connection = dialect.connect(*arguments, **options)
        watchdog.add(connection)
        return connection

    @event.listens_for(engine, "connect")
    def prepare_session(connection: Any, record: Any) -> None:
        configured = connection.execute("SHOW synchronous_commit").fetchone()[0]
        # `on` is durable. Keep only a value that is stronger.
        record.info[_SYNCHRONOUS_COMMIT] = configured if configured == "remote_apply" else "on"
        connection.execute(_session_settings(lock_seconds, watchdog.seconds_max))
        connection.commit()
        connection.autocommit = True  # `_begin` begins transactions

    event.listen(engine, "checkout", lambda connection, _record, _proxy: watchdog.watch(connection))
    event.listen(engine, "checkin", lambda connection, _record: watchdog.release(connection))
    event.listen(engine, "close", lambda connection, _record: watchdog.remove(connection))
    event.listen(engine, "begin", _begin)
    event.listen(engine, "handle_error", _hide_values)
    return engine


def _session_settings(lock_seconds: int, seconds_max: float | None) -> str:
    """Return the statements that set time limits in the database server.

    Otherwise, a Grounds process that was stopped during a transaction would keep its locks and block every other
    process.
    """
    settings = [f"SET lock_timeout = '{lock_seconds}s'"]
    if seconds_max is not None:
        milliseconds = round(seconds_max * 1000)
        settings.append(f"SET statement_timeout = {milliseconds}")
        settings.append(f"SET idle_in_transaction_session_timeout = {milliseconds}")
    return ";".join(settings)


def _begin(connection: Connection) -> None:
    """Begin a transaction, which also shows whether the pooled connection still works.

    Raises:
        StoreUnavailable: The database may lose commits that it acknowledges.
    """
    options = connection.get_execution_options()
    if options.get("writing", False):
        _begin_writing(connection)
    elif options.get("single_statement", False):
        connection.exec_driver_sql("SELECT 1")  # checks the connection; a single statement needs no transaction
    else:
        connection.exec_driver_sql(_BEGIN_SNAPSHOT if options.get("snapshot", False) else "BEGIN")


def _begin_writing(connection: Connection) -> None:
    """Begin a transaction whose commit waits for the disk; refuse settings and tables that lose commits in a crash."""
    with connection.exec_driver_sql(_BEGIN_WRITING.format(connection.info[_SYNCHRONOUS_COMMIT])) as result:
        cursor: Any = result.cursor
        for name in ("fsync", "full_page_writes"):
            (value,) = cursor.fetchone()
            if value != "on":
                raise StoreUnavailable(
                    f"PostgreSQL runs with {name} = {value} and may lose acknowledged records; set {name} = on, and reload its "
                    "configuration"
                )
            cursor.nextset()
        (unlogged,) = cursor.fetchone()
        if unlogged is not None:
            raise StoreUnavailable(
                f"the table {unlogged} is unlogged, so PostgreSQL empties it after a crash; run ALTER TABLE {unlogged} SET LOGGED"
            )


def _hide_values(context: ExceptionContext) -> None:
    """Remove the text of errors in which PostgreSQL quotes a row. The statement and the type of the error remain."""
    error, original = context.sqlalchemy_exception, context.original_exception
    if isinstance(error, IntegrityError | DataError):
        original.args = (f"SQLSTATE {getattr(original, 'sqlstate', '')}",)
        error.args = (f"({type(original).__name__}) {original}",)
