"""The high-water mark: the newest checkpoint that was committed, kept in a file outside the database.

A database that was restored from an older copy looks whole: its head is signed and its records verify. So does a standby
that took over without the last commits. Only a memory outside the database shows that records are missing. The mark is
that memory; anchors are another.

The file holds two slots. A writer overwrites the older one under a lock, so a write that is torn by a crash leaves the other
slot readable. The file is written after every commit and before its records are answered; it is flushed to the disk once a
second, because its purpose is to outlive the database, not the machine's power: a power cut loses at most the last second
of the mark, and none of the database.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from grounds_record.checkpoint import Checkpoint, open_checkpoint
from grounds_record.errors import RecordError
from grounds_record.note import VerifierKey
from server.errors import LogRefused, StoreUnavailable

_SLOT_BYTES = 4096
_SLOTS = 2
_SYNC_SECONDS = 1.0
_SIZE_LINE = 1  # a checkpoint's second line


class HighWaterMark:
    """The mark of one log. Several processes of one machine may share the file.

    Attributes:
        path: The file; it is created with mode 0600 at the first commit.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1
        self._synced_at = 0.0

    def read(self, key: VerifierKey) -> Checkpoint | None:
        """Return the newest checkpoint; None where the file does not exist.

        Raises:
            LogRefused: The file is not readable, or holds no checkpoint of this log.
        """
        if not self.path.exists():
            return None
        try:
            with self._lock() as descriptor:
                notes = [note for note in map(_note, _read_slots(descriptor)) if note]
        except OSError as error:
            raise LogRefused(f"{self.path}: the high-water mark cannot be read: {error.strerror}") from error
        found = []
        for note in notes:
            try:
                found.append(open_checkpoint(note, key))
            except RecordError:
                continue  # torn by a crash, or not of this log
        if not found:
            raise LogRefused(
                f"{self.path}: holds no checkpoint of this log; restore the file, or delete it to trust the database and its anchors alone"
            )
        return max(found, key=lambda checkpoint: checkpoint.size)

    def advance(self, size: int, note: str) -> None:
        """Record that a tree of `size` records was committed; a smaller size than the file's changes nothing.

        Raises:
            StoreUnavailable: The file cannot be written. Its commit must not be answered.
        """
        try:
            with self._lock() as descriptor:
                sizes = [_size(_note(slot)) for slot in _read_slots(descriptor)]
                if size > max(sizes):
                    _write_slot(descriptor, sizes.index(min(sizes)), note)
                    self._sync(descriptor)
        except OSError as error:
            raise StoreUnavailable("the high-water mark of the log cannot be written; nothing was decided") from error

    def replace(self, note: str) -> None:
        """Replace the mark by a checkpoint, also by a smaller one: the operator has accepted a fork.

        Raises:
            OSError: The file cannot be written.
        """
        with self._lock() as descriptor:
            os.ftruncate(descriptor, 0)
            _write_slot(descriptor, 0, note)
            os.fsync(descriptor)

    def close(self) -> None:
        """Flush and close the file."""
        if self._descriptor >= 0:
            os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    @contextmanager
    def _lock(self) -> Iterator[int]:
        """Open the file, once while it exists, and lock it against the other processes of this machine."""
        if self._descriptor >= 0 and os.fstat(self._descriptor).st_nlink == 0:
            os.close(self._descriptor)  # deleted or replaced: what is written there, nobody will read
            self._descriptor = -1
        if self._descriptor < 0:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            yield self._descriptor
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _sync(self, descriptor: int) -> None:
        """Flush the file to the disk, once a second at most."""
        now = time.monotonic()
        if now - self._synced_at >= _SYNC_SECONDS:
            os.fdatasync(descriptor)
            self._synced_at = now


def _read_slots(descriptor: int) -> list[bytes]:
    """Read both slots."""
    return [os.pread(descriptor, _SLOT_BYTES, number * _SLOT_BYTES) for number in range(_SLOTS)]


def _write_slot(descriptor: int, number: int, note: str) -> None:
    """Write one slot, padded to its size, in one call."""
    content = note.encode()
    if len(content) > _SLOT_BYTES:
        raise OSError(f"a checkpoint of {len(content)} bytes does not fit into a slot of {_SLOT_BYTES}")
    os.pwrite(descriptor, content.ljust(_SLOT_BYTES, b"\0"), number * _SLOT_BYTES)


def _note(slot: bytes) -> str:
    """Return the note in a slot; "" where there is none."""
    return slot.rstrip(b"\0").decode("utf-8", "replace")


def _size(note: str) -> int:
    """Return the size that a note states; -1 where it states none. Its signature is not checked."""
    lines = note.split("\n")
    return int(lines[_SIZE_LINE]) if len(lines) > _SIZE_LINE and lines[_SIZE_LINE].isdecimal() else -1
