"""Files that hold a secret: made once, for their owner alone, whole or not at all.

    signing key     PRIVATE+KEY+name+hexhash+base64(0x01 || Ed25519 seed), one line: the text form of Go's note package
    secret          GROUNDS+SECRET+base64(32 random bytes), one line: a master key, or the key of customer tags

Making one: write, fsync and close a temporary file of mode 0600 beside it; link it to its name, which fails if the name is
taken; unlink the temporary name; fsync the folder. So of two processes that start at once both get the same key, and a file
that is there is never replaced.
"""

import base64
import os
import stat
import tempfile
from pathlib import Path

from grounds_record.errors import KeyFileRejected, KeyMalformed
from grounds_record.note import KEY_BYTES, SigningKey, decode_base64, parse_signing_key

_SECRET_PREFIX = "GROUNDS+SECRET+"  # noqa: S105 - a file format, not a secret
FILE_BYTES_MAX = 4096
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def ensure_signing_key(path: Path, name: str) -> SigningKey:
    """Read the log's signing key, or make it. To be asked only while the log is empty.

    A log that has records and no key file has lost its key: making another one would hide that, and no checkpoint that
    an auditor kept could be checked again. Then `read_signing_key` is right, which refuses.

    Raises:
        KeyFileRejected: See read_signing_key; or the folder cannot be written.
    """
    if not os.path.lexists(path):
        _create_file(path, SigningKey(name, os.urandom(KEY_BYTES)).text())
    return read_signing_key(path, name)


def read_signing_key(path: Path, name: str) -> SigningKey:
    """Read the log's signing key.

    Args:
        path: The file.
        name: The log's origin, for which the key must have been made.

    Raises:
        KeyFileRejected: It is not there, a link, not a file, of another owner, open to others, or no key of this log.
    """
    try:
        key = parse_signing_key(_read_line(path))
    except KeyMalformed as error:
        raise KeyFileRejected(f"{path} holds no signing key: {error}; it is left as it is") from error
    if key.name != name:
        raise KeyFileRejected(f"{path} holds the key of the log {key.name!r}, not of {name!r}; name the right file")
    return key


def ensure_secret(path: Path) -> bytes:
    """Read a secret of 32 bytes, or make it. To be asked only while nothing was encrypted or tagged with it.

    Raises:
        KeyFileRejected: See read_secret; or the folder cannot be written.
    """
    if not os.path.lexists(path):
        _create_file(path, _SECRET_PREFIX + base64.b64encode(os.urandom(KEY_BYTES)).decode())
    return read_secret(path)


def read_secret(path: Path) -> bytes:
    """Read a secret of 32 bytes.

    Raises:
        KeyFileRejected: It is not there, a link, not a file, of another owner, open to others, or holds something else.
    """
    text = _read_line(path)
    secret = decode_base64(text.removeprefix(_SECRET_PREFIX)) if text.startswith(_SECRET_PREFIX) else None
    if secret is None or len(secret) != KEY_BYTES:
        raise KeyFileRejected(f"{path} holds no secret: one line {_SECRET_PREFIX}<base64>; it is left as it is")
    return secret


def _create_file(path: Path, line: str) -> None:
    """Make a file of one line; one that is there already stays, whoever made it."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp makes it with mode 0600
    except OSError as error:
        raise KeyFileRejected(f"{path} cannot be made: {error.strerror}") from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(f"{line}\n".encode())
            file.flush()
            os.fsync(file.fileno())
        # Not rename, which would replace the key of a process that was faster.
        path.hardlink_to(temporary)
    except FileExistsError:
        pass
    except OSError as error:
        raise KeyFileRejected(f"{path} cannot be made: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _read_line(path: Path) -> str:
    """Read the one line of a file that nobody else can have read or put there."""
    try:
        # O_NOFOLLOW: a link could lead to a file that others may change. O_NONBLOCK: a pipe must not stop the start.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if path.is_symlink():
            raise KeyFileRejected(f"{path} is a link; name the file itself") from error
        raise KeyFileRejected(f"{path} cannot be read: {error.strerror}") from error
    try:
        _check_private(path, os.fstat(descriptor))
        content = os.read(descriptor, FILE_BYTES_MAX + 1)
    finally:
        os.close(descriptor)
    lines = content.split(b"\n")
    if len(content) > FILE_BYTES_MAX or len(lines) != 2 or lines[1] or not lines[0].isascii():  # noqa: PLR2004 - a line, nothing
        raise KeyFileRejected(f"{path} is not one line of text that ends in a newline; it is left as it is")
    return lines[0].decode()


def _check_private(path: Path, found: os.stat_result) -> None:
    """Refuse a file that is not its owner's alone."""
    if not stat.S_ISREG(found.st_mode):
        raise KeyFileRejected(f"{path} is not a file")
    if found.st_uid != os.geteuid():
        raise KeyFileRejected(f"{path} belongs to user {found.st_uid}, not to {os.geteuid()}, who reads it")
    if found.st_mode & OTHERS:
        mode = stat.S_IMODE(found.st_mode)
        raise KeyFileRejected(f"{path} has mode {mode:04o}: others may use the key; replace the key, or chmod 600 it")


def _sync_folder(path: Path) -> None:
    """Make a new name in the folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
