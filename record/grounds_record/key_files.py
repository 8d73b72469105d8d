"""Key files: a signing key or a secret in a file that only its owner can read.

    signing key     PRIVATE+KEY+name+hexhash+base64(0x01 || Ed25519 seed), one line: the text form of Go's note package
    secret          GROUNDS+SECRET+base64(32 random bytes), one line: a master key, or the key of customer tags

A new file is written and fsynced under a temporary name with mode 0600, and then hard-linked to its own name. A link fails
if the name exists. So a key is never replaced, and two processes that start at once read the same key.
"""

import base64
import os
import stat
import tempfile
from pathlib import Path

from grounds_record.errors import KeyFileRejected, KeyMalformed
from grounds_record.note import KEY_BYTES, SigningKey, decode_base64, parse_signing_key

_SECRET_PREFIX = "GROUNDS+SECRET+"  # noqa: S105 - a file format, not a secret
_FILE_BYTES_MAX = 4096
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def ensure_signing_key(path: Path, name: str) -> SigningKey:
    """Read the log's signing key, or create it. Call this only while the log is empty.

    A log with records and without a key file has lost its key. A new key would hide that, and checkpoints that auditors
    keep could not be verified any more. Use `read_signing_key` then, which raises.

    Raises:
        KeyFileRejected: As `read_signing_key`; or the folder is not writable.
    """
    if not os.path.lexists(path):
        _create_file(path, SigningKey(name, os.urandom(KEY_BYTES)).text())
    return read_signing_key(path, name)


def read_signing_key(path: Path, name: str) -> SigningKey:
    """Read the log's signing key.

    Args:
        path: The file.
        name: The log's origin, which must be the name of the key.

    Raises:
        KeyFileRejected: The file is missing, a link, not a regular file, owned by another user, accessible to others,
            or not the key of this log.
    """
    try:
        key = parse_signing_key(_read_line(path))
    except KeyMalformed as error:
        raise KeyFileRejected(f"{path} is not a signing key: {error}; restore it from a backup") from error
    if key.name != name:
        raise KeyFileRejected(f"{path} is the key of the log {key.name!r}, not of {name!r}; configure the right file")
    return key


def ensure_secret(path: Path) -> bytes:
    """Read a secret of 32 bytes, or create it. Call this only while nothing depends on the secret.

    Raises:
        KeyFileRejected: As `read_secret`; or the folder is not writable.
    """
    if not os.path.lexists(path):
        _create_file(path, _SECRET_PREFIX + base64.b64encode(os.urandom(KEY_BYTES)).decode())
    return read_secret(path)


def read_secret(path: Path) -> bytes:
    """Read a secret of 32 bytes.

    Raises:
        KeyFileRejected: The file is missing, a link, not a regular file, owned by another user, accessible to others,
            or malformed.
    """
    text = _read_line(path)
    secret = decode_base64(text.removeprefix(_SECRET_PREFIX)) if text.startswith(_SECRET_PREFIX) else None
    if secret is None or len(secret) != KEY_BYTES:
        raise KeyFileRejected(
            f"{path} is not a secret: must be one line {_SECRET_PREFIX}<base64>; restore it from a backup"
        )
    return secret


def _create_file(path: Path, line: str) -> None:
    """Create a file of one line; do nothing if the name exists."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # creates it with mode 0600
    except OSError as error:
        raise KeyFileRejected(f"{path} cannot be created: {error.strerror}") from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(f"{line}\n".encode())
            file.flush()
            # Before the link: after a power cut, a key file must not be empty.
            os.fsync(file.fileno())
        # A rename would replace the key of a process that was faster; a link fails instead.
        path.hardlink_to(temporary)
    except FileExistsError:
        pass
    except OSError as error:
        raise KeyFileRejected(f"{path} cannot be created: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _read_line(path: Path) -> str:
    """Read the only line of a file that no other user can read or can have written."""
    try:
        # O_NOFOLLOW: a link could lead to a file that others may change. O_NONBLOCK: opening a pipe must not block.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if path.is_symlink():
            raise KeyFileRejected(f"{path} is a link; configure the file itself") from error
        raise KeyFileRejected(f"{path} cannot be read: {error.strerror}") from error
    try:
        # The checks use the open descriptor, so the file cannot be exchanged between check and read.
        _check_private(path, os.fstat(descriptor))
        content = os.read(descriptor, _FILE_BYTES_MAX + 1)
    finally:
        os.close(descriptor)
    line, newline, rest = content.partition(b"\n")
    if len(content) > _FILE_BYTES_MAX or not newline or rest or not line.isascii():
        raise KeyFileRejected(f"{path} must be one line of ASCII that ends in a newline; restore it from a backup")
    return line.decode()


def _check_private(path: Path, status: os.stat_result) -> None:
    """Reject a file that is not regular, or that another user owns or can access."""
    if not stat.S_ISREG(status.st_mode):
        raise KeyFileRejected(f"{path} is not a regular file")
    if status.st_uid != os.geteuid():
        raise KeyFileRejected(
            f"{path} belongs to user {status.st_uid}, but user {os.geteuid()} reads it; change its owner"
        )
    if status.st_mode & _OTHERS:
        mode = stat.S_IMODE(status.st_mode)
        raise KeyFileRejected(f"{path} has mode {mode:04o}: others may use the key; replace the key, or chmod 600 it")


def _sync_folder(path: Path) -> None:
    """Make a new name in the folder durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
