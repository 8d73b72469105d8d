"""Creates files that only their owner can read (mode 0600) and folders that only their owner can enter (mode 0700).

Exports, copies and evidence pages contain personal data. The mode is set at the creation of the file and does not
depend on the umask, so no other user can open the file before its mode is set.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_FILE_MODE, _FOLDER_MODE = 0o600, 0o700


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield the path of a new, empty file to write to. If the block raises no error, that file durably replaces `path`.

    A reader of `path` sees either the old file or the complete new file, even after a crash.
    """
    temporary = path.with_name(f".{path.name}.new")
    with suppress(FileNotFoundError):
        temporary.unlink()  # a killed process may have left this file, perhaps with a different mode
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE))
    try:
        yield temporary
        # The content must be on disk before the rename. The fsync of the folder then makes the rename durable.
        sync_path(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_path(path.parent)


def open_lock_file(path: Path) -> int:
    """Open a file to lock, creating it if it is missing; return the descriptor, which the caller must close."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)


def make_folder(path: Path) -> None:
    """Create a folder and its missing parents. Existing folders keep their mode.

    Raises:
        OSError: A folder cannot be created; NotADirectoryError if the path, or a parent, is a file.
    """
    for folder in reversed([path, *path.parents]):
        try:
            folder.mkdir(_FOLDER_MODE)
        except FileExistsError:
            if not folder.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from None


def sync_path(path: Path) -> None:
    """Flush a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
