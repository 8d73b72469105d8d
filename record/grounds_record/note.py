"""Signed notes: a text signed with Ed25519, in the format of C2SP signed-note; keys in the text forms of Go's note package.

    text, ending in a newline
    (an empty line)
    — name base64(key id || signature)

Key id = SHA-256(name || 0x0A || 0x01 || public key)[:4]. A note may have signatures by others, such as witnesses or a
future key; readers ignore them, as the format requires.

Ed25519, because it is deterministic: no random number can leak the key, and signing a text twice gives the same note.

Sources: https://c2sp.org/signed-note, https://pkg.go.dev/golang.org/x/mod/sumdb/note, RFC 8032 (Ed25519).
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from grounds_record.errors import KeyMalformed, NoteMalformed, SignatureInvalid, SignatureMissing

_ED25519 = b"\x01"  # the signature type of the format
KEY_BYTES = 32
_KEY_ID_BYTES = 4
PRIVATE_KEY_PREFIX = "PRIVATE+KEY+"
_NOTE_BYTES_MAX = 1_000_000
_SIGNATURES_MAX = 100  # as in Go's note package; the format requires at least 16
_SIGNATURE_START = "\u2014 "  # an em dash and a space


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """The public half of a log's key: all that an auditor has to trust.

    Attributes:
        name: Of the log: not empty, without spaces and without "+".
        public: The Ed25519 public key, 32 bytes.

    Raises:
        KeyMalformed: The name or the length is invalid.
    """

    name: str
    public: bytes

    def __post_init__(self) -> None:
        _check_key_name(self.name)
        if len(self.public) != KEY_BYTES:
            raise KeyMalformed(f"a public key has {KEY_BYTES} bytes, not {len(self.public)}")

    @property
    def key_id(self) -> bytes:
        """Return the 4 bytes by which signatures refer to this key."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:_KEY_ID_BYTES]

    def text(self) -> str:
        """Return the key as a vkey: name+hexhash+base64(0x01 || public key)."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(_ED25519 + self.public).decode()}"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The private half of a log's key.

    Attributes:
        name: As in the public half.
        seed: The Ed25519 private key, 32 bytes. Not part of repr.

    Raises:
        KeyMalformed: The name or the length is invalid.
    """

    name: str
    seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _check_key_name(self.name)
        if len(self.seed) != KEY_BYTES:
            raise KeyMalformed(f"a private key has {KEY_BYTES} bytes, not {len(self.seed)}")

    def verifier(self) -> VerifierKey:
        """Return the public half."""
        return VerifierKey(self.name, Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw())

    def text(self) -> str:
        """Return the key as Go's note package writes it: PRIVATE+KEY+name+hexhash+base64(0x01 || seed)."""
        key_id = self.verifier().key_id.hex()
        return f"{PRIVATE_KEY_PREFIX}{self.name}+{key_id}+{base64.b64encode(_ED25519 + self.seed).decode()}"


def parse_verifier_key(text: str) -> VerifierKey:
    """Parse a vkey.

    Raises:
        KeyMalformed: Names the invalid part.
    """
    name, key_id, key = _parse_key_text(text)
    verifier = VerifierKey(name, key)
    _check_key_id(verifier, key_id)
    return verifier


def parse_signing_key(text: str) -> SigningKey:
    """Parse a private key.

    Raises:
        KeyMalformed: Names the invalid part, never the key.
    """
    if not text.startswith(PRIVATE_KEY_PREFIX):
        raise KeyMalformed(f"a private key begins with {PRIVATE_KEY_PREFIX}")
    name, key_id, seed = _parse_key_text(text.removeprefix(PRIVATE_KEY_PREFIX))
    signer = SigningKey(name, seed)
    _check_key_id(signer.verifier(), key_id)
    return signer


def sign_note(text: str, key: SigningKey) -> str:
    """Return a note: the text and its signature.

    Args:
        text: Ends in a newline; no control characters except newlines.
        key: Signs the text.

    Raises:
        NoteMalformed: The text cannot be the text of a note.
    """
    _check_characters(text)
    if text == "\n" or not text.endswith("\n"):
        raise NoteMalformed("the text of a note is not empty and ends in a newline")
    private, key_id = _load_signer(key)
    line = base64.b64encode(key_id + private.sign(text.encode())).decode()
    return f"{text}\n{_SIGNATURE_START}{key.name} {line}\n"


@lru_cache(maxsize=4)
def _load_signer(key: SigningKey) -> tuple[Ed25519PrivateKey, bytes]:
    """Return the private key object and the key id. Cached, because a log signs thousands of notes with one key."""
    return Ed25519PrivateKey.from_private_bytes(key.seed), key.verifier().key_id


def open_note(note: str, key: VerifierKey) -> str:
    """Verify a note's signature by this key, and return its text.

    Raises:
        NoteMalformed: It is not a signed note. Names the line.
        SignatureMissing: It has no signature by this key.
        SignatureInvalid: A signature by this key does not verify.
    """
    text, signatures = parse_note(note)
    # Name and key id together select the signatures to verify; the key id alone has only 32 bits.
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
    """Parse a note; return its text, and name, key id and signature of each signature line. Verifies nothing.

    Raises:
        NoteMalformed: It is not a signed note. Names the line.
    """
    _check_characters(note)
    if not note.endswith("\n"):
        raise NoteMalformed("a note ends in a newline")
    # The last empty line separates the signatures: the text may contain empty lines itself.
    text, separator, block = note.rpartition("\n\n")
    if not separator or not text:
        raise NoteMalformed("a note has a text, an empty line and then its signatures")
    lines = block.removesuffix("\n").split("\n")
    if lines == [""]:
        raise NoteMalformed("the note has no signature")
    if len(lines) > _SIGNATURES_MAX:
        raise NoteMalformed(f"the note has {len(lines)} signatures; at most {_SIGNATURES_MAX} are allowed")
    return f"{text}\n", [_parse_signature(line, number) for number, line in enumerate(lines, start=1)]


def _parse_signature(line: str, number: int) -> tuple[str, bytes, bytes]:
    """Parse one signature line; `number` is its number, from 1."""
    where = f"signature line {number}"
    if not line.startswith(_SIGNATURE_START):
        raise NoteMalformed(f"{where} does not begin with an em dash and a space")
    name, space, encoded = line.removeprefix(_SIGNATURE_START).partition(" ")
    if not space or not is_key_name(name):
        raise NoteMalformed(f"{where} has no valid key name: not empty, without spaces and '+'")
    decoded = decode_base64(encoded)
    if decoded is None or len(decoded) <= _KEY_ID_BYTES:
        raise NoteMalformed(f"{where} is not the base64 of a key id and a signature")
    return name, decoded[:_KEY_ID_BYTES], decoded[_KEY_ID_BYTES:]


def _parse_key_text(text: str) -> tuple[str, bytes, bytes]:
    """Parse name+hexhash+base64; the base64 may contain '+' itself."""
    parts = text.split("+", 2)
    if len(parts) != 3:  # noqa: PLR2004 - name, hash, key
        raise KeyMalformed("a key has the form name+hexhash+base64")
    name, key_id, encoded = parts
    _check_key_name(name)
    if not re.fullmatch("[0-9a-f]{8}", key_id):
        raise KeyMalformed("the middle part of a key is 8 hexadecimal digits in lower case")
    decoded = decode_base64(encoded)
    if decoded is None or len(decoded) != 1 + KEY_BYTES:
        raise KeyMalformed(f"the last part of a key is the base64 of {1 + KEY_BYTES} bytes")
    if decoded[:1] != _ED25519:
        raise KeyMalformed(f"the key is of type {decoded[0]}; only Ed25519, type 1, is supported")
    return name, bytes.fromhex(key_id), decoded[1:]


def _check_key_id(key: VerifierKey, key_id: bytes) -> None:
    """Reject a key whose text has another key id than the key itself: it was mistyped."""
    if key.key_id != key_id:
        raise KeyMalformed(
            f"the key's hash is {key_id.hex()} in its text, but {key.key_id.hex()} when computed; copy the key again"
        )


def _check_key_name(name: str) -> None:
    """Reject an invalid key name."""
    if not is_key_name(name):
        raise KeyMalformed("a key name must not be empty, and has no spaces, no '+' and no control characters")


def is_key_name(name: str) -> bool:
    """Return whether this is a valid name of a key, and so of a log."""
    return bool(name) and not any(character.isspace() or character == "+" or character < " " for character in name)


def _check_characters(text: str) -> None:
    """Reject a text that is too long, not UTF-8, or has control characters."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise NoteMalformed("a note is valid UTF-8") from error
    if size > _NOTE_BYTES_MAX:
        raise NoteMalformed(f"a note of {size} bytes is longer than {_NOTE_BYTES_MAX}")
    for number, line in enumerate(text.split("\n"), start=1):
        if any(character < " " for character in line):
            raise NoteMalformed(f"line {number} has a control character")


def encode_base64(content: bytes) -> str:
    """Return standard base64, in the only form that `decode_base64` accepts."""
    return base64.b64encode(content).decode()


def decode_base64(text: str) -> bytes | None:
    """Decode standard base64 (RFC 4648, section 4) in canonical form; return None for anything else."""
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    # Python ignores nonzero padding bits, so several texts decode to the same bytes. Only one of them is canonical.
    return decoded if base64.b64encode(decoded).decode() == text else None
