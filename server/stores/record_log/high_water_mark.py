"""The high-water mark: a file outside the database with the newest committed checkpoint.

A database that was restored from an older copy is intact: its head is signed, and its records can be verified. The same is true
of a standby database that became the primary without the last commits. Only data outside the database can show that records are
missing. The high-water mark is such data; anchored checkpoints are too.

The file consists of two slots. A writer locks the file and overwrites the slot with the smaller checkpoint. If a crash interrupts
the write, the other slot is still readable. The file is written after every commit, before the records of the commit are
acknowledged. The file is flushed to the disk at most once per second. A power failure can therefore restore an older mark. This
is acceptable, because a power failure loses no records, and a log that is larger than its mark is valid.
"""

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from grounds_record.checkpoint import Checkpoint, open_checkpoint
from grounds_record.errors import RecordError
from grounds_record.key_history import LogKeys
from server.errors import LogRefused, StoreUnavailable
from server.stores.outage_causes import outage_cause
from server.stores.whole_writes import write_whole

_SLOT_BYTES = 4096
_SLOTS = 2
_SYNC_SECONDS = 1.0
_SIZE_LINE = 1  # index of the line with the size in a checkpoint


class HighWaterMark:
    """The high-water mark of one log. Several processes on the same machine may share the file.

    Attributes:
        path: Path of the file, which is created with mode 0600 at the first commit.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1
        self._synced_at = 0.0
        self._thread_lock = threading.Lock()  # a file lock excludes other processes, but not other threads of this one

    def read(self, key: LogKeys) -> Checkpoint | None:
        """Return the newest checkpoint in the file; None if the file does not exist or is empty.

        It is empty for a moment while another process creates it.

        Args:
            key: Public keys of the log, which verify the signatures.

        Raises:
            LogRefused: The file cannot be read or contains no checkpoint of this log.
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
                continue  # a crash interrupted the write, or the checkpoint belongs to a different log
        if not notes:
            return None
        if not found:
            raise LogRefused(
                f"{self.path}: contains no checkpoint of this log; restore the file, or delete it to trust only the database and "
                "its anchors"
            )
        return max(found, key=lambda checkpoint: checkpoint.size)

    def advance(self, size: int, note: str) -> None:
        """Write a committed checkpoint, unless the file already contains one of the same or a larger size.

        Args:
            size: Number of records that the checkpoint covers.
            note: The signed checkpoint.

        Raises:
            StoreUnavailable: The file cannot be written, so the commit must not be acknowledged.
        """
        try:
            with self._lock() as descriptor:
                sizes = [_size(_note(slot)) for slot in _read_slots(descriptor)]
                if size > max(sizes):
                    _write_slot(descriptor, sizes.index(min(sizes)), note)
                    self._sync(descriptor)
        except OSError as error:
            unavailable = StoreUnavailable("the high-water mark of the log cannot be written; nothing was decided")
            unavailable.cause = f"{self.path}: {outage_cause(error)}"
            raise unavailable from error

    def replace(self, note: str) -> None:
        """Replace the mark with a checkpoint, which may be smaller. This is needed after an operator accepted a fork.

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
        """Open the file unless it is open, and lock it against other threads and other processes on this machine. Yield the descriptor."""
        with self._thread_lock:
            if self._descriptor >= 0 and os.fstat(self._descriptor).st_nlink == 0:
                os.close(self._descriptor)  # the open file was deleted or replaced, so writes to it would be lost
                self._descriptor = -1
            if self._descriptor < 0:
                self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            try:
                yield self._descriptor
            finally:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _sync(self, descriptor: int) -> None:
        """Flush the file to the disk, at most once per second."""
        now = time.monotonic()
        if now - self._synced_at >= _SYNC_SECONDS:
            os.fdatasync(descriptor)
            self._synced_at = now


def _read_slots(descriptor: int) -> list[bytes]:
    """Read both slots."""
    return [os.pread(descriptor, _SLOT_BYTES, number * _SLOT_BYTES) for number in range(_SLOTS)]


def _write_slot(descriptor: int, number: int, note: str) -> None:
    """Write one slot, padded with zero bytes."""
    content = note.encode()
    if len(content) > _SLOT_BYTES:
        raise OSError(f"a checkpoint of {len(content)} bytes does not fit into a slot of {_SLOT_BYTES}")
    write_whole(descriptor, content.ljust(_SLOT_BYTES, b"\0"), number * _SLOT_BYTES)


def _note(slot: bytes) -> str:
    """Return the note in a slot; "" if the slot is empty."""
    return slot.rstrip(b"\0").decode("utf-8", "replace")


def _size(note: str) -> int:
    """Return the size in a checkpoint, whose signature is not verified; -1 if there is no size."""
    lines = note.split("\n")
    return int(lines[_SIZE_LINE]) if len(lines) > _SIZE_LINE and lines[_SIZE_LINE].isdecimal() else -1
