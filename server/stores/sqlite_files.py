"""Checks that the files of a SQLite database were not deleted or replaced while this process has them open.

A process keeps writing to the files that it opened. If the database file, its write-ahead log (`-wal`) or its index
(`-shm`) is deleted or replaced, later commits go into files that nobody can open again, and processes with different
`-shm` files do not see each other's locks.
"""

import os
from pathlib import Path

from server.errors import StoreUnavailable

_OPEN_FILES = Path("/proc/self/fd")
_DELETED = " (deleted)"  # Linux appends this to the path of an open file that was deleted
_LOG_SUFFIXES = ("-wal", "-shm")
_FILE_REPLACED = (
    "the database file was deleted or replaced while the server was running; stop the server, restore the file, and start the "
    "server again"
)
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

    def check(self) -> None:
        """Check all files while a connection is open.

        Normally, this only compares the inodes with those of the last check. If they differ, the check looks up which
        files this process has open, because SQLite itself deletes and recreates `-wal` and `-shm` when the last
        connection of all processes is closed.

        Raises:
            StoreUnavailable: A file is missing or was replaced.
        """
        try:
            found = tuple(_identity(path.stat()) for path in self._paths)
        except OSError:
            raise StoreUnavailable(_FILE_REPLACED) from None
        if found != self._identities:
            if not self._are_open(found):
                raise StoreUnavailable(_FILE_REPLACED)
            self._identities = found

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


def _identity(status: os.stat_result) -> _Identity:
    """Return the device and the inode of a file."""
    return status.st_dev, status.st_ino
