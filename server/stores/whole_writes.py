"""Writes to a file that are complete or raise an error."""

import os


def write_whole(descriptor: int, content: bytes, position: int) -> None:
    """Write all bytes at a position of a file.

    On a full disk, the operating system may write a part of the bytes without an error. The next attempt to write the
    rest raises the error.

    Args:
        descriptor: Descriptor of a file that is open for writing.
        content: The bytes.
        position: Position of the first byte in the file.

    Raises:
        OSError: Not all bytes could be written.
    """
    written = 0
    while written < len(content):
        written += os.pwrite(descriptor, content[written:], position + written)
