"""Reads untrusted files, and writes files and folders atomically.

After a crash or a power cut, a new file or folder is either complete or absent. Every write follows the same steps:
write to a temporary name in the same folder, fsync, rename to the target, fsync the folder. The rename is atomic
because both names are in one file system. The last fsync makes the rename durable.

New files have mode 0600 and new folders 0700 from their creation, because they may contain customers' features.
"""

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


def read_regular_file(path: Path, bytes_max: int) -> bytes:
    """Read a file that an attacker may have replaced.

    Raises:
        OSError: The file cannot be read, is larger than `bytes_max`, or is a link, a device or a pipe. A pipe is
            rejected because reading it could block forever.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "a symbolic link is not allowed") from error
        raise
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if status.st_size > bytes_max:
            raise OSError(errno.EFBIG, f"it has {status.st_size:,} bytes; at most {bytes_max:,} are allowed")
        return file.read(bytes_max)


def write_file(path: Path, content: bytes) -> None:
    """Write a file atomically. If a file exists at `path`, it is replaced."""
    with replace_file(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file to write into.

    The temporary file replaces `path` when the block ends. If the block raises an error, the temporary file is deleted.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # The block may have replaced the temporary file with a new file of the same name, so the name is opened again.
        descriptor = os.open(temporary, os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_folder(path: Path, files: Mapping[str, bytes]) -> bool:
    """Create a folder with these files atomically.

    Returns:
        True if the folder was created; False if the folder exists already, in which case its files are not changed.
    """
    make_folder(path.parent)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name[:16]}."))
    try:
        for name, content in files.items():
            write_file(temporary / name, content)
        is_new = not path.exists()
        if is_new:
            temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _sync_folder(path.parent)
    return is_new


def make_folder(path: Path) -> None:
    """Create a folder and its missing parents with mode 0700. Existing folders keep their mode.

    Raises:
        OSError: A folder cannot be created; NotADirectoryError if the path, or a parent, is a file.
    """
    for folder in reversed([path, *path.parents]):
        try:
            folder.mkdir(0o700)
        except FileExistsError:
            if not folder.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from None


def _sync_folder(path: Path) -> None:
    """Flush a folder to disk, which makes the renames inside it durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
