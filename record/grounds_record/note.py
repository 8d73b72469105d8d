"""Signed notes: texts signed with Ed25519, in the format of C2SP signed-note.

Keys have the text formats of Go's note package.

    text, which ends in a newline
    (an empty line)
    — name base64(key id || signature)

Key id = SHA-256(name || 0x0A || 0x01 || public key)[:4]. A note may have signatures by other keys, such as those of
witnesses. Readers ignore these signatures, as the format requires.

Ed25519 signatures are deterministic. They need no random number, which could leak the key, and signing the same text
twice returns the same note.

Sources: https://c2sp.org/signed-note, https://pkg.go.dev/golang.org/x/mod/sumdb/note, RFC 8032 (Ed25519).
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from grounds_record.errors import KeyMalformed, NoteMalformed, SignatureInvalid, SignatureMissing

_ED25519 = b"\x01"  # the number of Ed25519 among the signature types of the format
KEY_BYTES = 32
_KEY_ID_BYTES = 4
PRIVATE_KEY_PREFIX = "PRIVATE+KEY+"
_NOTE_BYTES_MAX = 1_000_000
_SIGNATURES_MAX = 100  # the limit of Go's note package; readers must accept at least 16 signatures
SIGNATURE_START = "\u2014 "  # an em dash and a space


def check_public_key(name: str, public: bytes) -> None:
    """Check the name and the length of an Ed25519 public key.

    Raises:
        KeyMalformed: The name or the length of the key is invalid.
    """
    _check_key_name(name)
    if len(public) != KEY_BYTES:
        raise KeyMalformed(f"a public key must have {KEY_BYTES} bytes, got {len(public)}")


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """The public key of a log, which an auditor must trust.

    Attributes:
        name: Name of the log. The name is not empty and contains no spaces and no "+".
        public: The Ed25519 public key, 32 bytes.

    Raises:
        KeyMalformed: The name or the length of the key is invalid.
    """

    name: str
    public: bytes

    def __post_init__(self) -> None:
        check_public_key(self.name, self.public)

    @property
    def key_id(self) -> bytes:
        """Return the 4 bytes by which signatures refer to this key."""
        return _key_id(self.name, self.public)

    def text(self) -> str:
        """Return the key as a vkey: name+hexhash+base64(0x01 || public key)."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(_ED25519 + self.public).decode()}"


@lru_cache(maxsize=16)
def _key_id(name: str, public: bytes) -> bytes:
    """Return the key id of a public key. It is cached, because every signature contains it."""
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:_KEY_ID_BYTES]


class Signer(Protocol):
    """A private key of a log that signs: a `SigningKey`, or a key that never leaves a hardware security module."""

    @property
    def name(self) -> str:
        """Return the name of the log."""

    def verifier(self) -> VerifierKey:
        """Return the public key."""

    def sign(self, message: bytes) -> bytes:
        """Return the Ed25519 signature of a message, 64 bytes."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The private key of a log, in the memory of this process.

    Attributes:
        name: Name of the log, as in `VerifierKey`.
        seed: The Ed25519 private key, 32 bytes. `repr` omits this field.

    Raises:
        KeyMalformed: The name or the length of the key is invalid.
    """

    name: str
    seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _check_key_name(self.name)
        if len(self.seed) != KEY_BYTES:
            raise KeyMalformed(f"a private key must have {KEY_BYTES} bytes, got {len(self.seed)}")

    def verifier(self) -> VerifierKey:
        """Return the public key."""
        return _load_verifier(self.name, self.seed)

    def sign(self, message: bytes) -> bytes:
        """Return the Ed25519 signature of a message, 64 bytes."""
        return _load_private_key(self.seed).sign(message)

    def text(self) -> str:
        """Return the key as Go's note package writes it: PRIVATE+KEY+name+hexhash+base64(0x01 || seed)."""
        key_id = self.verifier().key_id.hex()
        return f"{PRIVATE_KEY_PREFIX}{self.name}+{key_id}+{base64.b64encode(_ED25519 + self.seed).decode()}"


def parse_verifier_key(text: str) -> VerifierKey:
    """Parse a public key in the text format of `VerifierKey.text`.

    Raises:
        KeyMalformed: The text is not a public key. The message states the invalid part.
    """
    name, key_id, key = parse_key_text(text)
    verifier = VerifierKey(name, key)
    check_key_id(verifier.key_id, key_id)
    return verifier


def parse_signing_key(text: str) -> SigningKey:
    """Parse a private key in the text format of `SigningKey.text`.

    Raises:
        KeyMalformed: The text is not a private key. The message states the invalid part but never contains the key.
    """
    if not text.startswith(PRIVATE_KEY_PREFIX):
        raise KeyMalformed(f"a private key must begin with {PRIVATE_KEY_PREFIX}")
    name, key_id, seed = parse_key_text(text.removeprefix(PRIVATE_KEY_PREFIX))
    signer = SigningKey(name, seed)
    check_key_id(signer.verifier().key_id, key_id)
    return signer


def sign_note(text: str, key: Signer) -> str:
    """Sign a text, and return the note.

    Args:
        text: The text. It must end in a newline and contain no control characters except newlines.
        key: The key that signs the text.

    Raises:
        NoteMalformed: The text is not valid for a note.
    """
    _check_characters(text)
    if text == "\n" or not text.endswith("\n"):
        raise NoteMalformed("the text of a note must not be empty and must end in a newline")
    return signed_note(text, [(key.verifier(), key.sign(text.encode()))])


def signed_note(text: str, signatures: Sequence[tuple[VerifierKey, bytes]]) -> str:
    """Return the note of a text and its signatures, which are not verified."""
    lines = [
        f"{SIGNATURE_START}{key.name} {base64.b64encode(key.key_id + content).decode()}\n"
        for key, content in signatures
    ]
    return f"{text}\n{''.join(lines)}"


@lru_cache(maxsize=4)
def _load_private_key(seed: bytes) -> Ed25519PrivateKey:
    """Return the private key object, which is cached because one key signs all checkpoints."""
    return Ed25519PrivateKey.from_private_bytes(seed)


@lru_cache(maxsize=4)
def _load_verifier(name: str, seed: bytes) -> VerifierKey:
    """Return the public key, which is cached because every signature contains its id."""
    return VerifierKey(name, _load_private_key(seed).public_key().public_bytes_raw())


def open_note(note: str, key: VerifierKey) -> str:
    """Verify the signature of a note by one key, and return the text of the note.

    Raises:
        NoteMalformed: The input is not a signed note. The message states the invalid line.
        SignatureMissing: The note has no signature by this key.
        SignatureInvalid: A signature by this key does not verify.
    """
    text, signatures = parse_note(note)
    # Compare the name too, because a key id has only 32 bits and keys with different names can have the same id.
    ours = [signature for name, key_id, signature in signatures if (name, key_id) == (key.name, key.key_id)]
    if not ours:
        names = ", ".join(f"{name}+{key_id.hex()}" for name, key_id, _ in signatures)
        raise SignatureMissing(f"the note is signed by {names}, not by {key.name}+{key.key_id.hex()}")
    for signature in ours:
        try:
            Ed25519PublicKey.from_public_bytes(key.public).verify(signature, text.encode())
        except (InvalidSignature, ValueError) as error:
            raise SignatureInvalid(f"the signature by {key.name} does not verify: the note was changed") from error
    return text


def parse_note(note: str) -> tuple[str, list[tuple[str, bytes, bytes]]]:
    """Parse a note without verifying its signatures.

    Returns:
        The text, and the name, key id and signature of each signature line.

    Raises:
        NoteMalformed: The input is not a signed note. The message states the invalid line.
    """
    _check_characters(note)
    if not note.endswith("\n"):
        raise NoteMalformed("a note must end in a newline")
    # The last empty line separates text and signatures, because the text itself may contain empty lines.
    text, separator, block = note.rpartition("\n\n")
    if not separator or not text:
        raise NoteMalformed("a note must consist of a text, an empty line and signature lines")
    lines = block.removesuffix("\n").split("\n")
    if lines == [""]:
        raise NoteMalformed("the note has no signature")
    if len(lines) > _SIGNATURES_MAX:
        raise NoteMalformed(f"the note has {len(lines)} signatures; at most {_SIGNATURES_MAX} are allowed")
    return f"{text}\n", [_parse_signature(line, number) for number, line in enumerate(lines, start=1)]


def _parse_signature(line: str, number: int) -> tuple[str, bytes, bytes]:
    """Parse one signature line. `number` is the number of the line, from 1."""
    where = f"signature line {number}"
    if not line.startswith(SIGNATURE_START):
        raise NoteMalformed(f"{where} must begin with an em dash and a space")
    name, space, encoded = line.removeprefix(SIGNATURE_START).partition(" ")
    if not space or not is_key_name(name):
        raise NoteMalformed(f"{where} has no valid key name: a name must not be empty, and has no spaces and no '+'")
    decoded = decode_base64(encoded)
    if decoded is None or len(decoded) <= _KEY_ID_BYTES:
        raise NoteMalformed(f"{where} must end in the base64 of a key id and a signature")
    return name, decoded[:_KEY_ID_BYTES], decoded[_KEY_ID_BYTES:]


def parse_key_text(text: str, kind: bytes = _ED25519) -> tuple[str, bytes, bytes]:
    """Parse name+hexhash+base64, and return the name, the hash and the bytes of the key.

    The base64 part may contain "+".

    Raises:
        KeyMalformed: The text is malformed, or the number of its signature type is not `kind`.
    """
    parts = text.split("+", 2)
    if len(parts) != 3:  # noqa: PLR2004 - name, hash, key
        raise KeyMalformed("a key must have the format name+hexhash+base64")
    name, key_id, encoded = parts
    _check_key_name(name)
    if not re.fullmatch("[0-9a-f]{8}", key_id):
        raise KeyMalformed("the middle part of a key must be 8 hexadecimal digits in lowercase")
    decoded = decode_base64(encoded)
    if decoded is None or len(decoded) != 1 + KEY_BYTES:
        raise KeyMalformed(f"the last part of a key must be the base64 of {1 + KEY_BYTES} bytes")
    if decoded[:1] != kind:
        what = "Ed25519" if kind == _ED25519 else "an Ed25519 cosignature"
        raise KeyMalformed(f"the key is of type {decoded[0]}; only {what}, type {kind[0]}, is supported")
    return name, bytes.fromhex(key_id), decoded[1:]


def check_key_id(computed: bytes, key_id: bytes) -> None:
    """Reject a key whose text contains a wrong key id, which shows a typing error."""
    if computed != key_id:
        raise KeyMalformed(
            f"the key contains the hash {key_id.hex()}, but its computed hash is {computed.hex()}; copy the key again"
        )


def _check_key_name(name: str) -> None:
    """Reject an invalid key name."""
    if not is_key_name(name):
        raise KeyMalformed("a key name must not be empty, and must not contain spaces, '+' or control characters")


def is_key_name(name: str) -> bool:
    """Return whether a name is valid for a key, and therefore for a log."""
    return bool(name) and not any(character.isspace() or character == "+" or character < " " for character in name)


def _check_characters(text: str) -> None:
    """Reject a text that is too long, is not valid UTF-8, or contains control characters."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise NoteMalformed("a note must be valid UTF-8") from error
    if size > _NOTE_BYTES_MAX:
        raise NoteMalformed(f"the note has {size} bytes; at most {_NOTE_BYTES_MAX} are allowed")
    for number, line in enumerate(text.split("\n"), start=1):
        if any(character < " " for character in line):
            raise NoteMalformed(f"line {number} contains a control character")


def encode_base64(content: bytes) -> str:
    """Return the canonical standard base64 of bytes."""
    return base64.b64encode(content).decode()


def decode_base64(text: str) -> bytes | None:
    """Decode standard base64 (RFC 4648, section 4); return None if the text is not canonical base64."""
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    # Python ignores nonzero padding bits, so several texts decode to the same bytes. Only one of these texts is
    # canonical.
    return decoded if base64.b64encode(decoded).decode() == text else None
