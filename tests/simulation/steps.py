"""The steps of the database in a simulated process: each can pause, fail, lose its reply, or be the last one."""

import random
import sqlite3
from collections.abc import Callable

from sqlalchemy import Connection, event
from sqlalchemy.exc import OperationalError

from server.stores.database import BUSY_SECONDS, Database
from tests.simulation.virtual_time import VirtualThread, VirtualTimeLoop

_PAUSE_SHARE, _PAUSE_PER_SECOND = 0.1, 300.0
_FAIL_SHARE = 0.3
_LOCK_SECONDS = 0.02  # pause between two attempts to get the write lock


class ProcessDied(BaseException):
    """Ends the work of a thread whose process has died."""


class DatabaseSteps:
    """Decides what happens at each step of the databases of one process.

    Attributes:
        dead: True after the death of the process. Every further step ends its thread.
        left: Number of steps before the process dies; None if it does not die at a step.
        fails_until: Virtual time until which steps fail at random.
        hangs_until: Virtual time before which no step ends.
        count: Number of steps so far.
    """

    def __init__(self, loop: VirtualTimeLoop, random_: random.Random, die: Callable[[], None]) -> None:
        self._loop, self._random, self._die = loop, random_, die
        self.dead = False
        self.left: int | None = None
        self.fails_until = self.hangs_until = -1.0
        self.count = 0
        self._writers: dict[str, tuple[VirtualThread, Connection]] = {}  # who has the write lock, by database

    def watch(self, database: Database) -> None:
        """Control every step of a database."""
        engine, name = database.engine, str(database.engine.url.database)
        event.listen(engine, "before_cursor_execute", lambda *call: self._execute(call[0], call[2], name))
        event.listen(engine, "commit", lambda connection: self._commit(connection, name))
        event.listen(engine, "rollback", lambda connection: self._unlock(connection, name))

    def _execute(self, connection: Connection, statement: str, name: str) -> None:
        """Step before a statement. The begin of a writing transaction waits for the write lock in virtual time."""
        self._step()
        if statement != "BEGIN IMMEDIATE" or VirtualThread.current is None:
            return
        deadline = self._loop.time() + BUSY_SECONDS
        while self.is_locked(name):
            if self._loop.time() > deadline:
                raise OperationalError("BEGIN", None, sqlite3.OperationalError("database is locked"))
            self._pause(_LOCK_SECONDS)
        self._writers[name] = VirtualThread.current, connection

    def _commit(self, connection: Connection, name: str) -> None:
        """Step before and after a commit: the commit can fail, or only its reply can be lost."""
        self._step()
        connection.connection.commit()
        self._unlock(connection, name)
        self._step()

    def _unlock(self, connection: Connection, name: str) -> None:
        """Release the write lock of a database, if this connection has it."""
        if name in self._writers and self._writers[name][1] is connection:
            del self._writers[name]

    def is_locked(self, name: str) -> bool:
        """Return whether a thread has the write lock of a database."""
        writer = self._writers.get(name)
        return writer is not None and writer[0].alive

    def _step(self) -> None:
        """Pause, fail or die, as the faults demand."""
        if self.dead:
            raise ProcessDied
        if VirtualThread.current is None:
            return
        self.count += 1
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.left, self.dead = None, True
                self._die()
                raise ProcessDied
        if self._loop.time() < self.hangs_until:
            self._pause(self.hangs_until - self._loop.time())
        elif self._random.random() < _PAUSE_SHARE:
            self._pause(self._random.expovariate(_PAUSE_PER_SECOND))
        if self._loop.time() < self.fails_until and self._random.random() < _FAIL_SHARE:
            raise OperationalError("a step", None, sqlite3.OperationalError("disk I/O error"))

    def _pause(self, seconds: float) -> None:
        """Pause the current thread for some virtual seconds."""
        assert VirtualThread.current is not None
        VirtualThread.current.pause(seconds)
        if self.dead:
            raise ProcessDied
