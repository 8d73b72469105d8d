"""The interface for where a key lives, and its implementation with files.

Each place has a successor place, in which a rotation creates the new key. For a file, it is the path with the suffix
.next. While a rotation is not finished, both keys exist, and the database states which of them is in use. Therefore a
rotation can be continued after it was interrupted at any moment.
"""

import hmac
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from grounds_record.customer_keys import Cipher
from grounds_record.errors import RecordError
from grounds_record.key_files import (
    ensure_secret,
    ensure_signing_key,
    move_key_file,
    read_secret,
    read_signing_key,
    remove_key_file,
)
from grounds_record.note import Signer
from server.errors import LogRefused
from server.key_location import Pkcs11Uri

_NEXT = ".next"
_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class MasterKey:
    """A key that encrypts the customers' keys.

    Attributes:
        key_id: Identifies the key without revealing it, 32 hexadecimal digits.
        cipher: AES-256-GCM with this key.
    """

    key_id: str
    cipher: Cipher = field(repr=False)


class KeyPlace(Protocol):
    """A place for one key. Every method raises LogRefused if the place cannot be used; the message states what to do."""

    @property
    def description(self) -> str:
        """Return the place as text for messages."""

    def exists(self) -> bool:
        """Return whether the place has a key."""

    def create_signer(self, origin: str) -> None:
        """Create a signing key of this log, unless the place has a key."""

    def read_signer(self, origin: str) -> Signer:
        """Return the signing key of this log."""

    def create_master(self) -> None:
        """Create a master key, unless the place has a key."""

    def read_master(self) -> MasterKey:
        """Return the master key."""

    def successor(self) -> "KeyPlace":
        """Return the place in which a rotation creates the next key."""

    def promote_successor(self) -> bool:
        """Replace the key by the key of the successor place, which is empty afterwards.

        Returns:
            False if this process may not change the place; the operator must move the key.
        """

    def discard(self) -> bool:
        """Remove the key; return False if this process may not change the place."""


@dataclass(frozen=True, slots=True)
class FilePlace:
    """A key file. It may be mounted from a Kubernetes Secret, which nobody can change from inside the container."""

    path: Path

    @property
    def description(self) -> str:
        """Return the path."""
        return str(self.path)

    def exists(self) -> bool:
        """Return whether the file exists, even if it cannot be used."""
        return os.path.lexists(self.path)

    def create_signer(self, origin: str) -> None:
        """Create a signing key of this log, unless the file exists."""
        with _log_refused():
            ensure_signing_key(self.path, origin)

    def read_signer(self, origin: str) -> Signer:
        """Return the signing key of this log."""
        with _log_refused():
            return read_signing_key(self.path, origin)

    def create_master(self) -> None:
        """Create a master key, unless the file exists."""
        with _log_refused():
            ensure_secret(self.path)

    def read_master(self) -> MasterKey:
        """Return the master key."""
        with _log_refused():
            secret = read_secret(self.path)
        return MasterKey(hmac.digest(secret, b"grounds/master-id/1", "sha256")[:_ID_BYTES].hex(), AESGCM(secret))

    def successor(self) -> "FilePlace":
        """Return the file with the suffix .next."""
        return FilePlace(self.path.with_name(f"{self.path.name}{_NEXT}"))

    def promote_successor(self) -> bool:
        """Rename the file with the suffix .next, which replaces this file; return False if the folder is read-only."""
        if self.path.is_symlink():  # a mounted Secret: a rename would replace the link and not the content
            return False
        with _log_refused():
            return move_key_file(self.successor().path, self.path)

    def discard(self) -> bool:
        """Remove the file; return False if the folder is read-only."""
        with _log_refused():
            return not self.path.is_symlink() and remove_key_file(self.path)


@contextmanager
def _log_refused() -> Iterator[None]:
    """Raise LogRefused instead of the errors of key files."""
    try:
        yield
    except RecordError as error:
        raise LogRefused(str(error)) from error


def open_place(location: Path | Pkcs11Uri) -> KeyPlace:
    """Return the place of a location in the configuration."""
    if isinstance(location, Path):
        return FilePlace(location)
    try:
        from server.stores.keys.pkcs11 import TokenPlace  # the library is needed only for tokens
    except ImportError as error:
        raise LogRefused(
            f"{location}: keys in a token need the package python-pkcs11; run: pip install 'grounds[pkcs11]'"
        ) from error
    return TokenPlace(location)
