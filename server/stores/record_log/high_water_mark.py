"""The high-water mark: a file outside the database with the newest committed checkpoint.

A database that was restored from an older copy is intact: its head is signed, and its records can be verified. The same is true
of a standby database that became the primary without the last commits. Only data outside the database can show that records are
missing. The high-water mark is such data; anchored checkpoints are too.

The file consists of two slots. A writer locks the file and replaces the older, smaller of the two checkpoints. If a crash interrupts
the write, the other slot is still readable. The file is written after every commit, before the records of the commit are
acknowledged. The file is flushed to the disk at most once per second. A power failure can therefore restore an older mark. This
is acceptable, because a power failure loses no records, and a log that is larger than its mark is valid.

A probe writes the file even if the log has not grown. Otherwise, an idle server would notice only at its next commit that the
file cannot be written.
"""

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from grounds_record.checkpoint import Checkpoint, open_checkpoint
from grounds_record.errors import RecordError
from grounds_record.key_history import KeyHistory, LogKeys
from grounds_record.note import parse_note
from server.errors import LogRefused, StoreUnavailable
from server.stores.outage_causes import outage_cause
from server.stores.whole_writes import write_whole

_SLOT_BYTES = 4096
_SLOTS = 2
_SYNC_SECONDS = 1.0


class HighWaterMark:
    """The high-water mark of one log. Several processes on the same machine may share the file.

    Attributes:
        path: Path of the file, which is created with mode 0600 at the first commit.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1
        self._synced_at = 0.0
        self._covered = 0  # number of records that the file is known to cover
        self._verified: dict[str, int] = {}  # size of the checkpoints in the file that were verified, by note
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
                notes = [note for note in _read_notes(descriptor) if note]
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

    def covers(self, index: int, key: LogKeys) -> bool:
        """Return whether the file contains a checkpoint that covers the record at this index.

        Args:
            index: Index of the record.
            key: Public keys of the log, which verify the signatures.

        Raises:
            StoreUnavailable: The file cannot be read.
        """
        if index >= self._covered:
            with self._available(), self._lock() as descriptor:
                self._covered = max(self._verified_sizes(_read_notes(descriptor), key))
        return index < self._covered

    def advance(
        self, size: int, note: str, key: LogKeys, newer_keys: Callable[[], LogKeys], *, probe: bool = False
    ) -> None:
        """Write a committed checkpoint, unless the file already contains one of the same or a larger size.

        A damaged checkpoint counts as an empty slot. Otherwise, one wrong digit could state a size that no later checkpoint
        exceeds, and nothing would be written again.

        Args:
            size: Number of records that the checkpoint covers.
            note: The signed checkpoint.
            key: Public keys of the log, which verify the signatures.
            newer_keys: Function that reads the public keys of the log again. Another process may have rotated the signing
                key, so a checkpoint by an unknown key counts as damaged only after the keys were read again.
            probe: Whether to write and flush the file in any case. If the file already contains a checkpoint of the same or
                a larger size, its larger checkpoint is written to both slots.

        Raises:
            StoreUnavailable: The file cannot be written, so the commit must not be acknowledged.
        """
        is_verified = are_newest = False
        while True:
            with self._available(), self._lock() as descriptor:
                notes = _read_notes(descriptor)
                is_verified = is_verified or all(each in self._verified for each in notes if each)
                if is_verified and (are_newest or not any(_has_unknown_key(each, key) for each in notes)):
                    self._write_larger(descriptor, notes, size, note, key, probe=probe)
                    return
            if is_verified:
                newer = newer_keys()
                are_newest, key = newer == key, newer
            # Another process's checkpoint is verified while the file is not locked, because this takes longer than the rest. If
            # the file changes again meanwhile, `_write_larger` verifies it under the lock, so nobody retries for ever.
            self._verified_sizes(notes, key)
            is_verified = True

    def _write_larger(
        self, descriptor: int, notes: Sequence[str], size: int, note: str, key: LogKeys, *, probe: bool
    ) -> None:
        """Write a checkpoint into the locked file, which contains `notes`, as `advance` does."""
        sizes = self._verified_sizes(notes, key)
        largest = max(sizes)
        if size > largest or probe:
            newest = note if size >= largest else notes[sizes.index(largest)]
            _write_slot(descriptor, sizes.index(min(sizes)), newest)
            self._verified[newest] = max(size, largest)
            self._sync(descriptor, at_once=probe)
        self._covered = max(size, largest)

    def replace(self, size: int, note: str) -> None:
        """Replace the mark with a checkpoint, which may be smaller. This is needed after an operator accepted a fork.

        Args:
            size: Number of records that the checkpoint covers.
            note: The signed checkpoint.

        Raises:
            OSError: The file cannot be written.
        """
        with self._lock() as descriptor:
            os.ftruncate(descriptor, 0)
            _write_slot(descriptor, 0, note)
            os.fsync(descriptor)
            self._covered = size

    def close(self) -> None:
        """Flush and close the file."""
        if self._descriptor >= 0:
            os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def _verified_sizes(self, notes: Sequence[str], key: LogKeys) -> list[int]:
        """Return the sizes of the checkpoints in both slots; -1 for a slot that is empty or damaged."""
        # A note that this process wrote or verified before is not verified again.
        sizes = {note: self._verified.get(note, -1) for note in notes}
        sizes = {note: _verified_size(note, key) if size < 0 else size for note, size in sizes.items()}
        self._verified = {note: size for note, size in sizes.items() if size >= 0}
        return [sizes[note] for note in notes]

    @contextmanager
    def _lock(self) -> Iterator[int]:
        """Open the file unless it is open, and lock it against other threads and other processes on this machine. Yield the descriptor."""
        with self._thread_lock:
            if self._descriptor >= 0 and not self._is_open_at_path():
                os.close(
                    self._descriptor
                )  # the open file was deleted, moved or replaced, so nobody would read it again
                self._descriptor = -1
            if self._descriptor < 0:
                self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            try:
                yield self._descriptor
            finally:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    @contextmanager
    def _available(self) -> Iterator[None]:
        """Raise StoreUnavailable instead of OSError during the block."""
        try:
            yield
        except OSError as error:
            unavailable = StoreUnavailable("the high-water mark of the log cannot be written; nothing was decided")
            unavailable.cause = f"{self.path}: {outage_cause(error)}"
            raise unavailable from error

    def _is_open_at_path(self) -> bool:
        """Return whether the open file is the file at the path."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), self.path.stat())
        except FileNotFoundError:
            return False

    def _sync(self, descriptor: int, *, at_once: bool) -> None:
        """Flush the file to the disk, at most once per second unless `at_once` is true."""
        now = time.monotonic()
        if at_once or now - self._synced_at >= _SYNC_SECONDS:
            os.fdatasync(descriptor)
            self._synced_at = now


def _read_notes(descriptor: int) -> list[str]:
    """Return the notes in both slots; "" for an empty slot."""
    return [_note(os.pread(descriptor, _SLOT_BYTES, number * _SLOT_BYTES)) for number in range(_SLOTS)]


def _write_slot(descriptor: int, number: int, note: str) -> None:
    """Write one slot, padded with zero bytes."""
    content = note.encode()
    if len(content) > _SLOT_BYTES:
        raise OSError(f"a checkpoint of {len(content)} bytes does not fit into a slot of {_SLOT_BYTES}")
    write_whole(descriptor, content.ljust(_SLOT_BYTES, b"\0"), number * _SLOT_BYTES)


def _note(slot: bytes) -> str:
    """Return the note in a slot; "" if the slot is empty."""
    return slot.rstrip(b"\0").decode("utf-8", "replace")


def _has_unknown_key(note: str, key: LogKeys) -> bool:
    """Return whether a note states a signature by a key that has the name of this log and is not one of these keys."""
    try:
        _, signatures = parse_note(note)
    except RecordError:
        return False
    known = {each.key_id for each in (key.keys if isinstance(key, KeyHistory) else (key,))}
    return any(name == key.name and key_id not in known for name, key_id, _ in signatures)


def _verified_size(note: str, key: LogKeys) -> int:
    """Return the size of a checkpoint; -1 if this log has not signed the note."""
    try:
        return open_checkpoint(note, key).size
    except RecordError:
        return -1
