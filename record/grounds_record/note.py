"""A text signed with Ed25519, in the format of C2SP signed-note; keys in the text forms of Go's note package.

    text, ending in a newline
    (an empty line)
    — name base64(key id || signature)

Key id = SHA-256(name || 0x0A || 0x01 || public key)[:4]. A note may have signatures by others (witnesses, a next key);
they are ignored, as the format demands. Sources: https://c2sp.org/signed-note, https://pkg.go.dev/golang.org/x/mod/sumdb/note,
RFC 8032.
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

ED25519 = b"\x01"
KEY_BYTES = 32
KEY_ID_BYTES = 4
PRIVATE_KEY_PREFIX = "PRIVATE+KEY+"
NOTE_BYTES_MAX = 1_000_000
SIGNATURES_MAX = 100  # as Go's note package; the format demands that 16 are accepted
SIGNATURE_START = "\u2014 "


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """Who may sign: all that an auditor needs to trust.

    Attributes:
        name: Of the log: not empty, without spaces and without "+".
        public: The Ed25519 public key, 32 bytes.
    """

    name: str
    public: bytes

    def __post_init__(self) -> None:
        _check_key_name(self.name)
        if len(self.public) != KEY_BYTES:
            raise KeyMalformed(f"a public key has {KEY_BYTES} bytes, not {len(self.public)}")

    @property
    def key_id(self) -> bytes:
        """Give the four bytes by which signatures name this key."""
        return hashlib.sha256(self.name.encode() + b"\n" + ED25519 + self.public).digest()[:KEY_ID_BYTES]

    def text(self) -> str:
        """Write the key as a vkey: name+hexhash+base64(0x01 || public key)."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(ED25519 + self.public).decode()}"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The private half.

    Attributes:
        name: As of the public half.
        seed: The Ed25519 private key, 32 bytes. Never shown by repr.
    """

    name: str
    seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _check_key_name(self.name)
        if len(self.seed) != KEY_BYTES:
            raise KeyMalformed(f"a private key has {KEY_BYTES} bytes, not {len(self.seed)}")

    def verifier(self) -> VerifierKey:
        """Give the public half."""
        return VerifierKey(self.name, Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw())

    def text(self) -> str:
        """Write the key as Go's note package does: PRIVATE+KEY+name+hexhash+base64(0x01 || seed)."""
        key_id = self.verifier().key_id.hex()
        return f"{PRIVATE_KEY_PREFIX}{self.name}+{key_id}+{base64.b64encode(ED25519 + self.seed).decode()}"


def parse_verifier_key(text: str) -> VerifierKey:
    """Read a vkey.

    Raises:
        KeyMalformed: Names the part that is wrong.
    """
    name, key_id, key = _parse_key_text(text)
    found = VerifierKey(name, key)
    _check_key_id(found, key_id)
    return found


def parse_signing_key(text: str) -> SigningKey:
    """Read a private key from its text.

    Raises:
        KeyMalformed: Names the part that is wrong; never the key.
    """
    if not text.startswith(PRIVATE_KEY_PREFIX):
        raise KeyMalformed(f"a private key begins with {PRIVATE_KEY_PREFIX}")
    name, key_id, seed = _parse_key_text(text.removeprefix(PRIVATE_KEY_PREFIX))
    found = SigningKey(name, seed)
    _check_key_id(found.verifier(), key_id)
    return found


def sign_note(text: str, key: SigningKey) -> str:
    """Sign a text.

    Args:
        text: Ends in a newline; no control characters but newlines.
        key: Whose signature to write.

    Raises:
        NoteMalformed: The text cannot be the text of a note.
    """
    _check_characters(text)
    if text == "\n" or not text.endswith("\n"):
        raise NoteMalformed("the text of a note is not empty and ends in a newline")
    private, key_id = _load_signer(key)
    line = base64.b64encode(key_id + private.sign(text.encode())).decode()
    return f"{text}\n{SIGNATURE_START}{key.name} {line}\n"


@lru_cache(maxsize=4)
def _load_signer(key: SigningKey) -> tuple[Ed25519PrivateKey, bytes]:
    """Give what signing needs beside the text: a log signs thousands of notes with one key."""
    return Ed25519PrivateKey.from_private_bytes(key.seed), key.verifier().key_id


def open_note(note: str, key: VerifierKey) -> str:
    """Check a note's signature by this key, and give its text.

    Raises:
        NoteMalformed: It is no signed note; names the line.
        SignatureMissing: This key did not sign it.
        SignatureInvalid: It names this key, but the signature does not hold.
    """
    text, signatures = parse_note(note)
    ours = [signature for name, key_id, signature in signatures if (name, key_id) == (key.name, key.key_id)]
    if not ours:
        names = ", ".join(f"{name}+{key_id.hex()}" for name, key_id, _ in signatures)
        raise SignatureMissing(f"the note is signed by {names}, not by {key.name}+{key.key_id.hex()}")
    for signature in ours:
        try:
            Ed25519PublicKey.from_public_bytes(key.public).verify(signature, text.encode())
        except (InvalidSignature, ValueError) as error:
            raise SignatureInvalid(f"the signature by {key.name} does not hold: the text or it was changed") from error
    return text


def parse_note(note: str) -> tuple[str, list[tuple[str, bytes, bytes]]]:
    """Take a note apart; gives its text and (name, key id, signature) of each signature. Nothing is verified yet."""
    _check_characters(note)
    if not note.endswith("\n"):
        raise NoteMalformed("a note ends in a newline")
    text, separator, block = note.rpartition("\n\n")
    if not separator or not text:
        raise NoteMalformed("a note has a text, an empty line, and signatures below it")
    lines = block.removesuffix("\n").split("\n")
    if lines == [""]:
        raise NoteMalformed("the note has no signature")
    if len(lines) > SIGNATURES_MAX:
        raise NoteMalformed(f"the note has {len(lines)} signatures; at most {SIGNATURES_MAX} are read")
    return f"{text}\n", [_parse_signature(line, number) for number, line in enumerate(lines, start=1)]


def _parse_signature(line: str, number: int) -> tuple[str, bytes, bytes]:
    """Read one signature line; number counts from 1."""
    where = f"signature line {number}"
    if not line.startswith(SIGNATURE_START):
        raise NoteMalformed(f"{where} does not begin with an em dash and a space")
    name, space, encoded = line.removeprefix(SIGNATURE_START).partition(" ")
    if not space or not is_key_name(name):
        raise NoteMalformed(f"{where} has no name of a key, or one with spaces or '+'")
    decoded = decode_base64(encoded)
    if decoded is None or len(decoded) <= KEY_ID_BYTES:
        raise NoteMalformed(f"{where} is not the base64 of a key id and a signature")
    return name, decoded[:KEY_ID_BYTES], decoded[KEY_ID_BYTES:]


def _parse_key_text(text: str) -> tuple[str, bytes, bytes]:
    """Take name+hexhash+base64 apart; the base64 may itself hold '+'."""
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
    if decoded[:1] != ED25519:
        raise KeyMalformed(f"the key is of type {decoded[0]}; only Ed25519, type 1, is supported")
    return name, bytes.fromhex(key_id), decoded[1:]


def _check_key_id(key: VerifierKey, key_id: bytes) -> None:
    """Refuse a key whose text says another key id than it has: a mistyped key."""
    if key.key_id != key_id:
        raise KeyMalformed(f"the key says its hash is {key_id.hex()}; it is {key.key_id.hex()}")


def _check_key_name(name: str) -> None:
    """Refuse what cannot be the name of a key."""
    if not is_key_name(name):
        raise KeyMalformed("a key's name is not empty, has no spaces, no '+' and no control characters")


def is_key_name(name: str) -> bool:
    """Tell whether this can be the name of a key."""
    return bool(name) and not any(character.isspace() or character == "+" or character < " " for character in name)


def _check_characters(text: str) -> None:
    """Refuse what no note may hold."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise NoteMalformed("a note is valid UTF-8") from error
    if size > NOTE_BYTES_MAX:
        raise NoteMalformed(f"a note of {size} bytes is longer than {NOTE_BYTES_MAX}")
    for number, line in enumerate(text.split("\n"), start=1):
        if any(character < " " for character in line):
            raise NoteMalformed(f"line {number} holds a control character")


def encode_base64(content: bytes) -> str:
    """Write bytes in the one form that `strict_base64` reads."""
    return base64.b64encode(content).decode()


def decode_base64(text: str) -> bytes | None:
    """Decode standard base64 that is written in its one canonical way; None for everything else."""
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return decoded if base64.b64encode(decoded).decode() == text else None
