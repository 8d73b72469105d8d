"""Stops work at the n-th database step: a transaction's begin, a statement, a commit, or a commit's end."""

from collections.abc import Callable

from sqlalchemy import Connection, event

from server.stores.database import Database

STEPS_MAX = 200


class Killed(BaseException):
    """Stops the work as if the process had been killed."""


class Kill:
    """Raises Killed at a given database step.

    Attributes:
        left: Number of steps before the kill; None if the work is not killed.
    """

    def __init__(self, steps: int, *databases: Database) -> None:
        self.left: int | None = steps
        for database in databases:
            event.listen(database.engine, "begin", self.step)
            event.listen(database.engine, "before_cursor_execute", lambda connection, *_: self.step(connection))
            event.listen(database.engine, "commit", self.commit)

    def commit(self, connection: Connection) -> None:
        """Count a commit as two steps: one before the commit, and one after it."""
        self.step(connection)
        if self.left == 0:
            connection.connection.commit()
        self.step(connection)

    def step(self, _connection: Connection | None = None) -> None:
        """Count a step, and raise Killed if it is the chosen step."""
        if self.left is None:
            return
        if self.left == 0:
            self.left = None
            raise Killed
        self.left -= 1


def at_every_step(work: Callable[[int], bool]) -> int:
    """Run `work` with a kill at step 0, 1, 2 and so on, until it ends without a kill; return the number of this run."""
    for step in range(STEPS_MAX):
        if work(step):
            return step
    raise AssertionError("it never ends by itself")
