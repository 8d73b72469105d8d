"""Copies signed checkpoints to where the log's owner cannot change them: a folder, a command, and a table of the database."""

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

_EVENTS = structlog.get_logger()
_COMMAND_SECONDS_MAX = 30


class CheckpointAnchor:
    """Pushes the newest checkpoint to every anchor.

    Attributes:
        failures: How many pushes failed since the start.
    """

    def __init__(self, database: Database, folder: Path | None, command: str | None) -> None:
        """Push to a folder, one file a checkpoint, and to a command, on its standard input; None for neither."""
        self._database, self._proofs = database, ProofReader(database)
        self._folder, self._command = folder, shlex.split(command or "")
        self._pushed = -1  # size of the last checkpoint that reached every anchor
        self.failures = 0

    def push(self) -> None:
        """Push the newest checkpoint unless it is pushed already; log and count a failure, and retry it the next time."""
        try:
            head = self._proofs.read_head()
            if head.size == max(self._pushed, 0):  # the checkpoint of an empty log proves nothing
                return
            self._store(head.size, head.checkpoint)
            if self._folder is not None:
                _write_file(self._folder / f"checkpoint-{head.size:020d}.txt", head.checkpoint)
            if self._command:
                _run_command(self._command, head.checkpoint)
        except (OSError, ServerError, subprocess.SubprocessError) as error:
            self.failures += 1
            _EVENTS.error("checkpoint not anchored", error=type(error).__name__, failures=self.failures)
        else:
            # Set last: after a failure of any anchor, all get the next checkpoint. Each of them accepts one twice.
            self._pushed = head.size

    def _store(self, size: int, note: str) -> None:
        """Store a checkpoint in the database too, for `doctor` to check."""
        with self._database.reading() as connection:
            if connection.execute(select(CHECKPOINTS.c.size).where(CHECKPOINTS.c.size == size)).first():
                return
        try:
            with self._database.writing() as connection:
                connection.execute(CHECKPOINTS.insert().values(size=size, note=note))
        except IntegrityError:
            pass  # another process stored the same checkpoint first


def _write_file(path: Path, note: str) -> None:
    """Write a file durably and atomically."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(note)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        # Renamed after the fsync: after a crash the folder has the whole file or none under this name.
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def _run_command(command: list[str], note: str) -> None:
    """Run the operator's command with the checkpoint on its standard input."""
    subprocess.run(  # noqa: S603 - the operator's own command
        command, input=note.encode(), check=True, timeout=_COMMAND_SECONDS_MAX, stdout=subprocess.DEVNULL
    )
