"""Keys in a PKCS#11 token, such as a hardware security module. The keys never leave the token.

The signing key is an Ed25519 key pair (CKM_EDDSA), and the master key is an AES-256 key (CKM_AES_GCM). Both objects of
the pair have the same label. The token creates the keys as sensitive and not extractable.
"""

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pkcs11
from cryptography.exceptions import InvalidTag
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.exceptions import PKCS11Error
from pkcs11.mechanisms import GCMParams

from grounds_record.errors import KeyMalformed
from grounds_record.note import KEY_BYTES, VerifierKey
from server.errors import LogRefused
from server.key_location import Pkcs11Uri
from server.stores.keys.places import MasterKey

_NEXT = ".next"
_ED25519_PARAMETERS = bytes.fromhex("130c656477617264733235353139")  # the curve name "edwards25519", as in PKCS#11 3.0
_POINT_HEADER = b"\x04\x20"  # DER: an octet string of 32 bytes
_ID_BYTES = 16
_TAG_BITS = 128
_PRIVATE = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}


class _Token:
    """An open session of a token. All threads share the session, so each operation holds the lock."""

    def __init__(self, uri: Pkcs11Uri) -> None:
        """Open a session, and log in with the PIN.

        Raises:
            LogRefused: The library, the token or the PIN cannot be used.
        """
        try:
            pin = uri.pin_source.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise LogRefused(f"{uri}: the PIN file {uri.pin_source} cannot be read: {error.strerror}") from error
        try:
            token = pkcs11.lib(str(uri.module_path)).get_token(token_label=uri.token)
            self.session = token.open(rw=True, user_pin=pin)
        except (PKCS11Error, RuntimeError, OSError) as error:
            raise LogRefused(
                f"{uri}: the token cannot be opened with {uri.module_path}: {type(error).__name__}; check module-path, the "
                "label of the token, and the PIN"
            ) from error
        self.lock = threading.Lock()


_TOKENS: dict[tuple[Path, str], _Token] = {}
_TOKENS_LOCK = threading.Lock()


def _open_token(uri: Pkcs11Uri) -> _Token:
    """Return the session of a token, which this process opens once."""
    with _TOKENS_LOCK:
        name = uri.module_path, uri.token
        if name not in _TOKENS:
            _TOKENS[name] = _Token(uri)
        return _TOKENS[name]


@dataclass(frozen=True, slots=True)
class _TokenSigner:
    """A signing key in a token."""

    name: str
    public: bytes
    private: Any = field(repr=False)
    token: _Token = field(repr=False)

    def verifier(self) -> VerifierKey:
        """Return the public key."""
        return VerifierKey(self.name, self.public)

    def sign(self, message: bytes) -> bytes:
        """Return the Ed25519 signature of a message, 64 bytes."""
        with self.token.lock:
            return bytes(self.private.sign(message, mechanism=Mechanism.EDDSA))


@dataclass(frozen=True, slots=True)
class _TokenCipher:
    """AES-256-GCM with a key in a token."""

    key: Any = field(repr=False)
    token: _Token = field(repr=False)

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
        """Return the encrypted data, followed by the tag of 16 bytes."""
        with self.token.lock:
            parameters = GCMParams(nonce, associated_data, _TAG_BITS)
            return bytes(self.key.encrypt(data, mechanism=Mechanism.AES_GCM, mechanism_param=parameters))

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
        """Return the decrypted data.

        Raises:
            InvalidTag: The data, the nonce, the associated data and the key do not belong together.
        """
        parameters = GCMParams(nonce, associated_data, _TAG_BITS)
        with self.token.lock:
            try:
                return bytes(self.key.decrypt(data, mechanism=Mechanism.AES_GCM, mechanism_param=parameters))
            except PKCS11Error as error:
                raise InvalidTag from error


@dataclass(frozen=True, slots=True)
class TokenPlace:
    """The place of one key in a token, which is identified by the label of the key."""

    uri: Pkcs11Uri

    @property
    def description(self) -> str:
        """Return the URI without the path of the PIN."""
        return str(self.uri)

    def exists(self) -> bool:
        """Return whether the token has a private or secret key with this label."""
        return bool(self._objects())

    def create_signer(self, origin: str) -> None:
        """Create a signing key, unless there is a key. The token does not store the origin."""
        del origin
        if self.exists():
            return
        with self._session() as session:
            parameters = session.create_domain_parameters(
                KeyType.EC_EDWARDS, {Attribute.EC_PARAMS: _ED25519_PARAMETERS}, local=True
            )
            parameters.generate_keypair(
                mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
                store=True,
                label=self.uri.object,
                private_template=_PRIVATE,
            )

    def read_signer(self, origin: str) -> _TokenSigner:
        """Return the signing key of this log."""
        found = self._objects()
        private = self._single(found, ObjectClass.PRIVATE_KEY, "an Ed25519 key pair")
        public = self._single(found, ObjectClass.PUBLIC_KEY, "an Ed25519 key pair")
        with self._session():
            point = bytes(public[Attribute.EC_POINT])
        key = point.removeprefix(_POINT_HEADER) if len(point) > KEY_BYTES else point
        try:
            VerifierKey(origin, key)
        except KeyMalformed as error:
            raise LogRefused(f"{self.uri}: is not an Ed25519 key: {error}") from error
        return _TokenSigner(origin, key, private, _open_token(self.uri))

    def create_master(self) -> None:
        """Create a master key, unless there is a key."""
        if self.exists():
            return
        with self._session() as session:
            # The id of the object identifies the key in the key database.
            name = session.generate_random(8 * _ID_BYTES)
            session.generate_key(
                KeyType.AES, 8 * KEY_BYTES, id=bytes(name), label=self.uri.object, store=True, template=_PRIVATE
            )

    def read_master(self) -> MasterKey:
        """Return the master key."""
        key = self._single(self._objects(), ObjectClass.SECRET_KEY, "an AES key")
        with self._session():
            name = bytes(key.id).hex()
        return MasterKey(name, _TokenCipher(key, _open_token(self.uri)))

    def successor(self) -> "TokenPlace":
        """Return the place of the label with the suffix .next."""
        uri = self.uri
        return TokenPlace(Pkcs11Uri(uri.token, f"{uri.object}{_NEXT}", uri.module_path, uri.pin_source))

    def promote_successor(self) -> bool:
        """Destroy the key, and give its label to the key of the successor place."""
        self.discard()
        with self._session() as session:
            for each in list(session.get_objects({Attribute.LABEL: self.successor().uri.object})):
                each[Attribute.LABEL] = self.uri.object
        return True

    def discard(self) -> bool:
        """Destroy the key in the token."""
        for each in self._objects():
            with self._session():
                each.destroy()
        return True

    def _objects(self) -> list[Any]:
        """Return the objects of the token with this label."""
        with self._session() as session:
            return list(session.get_objects({Attribute.LABEL: self.uri.object}))

    def _single(self, objects: list[Any], kind: Any, expected: str) -> Any:
        """Return the only object of a class; raise LogRefused if there is none, or more than one."""
        found = [each for each in objects if each.object_class == kind]
        if len(found) != 1:
            raise LogRefused(
                f"{self.uri}: the token has {len(found)} objects of class {kind.name} with this label; expected one, of {expected}; "
                "run: python -m server keys init"
            )
        return found[0]

    def _session(self) -> "_Session":
        """Return a context manager that locks the session and raises LogRefused for errors of the token."""
        return _Session(self.uri, _open_token(self.uri))


@dataclass(frozen=True, slots=True)
class _Session:
    """The session of a token, locked."""

    uri: Pkcs11Uri
    token: _Token

    def __enter__(self) -> Any:
        """Lock the session, and return it."""
        self.token.lock.acquire()
        return self.token.session

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        """Unlock the session, and convert an error."""
        self.token.lock.release()
        if isinstance(error, PKCS11Error):
            raise LogRefused(f"{self.uri}: the token rejects the operation: {type(error).__name__}") from error
