"""Digests and locks of files."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from grounds_record.private_files import make_folder, open_lock_file

_CHUNK_BYTES = 1 << 20


def file_sha256(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal; "" if the file does not exist."""
    if not path.is_file():
        return ""
    digest = hashlib.sha256()
    with path.open("rb") as content:
        while chunk := content.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def hold_lock(path: Path, refusal: Exception) -> Iterator[None]:
    """Hold the lock of a lock file. The file and its folder are created if they are missing.

    The operating system releases the lock when the process ends, even if the process is killed.

    Args:
        path: The lock file.
        refusal: The exception to raise if another process has the lock.
    """
    make_folder(path.parent)
    with os.fdopen(open_lock_file(path), "w") as lock_file:
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise refusal from error
        yield
