"""Key files: a signing key or a secret in a file that other users cannot read.

Each file contains one line:

    signing key     PRIVATE+KEY+name+hexhash+base64(0x01 || Ed25519 seed), the text format of Go's note package
    secret          GROUNDS+SECRET+base64(32 random bytes), such as the master key, which encrypts customer keys

A new file is written and fsynced under a temporary name with mode 0600, and then hard-linked to its final name. Linking fails
if the final name exists. An existing key is therefore never replaced, and two processes that start at the same time read the
same key.

A file may also be mounted, as Kubernetes mounts a Secret: the path then leads through symbolic links, and the file has mode 0440
or 0400 and belongs to root and to a group of this process. Every link and the file must belong to root or to the user of this
process, so that nobody else can exchange the key.
"""

import base64
import errno
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from grounds_record.errors import KeyFileRejected, KeyMalformed
from grounds_record.note import KEY_BYTES, SigningKey, decode_base64, parse_signing_key
from grounds_record.private_files import sync_path

_SECRET_PREFIX = "GROUNDS+SECRET+"  # noqa: S105 - a file format, not a secret
_FILE_BYTES_MAX = 4096
_GROUP_OR_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_GROUP_READ_ONLY = 0o440  # the mode of a Secret that a group may read
_ROOT = 0
_LINKS_MAX = 16
_WANTED = (
    "a key file must have mode 0600 or 0400 and belong to the user of this process; in a Kubernetes Secret, set "
    "defaultMode: 0440 on the volume and fsGroup in the securityContext of the pod"
)


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
        KeyFileRejected: The file is missing, is not a regular file, belongs to another user or a foreign group, is
            accessible to other users, or does not contain the key of this log.
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
        KeyFileRejected: The file is missing, is not a regular file, belongs to another user or a foreign group, is
            accessible to other users, or is malformed.
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
    sync_path(path.parent)


def move_key_file(source: Path, target: Path) -> bool:
    """Replace a key file by another one of the same folder; return False if the folder is read-only.

    Raises:
        KeyFileRejected: The file cannot be moved for a different reason.
    """
    return _change_folder(target, lambda: source.replace(target))


def remove_key_file(path: Path) -> bool:
    """Remove a key file; return False if the folder is read-only.

    Raises:
        KeyFileRejected: The file cannot be removed for a different reason.
    """
    return _change_folder(path, path.unlink)


def _change_folder(path: Path, change: Callable[[], object]) -> bool:
    """Change a folder and sync it; return False if the folder is read-only."""
    try:
        change()
    except OSError as error:
        if error.errno in {errno.EROFS, errno.EACCES, errno.EPERM}:
            return False
        raise KeyFileRejected(f"{path} cannot be changed: {error.strerror}") from error
    sync_path(path.parent)
    return True


def _read_line(path: Path) -> str:
    """Read a file of one line; reject a file that other users can read or write."""
    try:
        descriptor = _open_file(path)
    except OSError as error:
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


def _open_file(path: Path) -> int:
    """Open a file to read, and return the descriptor."""
    # O_NOFOLLOW: the links were followed and checked. O_NONBLOCK: opening a pipe must not block.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(_follow_links(path), flags)
    except FileNotFoundError:
        return os.open(_follow_links(path), flags)  # Kubernetes replaced the folder of the Secret in this moment


def _follow_links(path: Path) -> Path:
    """Return the path of the file to which a path leads; reject a link that another user can change.

    Links in the folders above are followed too, because Kubernetes mounts each key as a link into a linked folder.
    """
    for _ in range(_LINKS_MAX):
        path = path.absolute()
        link = next((each for each in (*reversed(path.parents), path) if each.is_symlink()), None)
        if link is None:
            return path
        if (owner := link.lstat().st_uid) not in {_ROOT, os.geteuid()}:
            raise KeyFileRejected(
                f"{link} is a link of user {owner}, who can make it lead to a different key; the link must belong to root or to "
                f"user {os.geteuid()}"
            )
        path = link.parent / link.readlink() / path.relative_to(link)
    raise KeyFileRejected(f"{path} leads through more than {_LINKS_MAX} links; configure the path of the file itself")


def _check_private(path: Path, status: os.stat_result) -> None:
    """Reject a file that is not regular, that another user owns or can access, or whose group is a foreign one."""
    if not stat.S_ISREG(status.st_mode):
        raise KeyFileRejected(f"{path} is not a regular file; configure the path of the key file")
    mode, own, groups = stat.S_IMODE(status.st_mode), os.geteuid(), {os.getegid(), *os.getgroups()}
    is_mounted = mode == _GROUP_READ_ONLY and status.st_gid in groups
    if status.st_uid != own and not (is_mounted and status.st_uid == _ROOT):
        raise KeyFileRejected(
            f"{path} belongs to user {status.st_uid} and group {status.st_gid} with mode {mode:04o}, but this process runs as user "
            f"{own} in the groups {', '.join(map(str, sorted(groups)))}; {_WANTED}"
        )
    if mode & _GROUP_OR_OTHERS and not is_mounted:
        foreign = f" for group {status.st_gid}, in which this process is not" if mode == _GROUP_READ_ONLY else ""
        raise KeyFileRejected(
            f"{path} has mode {mode:04o}{foreign}, so other users may have read the key; replace the key, or run chmod 600; {_WANTED}"
        )
