"""Checks that the files of a SQLite database were not deleted, replaced or overwritten while this process has them open.

A process keeps writing to the files that it opened. If the database file, its write-ahead log (`-wal`) or its index
(`-shm`) is deleted or replaced, later commits go into files that nobody can open again, and processes with different
`-shm` files do not see each other's locks. If a file is emptied or overwritten in place, SQLite may go on for a while with
pages that it has in memory.

The write-ahead log is a sequence of frames, one for each changed page. The index states how many frames are committed, so a
log is complete if it has them: an empty log is valid only while the index states no frame. Committed frames are never
changed before the log starts again with other salts.
Source: https://www.sqlite.org/walformat.html.
"""

import os
import stat
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from server.errors import StoreUnavailable

_OPEN_FILES = Path("/proc/self/fd")
_DELETED = " (deleted)"  # Linux appends this to the path of an open file that was deleted
_LOG_SUFFIXES = ("-wal", "-shm")
_FILE_REPLACED = (
    "the database file was deleted or replaced while the server was running; stop the server, restore the file, and start the "
    "server again"
)
_OVERWRITTEN = (
    "the database file or its write-ahead log was emptied or overwritten while the server was running; stop the server, restore "
    "the file, and start the server again"
)
_FILE_START = b"SQLite format 3\0"  # https://www.sqlite.org/fileformat.html
_LOG_STARTS = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")
_LOG_HEADER_BYTES, _FRAME_HEADER_BYTES = 32, 24
_SALTS = slice(16, 24)  # in the header of the log
_INDEX = struct.Struct("=12x B x H I 12x 8s 8x")  # whether it is set up, bytes of a page, committed frames, salts
_TRIES, _TRY_SECONDS = 10, 0.001  # another process may change the log and its index while they are read
_Identity = tuple[int, int]  # device and inode


class _Frame(NamedTuple):
    """A committed frame of a write-ahead log. `header` is the header of the log, which the salts in it identify."""

    header: bytes
    number: int
    content: bytes


class SqliteFiles:
    """The files of one SQLite database in WAL mode. The methods may be called from any thread.

    Attributes:
        path: Path of the database file, as configured.
    """

    def __init__(self, path: Path) -> None:
        """Remember the paths; no file needs to exist.

        Args:
            path: Path of the database file, as configured. SQLite creates `-wal` and `-shm` next to the file that a
                symbolic link points to.
        """
        self.path = path
        resolved = path.resolve()
        logs = tuple(resolved.with_name(resolved.name + suffix) for suffix in _LOG_SUFFIXES)
        self._paths = (path, *logs)
        self._deleted = {Path(f"{each}{_DELETED}") for each in (resolved, *logs)}
        self._identities: tuple[_Identity, ...] = ()
        self._descriptors: dict[_Identity, int] = {}  # SQLite's own descriptors of the files, by file
        self._is_written = False  # whether the database file has had its first page
        self._is_log_written = False  # whether the write-ahead log has had its header
        self._newest_frame = _Frame(b"", 0, b"")  # the newest one at the last check

    def check(self) -> None:
        """Check all files while a connection is open.

        Normally, this only compares the inodes with those of the last check. If they differ, the check looks up which
        files this process has open, because SQLite itself deletes and recreates `-wal` and `-shm` when the last
        connection of all processes is closed.

        Raises:
            StoreUnavailable: A file is missing, or was replaced or overwritten.
        """
        try:
            found = tuple(_identity(path.stat()) for path in self._paths)
        except OSError:
            raise StoreUnavailable(_FILE_REPLACED) from None
        if found != self._identities:
            if not self._are_open(found):
                raise StoreUnavailable(_FILE_REPLACED)
            self._identities = found
            self._is_log_written = False
        self._check_contents()

    def check_before_opening(self) -> None:
        """Check that the database file is the one of the last check, if there was one. Call this before opening a connection.

        Raises:
            StoreUnavailable: The database file is missing or was replaced.
        """
        if not self._identities:
            return
        try:
            found = _identity(self.path.stat())
        except OSError:
            raise StoreUnavailable(_FILE_REPLACED) from None
        if found != self._identities[0]:
            raise StoreUnavailable(_FILE_REPLACED)

    def _check_contents(self) -> None:
        """Check the first bytes of the database file, and that the write-ahead log has the committed frames.

        Raises:
            StoreUnavailable: The bytes are not those that SQLite writes, or frames are missing.
        """
        if not _OPEN_FILES.is_dir():
            return
        file, log, index = self._identities
        start = self._read(file, len(_FILE_START))
        self._is_written = self._is_written or start == _FILE_START
        if self._is_written and start not in {_FILE_START, None}:
            raise StoreUnavailable(_OVERWRITTEN)
        for _ in range(_TRIES):
            header = self._read(index, _INDEX.size)
            if header is None or self._is_complete(log, header):
                return
            if header == self._read(index, _INDEX.size):
                time.sleep(_TRY_SECONDS)
        raise StoreUnavailable(_OVERWRITTEN)

    def _is_complete(self, log: _Identity, index: bytes) -> bool:
        """Return whether a write-ahead log has what its index states. SQLite writes the log before the index.

        Args:
            log: The write-ahead log.
            index: The first copy of the header of the index.
        """
        start = self._read(log, _LOG_HEADER_BYTES)
        if start is None:
            return True
        has_header = start.startswith(_LOG_STARTS)
        self._is_log_written = self._is_log_written or has_header
        is_set_up, page_bytes, frames, salts = _INDEX.unpack(index.ljust(_INDEX.size, b"\0"))
        if not is_set_up:
            return False
        if not frames:
            # A crash can leave zeros instead of the header.
            return has_header or not start or (not self._is_log_written and not any(start))
        # One bit states 65,536 bytes, which the field is too small for.
        frame_bytes = _FRAME_HEADER_BYTES + (page_bytes & 0xFE00) + ((page_bytes & 1) << 16)
        return has_header and start[_SALTS] == salts and self._has_frames(log, start, frames, frame_bytes)

    def _has_frames(self, log: _Identity, header: bytes, frames: int, frame_bytes: int) -> bool:
        """Return whether a write-ahead log has the newest frame, and the one that was the newest at the last check.

        Args:
            log: The write-ahead log.
            header: Its header.
            frames: Number of committed frames, at least 1.
            frame_bytes: Size of a frame.
        """
        newest, known = self._read_frame(log, frames, frame_bytes), self._newest_frame
        if known.header[_SALTS] == header[_SALTS]:
            is_same = self._read_frame(log, known.number, frame_bytes) in {known.content, None}
            if not (is_same and known.header == header and known.number <= frames):
                return False
        if newest is None:
            return True
        if len(newest) < frame_bytes:
            return False
        self._newest_frame = _Frame(header, frames, newest)
        return True

    def _read_frame(self, log: _Identity, number: int, frame_bytes: int) -> bytes | None:
        """Return a frame of a write-ahead log, as `_read` does. The number of the first frame is 1."""
        return self._read(log, frame_bytes, _LOG_HEADER_BYTES + (number - 1) * frame_bytes)

    def _read(self, identity: _Identity, size: int, start: int = 0) -> bytes | None:
        """Return bytes of a file that SQLite has open; None if SQLite has just closed it.

        SQLite's own descriptor is used: if this process closed another one, POSIX would drop SQLite's locks.
        """
        for _ in range(2):
            if (descriptor := self._descriptors.get(identity)) is not None:
                try:
                    content = os.pread(descriptor, size, start)
                    # Another thread may have closed the connection meanwhile, so that the number belongs to another file.
                    if _identity(os.fstat(descriptor)) == identity:
                        return content
                except OSError:
                    pass
            self._descriptors = dict(_open_descriptors())
        return None

    def _are_open(self, found: tuple[_Identity, ...]) -> bool:
        """Return whether this process has exactly these files open at the paths of the database.

        Without /proc, only the database file can be compared with the last check.
        """
        if not _OPEN_FILES.is_dir():
            return not self._identities or found[0] == self._identities[0]
        open_now = set()
        for link in _OPEN_FILES.iterdir():
            try:
                if link.readlink() in self._deleted:
                    return False
                open_now.add(_identity(link.stat()))
            except OSError:
                continue  # another thread closed the file meanwhile
        return open_now.issuperset(found)


def _open_descriptors() -> Iterator[tuple[_Identity, int]]:
    """Yield the regular files that this process has open, each with its descriptor."""
    for link in _OPEN_FILES.iterdir():
        try:
            status = os.fstat(int(link.name))
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode):
            yield _identity(status), int(link.name)


def _identity(status: os.stat_result) -> _Identity:
    """Return the device and the inode of a file."""
    return status.st_dev, status.st_ino
