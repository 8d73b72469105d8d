"""Atomic replacement of files, and their digests."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CHUNK_BYTES = 1 << 20


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to. If the block raises no error, the written file durably replaces `path`.

    A reader of `path` sees either the old file or the complete new file, even after a crash.
    """
    temporary = path.with_name(f".{path.name}.new")
    yield temporary
    # The content must be on disk before the rename. The fsync of the folder then makes the rename durable.
    with temporary.open("rb") as content:
        os.fsync(content.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def file_sha256(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal; "" if the file does not exist."""
    if not path.is_file():
        return ""
    digest = hashlib.sha256()
    with path.open("rb") as content:
        while chunk := content.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
