"""Key files: a signing key or a secret in a file that only its owner can read.

Each file contains one line:

    signing key     PRIVATE+KEY+name+hexhash+base64(0x01 || Ed25519 seed), the text format of Go's note package
    secret          GROUNDS+SECRET+base64(32 random bytes), such as the master key, which encrypts customer keys

A new file is written and fsynced under a temporary name with mode 0600, and then hard-linked to its final name. Linking fails
if the final name exists. An existing key is therefore never replaced, and two processes that start at the same time read the
same key.
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
_GROUP_OR_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def ensure_signing_key(path: Path, name: str) -> SigningKey:
    """Read the log's signing key; create the file if it is missing. Call this function only while the log is empty.

    If a log has records but no key file, its key was lost. A new key would hide the loss, and auditors could no longer verify
    the checkpoints that they kept. For such a log, call `read_signing_key`, which raises an error if the file is missing.

    Raises:
        KeyFileRejected: `read_signing_key` rejects the file, or the folder is not writable.
    """
    if not os.path.lexists(path):
        _create_file(path, SigningKey(name, os.urandom(KEY_BYTES)).text())
    return read_signing_key(path, name)


def read_signing_key(path: Path, name: str) -> SigningKey:
    """Read the log's signing key.

    Args:
        path: Path of the key file.
        name: Origin of the log. It must be the name of the key.

    Raises:
        KeyFileRejected: The file is missing, is a symbolic link, is not a regular file, belongs to another user, is accessible
            to other users, or does not contain the key of this log.
    """
    try:
        key = parse_signing_key(_read_line(path))
    except KeyMalformed as error:
        raise KeyFileRejected(f"{path} is not a signing key: {error}; restore it from a backup") from error
    if key.name != name:
        raise KeyFileRejected(
            f"{path} is the key of the log {key.name!r}, expected the key of {name!r}; configure the right file"
        )
    return key


def ensure_secret(path: Path) -> bytes:
    """Read a secret of 32 bytes; create the file if it is missing. Call this function only while no data depends on the secret.

    Raises:
        KeyFileRejected: `read_secret` rejects the file, or the folder is not writable.
    """
    if not os.path.lexists(path):
        _create_file(path, _SECRET_PREFIX + base64.b64encode(os.urandom(KEY_BYTES)).decode())
    return read_secret(path)


def read_secret(path: Path) -> bytes:
    """Read a secret of 32 bytes.

    Raises:
        KeyFileRejected: The file is missing, is a symbolic link, is not a regular file, belongs to another user, is accessible
            to other users, or is malformed.
    """
    text = _read_line(path)
    secret = decode_base64(text.removeprefix(_SECRET_PREFIX)) if text.startswith(_SECRET_PREFIX) else None
    if secret is None or len(secret) != KEY_BYTES:
        raise KeyFileRejected(
            f"{path} is not a secret: the file must contain one line {_SECRET_PREFIX}<base64>; restore it from a backup"
        )
    return secret


def _create_file(path: Path, line: str) -> None:
    """Create a file with one line, unless a file of this name exists."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # creates the file with mode 0600
    except OSError as error:
        raise KeyFileRejected(f"{path} cannot be created: {error.strerror}") from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(f"{line}\n".encode())
            file.flush()
            # Sync before linking, so that the key file is not empty after a power failure.
            os.fsync(file.fileno())
        # A rename would replace a key that another process created first. A link fails instead.
        path.hardlink_to(temporary)
    except FileExistsError:
        pass
    except OSError as error:
        raise KeyFileRejected(f"{path} cannot be created: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _read_line(path: Path) -> str:
    """Read a file of one line; reject a file that other users can read or write."""
    try:
        # O_NOFOLLOW: a link could lead to a file that other users can change. O_NONBLOCK: opening a pipe must not block.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if path.is_symlink():
            raise KeyFileRejected(f"{path} is a link; configure the path of the file itself") from error
        raise KeyFileRejected(f"{path} cannot be read: {error.strerror}") from error
    try:
        # The checks use the open descriptor, so the file cannot be replaced between the check and the read.
        _check_private(path, os.fstat(descriptor))
        content = os.read(descriptor, _FILE_BYTES_MAX + 1)
    finally:
        os.close(descriptor)
    line, newline, rest = content.partition(b"\n")
    if len(content) > _FILE_BYTES_MAX or not newline or rest or not line.isascii():
        raise KeyFileRejected(f"{path} must contain one line of ASCII that ends in a newline; restore it from a backup")
    return line.decode()


def _check_private(path: Path, status: os.stat_result) -> None:
    """Reject a file that is not regular, or that another user owns or can access."""
    if not stat.S_ISREG(status.st_mode):
        raise KeyFileRejected(f"{path} is not a regular file; configure the path of the key file")
    if status.st_uid != os.geteuid():
        raise KeyFileRejected(
            f"{path} belongs to user {status.st_uid}, but this process runs as user {os.geteuid()}; change the owner of the file"
        )
    if status.st_mode & _GROUP_OR_OTHERS:
        mode = stat.S_IMODE(status.st_mode)
        raise KeyFileRejected(
            f"{path} has mode {mode:04o}, so other users may have read the key; replace the key, or run chmod 600"
        )


def _sync_folder(path: Path) -> None:
    """Sync a folder to the disk, so that a new file name survives a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
