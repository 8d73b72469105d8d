"""Anchors checkpoints in a table, a folder and a command, so that a log that is changed later contradicts them."""

import errno
import os
import select
import shlex
import signal
import stat
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

import sqlalchemy
import structlog
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
_ANCHOR_FILES = "checkpoint-*.txt"
_ANCHOR_BYTES_MAX = 65536
_PROBLEM_BYTES_MAX = 500  # how much of a command's standard error is logged
_POLL_SECONDS = 0.05


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
                write_exclusively(self._folder / _anchor_name(head.size), head.checkpoint)
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

        The command has a process group of its own, so that its own children end with it. Its standard error is
        captured, so that it cannot flood the application log or break its format.

        Raises:
            OSError: The command cannot be started.
            SubprocessError: The command failed, was killed, or exceeded the time limit.
        """
        with subprocess.Popen(  # noqa: S603 - the operator's own command
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as process:
            self._running = process
            try:
                printed = _serve_command(process, note.encode(), seconds)
            finally:
                self._running = None
                _kill_group(process)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, self._command, stderr=printed)

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
            if connection.execute(sqlalchemy.select(CHECKPOINTS.c.size).where(CHECKPOINTS.c.size == size)).first():
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

    A file that contains no checkpoint of this log, or whose name states a different size, is ignored and does not count
    toward `count`; `doctor` reports files without a checkpoint.

    Args:
        folder: The anchor folder; None if there is none.
        key: Public keys of the log, which verify the signatures.
        count: Maximum number of checkpoints to return; None for all of them.
    """
    if folder is None or not folder.is_dir():
        return []
    found: list[RememberedCheckpoint] = []
    for path in sorted(folder.glob(_ANCHOR_FILES), reverse=True):
        if len(found) == count:
            break
        with suppress(OSError, RecordError):
            checkpoint = open_checkpoint(_read_anchor(path), key)
            # A copy of an old checkpoint under the name of a larger tree must not displace a newer checkpoint.
            if path.name == _anchor_name(checkpoint.size):
                found.append(RememberedCheckpoint(str(path), checkpoint))
    return found[::-1]


def read_anchored_size(database: Database, folder: Path) -> int:
    """Return the tree size of the newest checkpoint of the log in an anchor folder; 0 if the folder has none."""
    head = ProofReader(database).read_head()
    keys = trace_keys(parse_verifier_key(head.verifier_key), head.key_rotations)
    return max((each.checkpoint.size for each in read_newest_anchors(folder, keys, count=1)), default=0)


def read_anchor_folder(folder: Path | None) -> list[str]:
    """Return the texts of all files that are named as anchors, sorted by name; "" for a file that cannot be read."""
    if folder is None:
        return []
    texts = []
    for path in sorted(folder.glob(_ANCHOR_FILES)):
        try:
            texts.append(_read_anchor(path))
        except OSError:
            texts.append("")
    return texts


def _read_anchor(path: Path) -> str:
    """Return the text of an anchor. Bytes that are not UTF-8 are replaced, so that the signature is invalid.

    Other programs may write to the folder. A pipe, a device or a huge file must not block the reader or use up its
    memory.

    Raises:
        OSError: The file cannot be read, is not a regular file, or is too large for a checkpoint.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        content = file.read(_ANCHOR_BYTES_MAX + 1)
    if len(content) > _ANCHOR_BYTES_MAX:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return content.decode("utf-8", "replace")


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
            if _read_anchor(path) != note:
                raise AnchorContradicted(f"{path} contains a different checkpoint of the same size") from None
    finally:
        Path(name).unlink(missing_ok=True)


def _problem_of(error: Exception) -> str:
    """Return why a checkpoint was not anchored: a contradiction, or an error of the system or command; else ""."""
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    if isinstance(error, subprocess.CalledProcessError):
        printed = error.stderr.decode("utf-8", "backslashreplace").strip()
        return f"anchor_command: exit status {error.returncode}" + (f": {printed}" if printed else "")
    if isinstance(error, subprocess.TimeoutExpired):
        return f"anchor_command: did not end within {error.timeout:g} seconds"
    return str(error) if isinstance(error, AnchorContradicted) else ""


def _anchor_name(size: int) -> str:
    """Return the name of the file with the checkpoint of this size."""
    return f"checkpoint-{size:020d}.txt"


def _serve_command(process: subprocess.Popen[bytes], note: bytes, seconds: float) -> bytes:
    """Write the note to a process, and wait for its end; return the first bytes of its standard error.

    The rest of its standard error is discarded. The function does not wait for a descendant that keeps the pipe open.

    Raises:
        TimeoutExpired: The process did not end in time.
    """
    assert process.stdin is not None
    assert process.stderr is not None
    with suppress(BrokenPipeError), process.stdin:  # a pipe can buffer any checkpoint, so the write does not block
        process.stdin.write(note)
    end, printed, is_open = time.monotonic() + seconds, b"", True
    while process.poll() is None:
        if time.monotonic() >= end:
            raise subprocess.TimeoutExpired(process.args, seconds)
        if not is_open:
            time.sleep(_POLL_SECONDS)
        elif _is_readable(process.stderr, _POLL_SECONDS):
            chunk = os.read(process.stderr.fileno(), _ANCHOR_BYTES_MAX)
            is_open, printed = bool(chunk), (printed + chunk)[:_PROBLEM_BYTES_MAX]
    if is_open and _is_readable(process.stderr, 0):
        printed += os.read(process.stderr.fileno(), _ANCHOR_BYTES_MAX)
    return printed[:_PROBLEM_BYTES_MAX]


def _is_readable(pipe: IO[bytes], seconds: float) -> bool:
    """Return whether a pipe has bytes or has been closed; wait for some seconds if not."""
    poll = select.poll()  # select.select refuses descriptors from 1,024 on, which a server with many connections has
    poll.register(pipe, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill all processes of a command that still run."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
