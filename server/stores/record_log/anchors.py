"""Anchors checkpoints in a table, a folder and a command, so that a log that is changed later contradicts them."""

import os
import shlex
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import structlog
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from grounds_record.checkpoint import open_checkpoint
from grounds_record.errors import RecordError
from grounds_record.key_history import LogKeys, open_rotation, trace_keys
from grounds_record.merkle import Frontier, split_hashes
from grounds_record.note import parse_verifier_key
from server.errors import ServerError
from server.stores.database import Database
from server.stores.record_log.forks import RememberedCheckpoint, fork_problems
from server.stores.record_log.proofs import LogHead, ProofReader
from server.stores.tables import CHECKPOINTS

_EVENTS = structlog.get_logger()
_COMMAND_SECONDS_MAX = 30
CHECKED_ANCHORS = 100  # the newest anchored checkpoints, which are compared with the log before its first append


class AnchorContradicted(Exception):
    """An anchored checkpoint contradicts the log, because the database was restored or records were replaced."""


class CheckpointAnchor:
    """Copies the newest checkpoint to every anchor: the table of checkpoints, a folder, and a command.

    Attributes:
        failures: Number of failed pushes since the start of the process.
        succeeded_at: Time of the last successful push, in seconds of the monotonic clock; None before the first one. A
            push without a new checkpoint succeeds.
    """

    def __init__(self, database: Database, folder: Path | None, command: str | None) -> None:
        """Create an anchor.

        Args:
            database: Database of the log.
            folder: Folder that gets one file per checkpoint; None for no folder.
            command: Command that gets each checkpoint on its standard input; None for no command.
        """
        self._database, self._proofs = database, ProofReader(database)
        self._folder, self._command = folder, shlex.split(command or "")
        self._pushed = -1  # size of the last checkpoint that reached every anchor
        self._running: subprocess.Popen[bytes] | None = None
        self.failures = 0
        self.succeeded_at: float | None = None

    @property
    def pushed_size(self) -> int:
        """Return the number of records that the last pushed checkpoint covers; 0 if this process has pushed none."""
        return max(0, self._pushed)

    def push(self, seconds: float = _COMMAND_SECONDS_MAX) -> bool:
        """Push the newest checkpoint, unless it was pushed already. Count and log a failed push; the next call retries.

        Args:
            seconds: Time limit for the command in seconds.

        Returns:
            True if the newest checkpoint has reached every anchor.
        """
        try:
            head = self._proofs.read_head()
            if head.size == max(self._pushed, 0):  # the checkpoint was pushed already, or the log is empty
                self.succeeded_at = time.monotonic()
                return True
            self._store(head.size, head.checkpoint)
            if self._folder is not None:
                self._check_continuity(head, self._folder)
            # A checkpoint of a deleted database file must not be anchored, because it would contradict the restored
            # database.
            self._database.check_files()
            if self._folder is not None:
                for rotation in head.key_rotations:
                    size = open_rotation(rotation).size
                    write_exclusively(self._folder / f"key-rotation-{size:020d}.txt", rotation)
                write_exclusively(self._folder / f"checkpoint-{head.size:020d}.txt", head.checkpoint)
            if self._command:
                self._run_command(head.checkpoint, seconds)
        except (AnchorContradicted, OSError, RecordError, ServerError, subprocess.SubprocessError) as error:
            self.failures += 1
            problem = _problem_of(error)
            name = type(error).__name__
            _EVENTS.error("checkpoint not anchored", error=name, problem=problem, failures=self.failures)
            return False
        else:
            # Set only if all anchors succeeded. After a failure, the next call pushes the checkpoint to all anchors
            # again. The table and the folder ignore a checkpoint that they already have.
            self._pushed, self.succeeded_at = head.size, time.monotonic()
            return True

    def stop(self) -> None:
        """Kill a command that is running, so that it does not delay the end of the server."""
        if (process := self._running) is not None:
            _kill_group(process)

    def _run_command(self, note: str, seconds: float) -> None:
        """Run the operator's command, with the checkpoint as standard input.

        The command has a process group of its own, so that its own children end with it.

        Raises:
            OSError: The command cannot be started.
            SubprocessError: The command failed, was killed, or exceeded the time limit.
        """
        with subprocess.Popen(  # noqa: S603 - the operator's own command
            self._command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
        ) as process:
            self._running = process
            try:
                process.communicate(note.encode(), seconds)
            finally:
                self._running = None
                _kill_group(process)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, self._command)

    def _check_continuity(self, head: LogHead, folder: Path) -> None:
        """Check that the log extends the newest checkpoint in the folder.

        Raises:
            AnchorContradicted: The log contradicts this checkpoint, so the new checkpoint must not be anchored.
        """
        keys = trace_keys(parse_verifier_key(head.verifier_key), head.key_rotations)
        anchors = read_newest_anchors(folder, keys, count=1)
        with self._database.reading() as connection:
            for _, problem in fork_problems(connection, Frontier(head.size, split_hashes(head.peaks)), anchors):
                raise AnchorContradicted(problem)

    def _store(self, size: int, note: str) -> None:
        """Store a checkpoint in the database, so that `doctor` can compare it with the log."""
        with self._database.reading() as connection:
            if connection.execute(select(CHECKPOINTS.c.size).where(CHECKPOINTS.c.size == size)).first():
                return
        try:
            with self._database.writing() as connection:
                connection.execute(CHECKPOINTS.insert().values(size=size, note=note))
        except IntegrityError:
            pass  # another process stored the same checkpoint first


def read_newest_anchors(
    folder: Path | None, key: LogKeys, count: int | None = CHECKED_ANCHORS
) -> list[RememberedCheckpoint]:
    """Read the newest checkpoints in the anchor folder. Their order is determined by the tree size in the file names.

    Files without a checkpoint of this log are ignored; `doctor` reports them.

    Args:
        folder: The anchor folder; None if there is none.
        key: Public keys of the log, which verify the signatures.
        count: Maximum number of files to read; None for all files.
    """
    if folder is None or not folder.is_dir():
        return []
    found = []
    paths = sorted(folder.glob("checkpoint-*.txt"))
    for path in paths if count is None else paths[-count:]:
        with suppress(OSError, RecordError, UnicodeDecodeError):
            found.append(RememberedCheckpoint(str(path), open_checkpoint(path.read_text(encoding="utf-8"), key)))
    return found


def write_exclusively(path: Path, note: str) -> None:
    """Write a new file atomically and sync it to the disk. Do nothing if a file with the same content exists.

    Raises:
        AnchorContradicted: A file with different content exists. It is not replaced.
        OSError: The file cannot be written.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(note)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        try:
            os.link(name, path)  # unlike a rename, a link fails if the name exists
        except FileExistsError:
            if path.read_text(encoding="utf-8") != note:
                raise AnchorContradicted(f"{path} contains a different checkpoint of the same size") from None
    finally:
        Path(name).unlink(missing_ok=True)


def _problem_of(error: Exception) -> str:
    """Return why a checkpoint was not anchored: the contradiction, or the path and the reason of the operating system."""
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    return str(error) if isinstance(error, AnchorContradicted) else ""


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill all processes of a command that still run."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
