"""Checks that the files of a SQLite database were not deleted, replaced or overwritten while this process has them open.

A process keeps writing to the files that it opened. If the database file, its write-ahead log (`-wal`) or its index
(`-shm`) is deleted or replaced, later commits go into files that nobody can open again, and processes with different
`-shm` files do not see each other's locks. If a file is emptied or overwritten in place, SQLite may go on for a while with
pages that it has in memory.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from server.errors import StoreUnavailable

_OPEN_FILES = Path("/proc/self/fd")
_DELETED = " (deleted)"  # Linux appends this to the path of an open file that was deleted
_LOG_SUFFIXES = ("-wal", "-shm")
_FILE_REPLACED = (
    "the database file was deleted or replaced while the server was running; stop the server, restore the file, and start the "
    "server again"
)
_OVERWRITTEN = (
    "the database file was emptied or overwritten while the server was running; stop the server, restore the file, and start the "
    "server again"
)
_FILE_START = b"SQLite format 3\0"  # https://www.sqlite.org/fileformat.html
_LOG_STARTS = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83", b"")  # a write-ahead log may be empty
_Identity = tuple[int, int]  # device and inode


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
        self._check_starts()

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

    def _check_starts(self) -> None:
        """Check the first bytes of the database file and of the write-ahead log.

        Raises:
            StoreUnavailable: The bytes are not those that SQLite writes.
        """
        if not _OPEN_FILES.is_dir():
            return
        file, log, _ = self._identities
        start = self._read_start(file, len(_FILE_START))
        self._is_written = self._is_written or start == _FILE_START
        if self._is_written and start not in {_FILE_START, None}:
            raise StoreUnavailable(_OVERWRITTEN)
        if self._read_start(log, len(_LOG_STARTS[0])) not in {*_LOG_STARTS, None}:
            raise StoreUnavailable(_OVERWRITTEN)

    def _read_start(self, identity: _Identity, size: int) -> bytes | None:
        """Return the first bytes of a file that SQLite has open; None if SQLite has just closed it.

        SQLite's own descriptor is used: if this process closed another one, POSIX would drop SQLite's locks.
        """
        for _ in range(2):
            if (descriptor := self._descriptors.get(identity)) is not None:
                try:
                    start = os.pread(descriptor, size, 0)
                    # Another thread may have closed the connection meanwhile, so that the number belongs to another file.
                    if _identity(os.fstat(descriptor)) == identity:
                        return start
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
