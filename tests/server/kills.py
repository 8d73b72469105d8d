"""Ends a process's work at the n-th step of its databases: a transaction's begin, a statement, a commit, or right after one."""

from collections.abc import Callable

from sqlalchemy import Connection, event

from server.stores.database import Database

STEPS_MAX = 200


class Killed(BaseException):
    """The process is no more."""


class Kill:
    """Kills at a step.

    Attributes:
        left: Steps until then; None: never.
    """

    def __init__(self, steps: int, *databases: Database) -> None:
        self.left: int | None = steps
        for database in databases:
            event.listen(database.engine, "begin", self.step)
            event.listen(database.engine, "before_cursor_execute", lambda connection, *_: self.step(connection))
            event.listen(database.engine, "commit", self.commit)

    def commit(self, connection: Connection) -> None:
        """Count a commit twice: before it is done, and after."""
        self.step(connection)
        if self.left == 0:
            connection.connection.commit()
        self.step(connection)

    def step(self, _connection: Connection) -> None:
        """Kill if it is time."""
        if self.left is None:
            return
        if self.left == 0:
            self.left = None
            raise Killed
        self.left -= 1


def at_every_step(work: Callable[[int], bool]) -> int:
    """Do something that is killed at step 0, 1, 2 and so on, until it ends by itself; gives after how many steps."""
    for step in range(STEPS_MAX):
        if work(step):
            return step
    raise AssertionError("it never ends by itself")
