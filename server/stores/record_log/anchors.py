"""Brings signed checkpoints to where the log's owner cannot change them: a folder, a command, and a table."""

import os
import shlex
import subprocess
import tempfile
from pathlib import Path

import structlog
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from server.errors import ServerError
from server.stores.database import Database
from server.stores.record_log.proofs import ProofReader
from server.stores.tables import CHECKPOINTS

EVENTS = structlog.get_logger()
COMMAND_SECONDS_MAX = 30


class CheckpointAnchor:
    """Pushes the newest checkpoint. A failure is logged and counted, and tried again with the next one.

    Attributes:
        pushed: Size of the last checkpoint that reached every anchor; -1 before the first.
        failures: How often one did not.
    """

    def __init__(self, database: Database, folder: Path | None, command: str | None) -> None:
        self.database, self.proofs = database, ProofReader(database)
        self.folder, self.command = folder, shlex.split(command or "")
        self.pushed, self.failures = -1, 0

    def push(self) -> None:
        """Push the newest checkpoint, if there is a newer one than the last."""
        try:
            head = self.proofs.read_head()
            if head.size == max(self.pushed, 0):
                return
            self.keep(head.size, head.checkpoint)
            if self.folder is not None:
                write(self.folder / f"checkpoint-{head.size:020d}.txt", head.checkpoint)
            if self.command:
                run(self.command, head.checkpoint)
        except (OSError, ServerError, subprocess.SubprocessError) as error:
            self.failures += 1
            EVENTS.error("checkpoint not anchored", error=type(error).__name__, failures=self.failures)
        else:
            self.pushed = head.size

    def keep(self, size: int, note: str) -> None:
        """Keep it in the database too, so that `doctor` can check by it."""
        with self.database.reading() as connection:
            if connection.execute(select(CHECKPOINTS.c.size).where(CHECKPOINTS.c.size == size)).first():
                return
        try:
            with self.database.writing() as connection:
                connection.execute(CHECKPOINTS.insert().values(size=size, note=note))
        except IntegrityError:
            pass  # another process was first


def write(path: Path, note: str) -> None:
    """Write a file whole, durably, or not at all."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(note)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def run(command: list[str], note: str) -> None:
    """Run the operator's command with the note on its standard input."""
    subprocess.run(  # noqa: S603 - the operator's own command
        command, input=note.encode(), check=True, timeout=COMMAND_SECONDS_MAX, stdout=subprocess.DEVNULL
    )
